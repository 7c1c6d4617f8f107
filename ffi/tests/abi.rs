//! What compiled programs rely on, under version control: the list of exported names in
//! `abi/symbols.txt` and, as libabigail describes it, every function and structure of the
//! header in `abi/shoal.abi`. With `SHOAL_HEADER=write` in the environment both are written
//! anew.
//!
//! A change to the second file that takes something away or moves it breaks programs: raise
//! `SHOAL_ABI_VERSION` with it.

mod toolchain;

use std::fmt::Write;
use std::process::Command;
use toolchain::{available, declarations, library_path, manifest_path, run_command, scratch_path};

fn is_writing() -> bool {
    std::env::var_os("SHOAL_HEADER").is_some_and(|value| value == "write")
}

fn exported_names() -> Vec<String> {
    let mut command = Command::new("nm");
    command.args(["-D", "--defined-only", "--format=just-symbols"]);
    let output = run_command(command.arg(library_path().join("libshoal.so")));
    let mut names: Vec<_> = output.lines().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

#[test]
fn the_exported_names_are_those_listed() {
    let path = manifest_path("abi/symbols.txt");
    let exported = exported_names();
    if is_writing() {
        std::fs::write(&path, exported.join("\n") + "\n").unwrap();
    }
    let listed = std::fs::read_to_string(path).unwrap();
    assert_eq!(exported, listed.lines().collect::<Vec<_>>(), "run `make header` and look");
    let foreign = exported.iter().find(|name| !name.starts_with("shoal_"));
    assert_eq!(foreign, None, "nothing else is exported");
}

#[test]
fn every_exported_name_is_declared() {
    let declared = declarations();
    for name in exported_names() {
        let call = format!("{name}(");
        assert!(declared.iter().any(|head| head.contains(&call)), "the header lacks {name}");
    }
}

#[test]
fn the_binary_interface_is_the_one_recorded() {
    if !available("abidw") {
        return;
    }
    let stub = build_stub();
    let baseline = manifest_path("abi/shoal.abi");
    if is_writing() {
        let mut command = Command::new("abidw");
        command.args([
            "--no-corpus-path",
            "--no-comp-dir-path",
            "--no-show-locs",
            "--no-elf-needed",
        ]);
        run_command(command.arg("--out-file").arg(&baseline).arg(&stub));
    }
    let mut command = Command::new("abidiff");
    command.arg("--no-show-locs").arg(&baseline).arg(&stub);
    let output = command.output().unwrap();
    let difference = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "run `make header` and look\n{difference}");
}

/// A library of empty functions with the header's types. The real one describes its opaque
/// types down to the last private field, which may change at any time.
fn build_stub() -> std::path::PathBuf {
    let mut stub = String::from(
        "#include <shoal.h>\n#undef shoal_config_init\n\
         #undef shoal_router_config_init\n#undef shoal_timeouts_config_init\n",
    );
    for head in declarations() {
        writeln!(stub, "{head} {{ __builtin_trap(); }}").unwrap();
    }
    assert_eq!(stub.matches("__builtin_trap").count(), exported_names().len());
    let (source, target) = (scratch_path("stub.c"), scratch_path("libstub.so"));
    std::fs::write(&source, stub).unwrap();
    let mut command = Command::new("cc");
    // What is recorded does not tell where it was built.
    let folder = source.parent().expect("a file is in a folder");
    command.arg(format!("-ffile-prefix-map={}=.", folder.display()));
    command.args(["-g", "-O0", "-shared", "-fPIC", "-w", "-I"]).arg(manifest_path("include"));
    run_command(command.arg(source).arg("-o").arg(&target));
    target
}

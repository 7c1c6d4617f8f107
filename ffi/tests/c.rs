//! Builds the C programs of `tests/c` against the library and runs them: plain, in every
//! dialect from C99 to C++17, with every compiler there is, under the sanitizers and under
//! Valgrind. What is not installed is named and left out.

mod toolchain;

use toolchain::{Build, Library, available, manifest_path, run, run_command};

const PROGRAMS: [&str; 6] = ["smoke", "null", "engines", "nodes", "coordinates", "threads"];
const SANITIZERS: &str = "-fsanitize=address,undefined";

/// The sources of a program. One of them includes the header a second time, which shows that it
/// defines nothing.
fn sources(program: &str) -> Vec<String> {
    let mut sources = vec![format!("tests/c/{program}.c")];
    if program == "smoke" {
        sources.push("tests/c/header.c".to_owned());
    }
    sources
}

fn build(program: &str, variant: &str, library: Library, flags: &[&str]) -> std::path::PathBuf {
    let sources = sources(program);
    let sources: Vec<&str> = sources.iter().map(String::as_str).collect();
    let name = format!("{program}-{variant}");
    Build { compiler: "cc", name: &name, sources: &sources, flags, library }.finish()
}

#[test]
fn programs_pass_with_the_shared_library() {
    for program in PROGRAMS {
        run(&build(program, "shared", Library::Shared, &[]), &[]);
    }
}

#[test]
fn programs_pass_with_the_static_library() {
    for program in PROGRAMS {
        run(&build(program, "static", Library::Static, &[]), &[]);
    }
}

#[test]
fn programs_pass_under_address_and_undefined_behaviour_sanitizers() {
    for program in PROGRAMS {
        let flags = [SANITIZERS, "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
        run(&build(program, "sanitized", Library::Shared, &flags), &[]);
    }
}

#[test]
fn programs_pass_under_valgrind() {
    if !available("valgrind") {
        return;
    }
    for program in PROGRAMS {
        let path = build(program, "valgrind", Library::Shared, &[]);
        // "Possibly lost" are blocks that only a pointer into their middle keeps, which is how the
        // standard library holds the handle of the main thread.
        let leaks = "--errors-for-leak-kinds=definite,indirect";
        let shown = "--show-leak-kinds=definite,indirect";
        let known = format!("--suppressions={}", manifest_path("tests/valgrind.supp").display());
        let mut command = std::process::Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9", "--leak-check=full", leaks, shown, &known]);
        command.arg(path).env("SHOAL_TEST_POLL", "1");
        run_command(command);
    }
}

#[test]
fn the_header_compiles_as_every_c_and_c_plus_plus() {
    let dialects = [
        (["gcc", "clang"], "-xc", ["-std=c99", "-std=c11", "-std=c17"].as_slice()),
        (["g++", "clang++"], "-xc++", ["-std=c++11", "-std=c++14", "-std=c++17"].as_slice()),
    ];
    for (compilers, language, standards) in dialects {
        for compiler in compilers.into_iter().filter(|compiler| available(compiler)) {
            for standard in standards {
                let flags = [language, standard, "-Wconversion", "-Wshadow"];
                let name = format!("header-{compiler}{standard}.o");
                let sources = ["tests/c/header.c"];
                let library = Library::None;
                Build { compiler, name: &name, sources: &sources, flags: &flags, library }.finish();
            }
        }
    }
}

#[test]
fn every_exported_name_is_listed_and_tested_with_null() {
    let listed = std::fs::read_to_string(manifest_path("abi/symbols.txt")).unwrap();
    let library = toolchain::library_path().join("libshoal.so");
    let output = std::process::Command::new("nm")
        .args(["-D", "--defined-only", "--format=just-symbols"])
        .arg(library)
        .output()
        .unwrap();
    assert!(output.status.success());
    let mut exported: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    exported.sort_unstable();
    if std::env::var_os("SHOAL_HEADER").is_some_and(|value| value == "write") {
        let text = exported.join("\n") + "\n";
        std::fs::write(manifest_path("abi/symbols.txt"), text).unwrap();
        return;
    }
    assert_eq!(exported, listed.lines().collect::<Vec<_>>(), "run `make header` and look");
    let tested = std::fs::read_to_string(manifest_path("tests/c/null.c")).unwrap();
    let header = std::fs::read_to_string(manifest_path("include/shoal.h")).unwrap();
    for name in exported {
        assert!(name.starts_with("shoal_"), "{name} is none of ours");
        let is_called = |text: &str| {
            [format!("{name}("), format!("({name})(")].iter().any(|call| text.contains(call))
        };
        assert!(is_called(&tested), "tests/c/null.c does not call {name}");
        assert!(is_called(&header), "the header does not declare {name}");
    }
}

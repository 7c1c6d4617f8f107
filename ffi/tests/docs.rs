//! What `docs/c.md` shows is true: every piece of C compiles, and the recipes for the shell, for
//! CMake and for Meson build the example against an installation.

mod toolchain;

use std::path::{Path, PathBuf};
use std::process::Command;
use toolchain::{
    Build, Library, available, copy_examples, install, manifest_path, run_command, scratch_path,
};

/// What the pieces take for granted: the rest of the program around them.
const AROUND: &str = r#"
#include <shoal.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern const char *text;
extern shoal_address seeds[1], source;
extern size_t seed_count, size;
extern shoal_node *running;
extern shoal_engine *engine;
extern shoal_transmit transmit;
extern shoal_event event;
extern uint64_t deadline_ns;
extern uint8_t buffer[SHOAL_DATAGRAM_SIZE_MAX];
extern uint64_t now_ns(void);
extern void handle(const shoal_event *event);
extern void serve(const char *media_type, const char *text, size_t size);
extern void send_to(const shoal_transmit *transmit, const uint8_t *bytes);
extern int wait_until(uint64_t deadline_ns);
extern void receive(shoal_address *source, uint8_t *bytes, size_t *size);
"#;

/// The blocks in this language, in order.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(manifest_path("../docs/c.md")).unwrap();
    let start = format!("```{language}\n");
    let found = text.split(&start).skip(1).map(|rest| {
        let (block, _) = rest.split_once("\n```").expect("every block ends");
        block.to_owned() + "\n"
    });
    found.collect()
}

#[test]
fn every_piece_of_c_compiles() {
    let pieces = blocks("c");
    assert!(pieces.len() >= 3, "the pieces are found");
    for (number, piece) in pieces.iter().enumerate() {
        let source = scratch_path(&format!("piece-{number}.c"));
        let function = format!("int piece(void);\nint piece(void) {{\n{piece}\n  return 0;\n}}\n");
        std::fs::write(&source, format!("{AROUND}\n{function}")).unwrap();
        for (compiler, language) in [("cc", "-std=c99"), ("c++", "-std=c++17")] {
            let kind = if compiler == "cc" { "-xc" } else { "-xc++" };
            let flags = [kind, language, "-fsyntax-only"];
            let sources = [source.to_str().expect("paths here are text")];
            let library = Library::None;
            Build { compiler, name: "piece.o", sources: &sources, flags: &flags, library }.finish();
        }
    }
}

/// The examples beside the recipe in a directory of their own, built and started by `commands`.
fn follow(name: &str, libraries: &Path, files: &[(&str, &str)], commands: &str) {
    let directory = scratch_path(name);
    let _ = std::fs::remove_dir_all(&directory);
    assert_eq!(copy_examples(name), directory);
    for (file, content) in files {
        std::fs::write(directory.join(file), content).unwrap();
    }
    let mut command = Command::new("sh");
    command.args(["-e", "-c", commands]).current_dir(&directory);
    command.env("PKG_CONFIG_PATH", libraries.join("pkgconfig"));
    command.env("LD_LIBRARY_PATH", libraries);
    run_command(&mut command);
}

/// Shows that a program was built and finds its library: it tells how it is used.
const STARTS: &str = "|| test $? = 2";

fn installed(name: &str) -> Option<PathBuf> {
    available("pkg-config").then(|| install(name))
}

#[test]
fn the_commands_by_hand_build_both_ways() {
    let Some(libraries) = installed("docs-by-hand") else { return };
    let recipe = blocks("sh").into_iter().find(|block| block.starts_with("cc ")).unwrap();
    // Each command is followed by a start of what it built.
    let commands: String = recipe
        .replace("\\\n", " ")
        .lines()
        .map(|line| format!("{line}\n./members {STARTS}\nrm members\n"))
        .collect();
    assert_eq!(commands.matches("pkg-config --static").count(), 1, "{commands}");
    follow(
        "docs-by-hand-build",
        &libraries,
        &[],
        &commands.replace("-o members", "-D_POSIX_C_SOURCE=200809L -o members"),
    );
}

#[test]
fn the_recipe_for_cmake_builds() {
    let Some(libraries) = installed("docs-cmake") else { return };
    if !available("cmake") {
        return;
    }
    let recipe = &blocks("cmake")[0];
    let commands = format!("cmake -S . -B build\ncmake --build build\nbuild/members {STARTS}");
    follow("docs-cmake-build", &libraries, &[("CMakeLists.txt", recipe)], &commands);
}

#[test]
fn the_recipe_for_meson_builds() {
    let Some(libraries) = installed("docs-meson") else { return };
    if !available("meson") || !available("ninja") {
        return;
    }
    let recipe = &blocks("meson")[0];
    let commands = format!("meson setup build\nmeson compile -C build\nbuild/members {STARTS}");
    follow("docs-meson-build", &libraries, &[("meson.build", recipe)], &commands);
}

/// cargo-c is built from half of Cargo, so it is not among the tools of the tests; what it reads is
/// compared with what `make install` does.
#[test]
fn the_settings_of_cargo_c_are_those_of_the_installation() {
    let manifest = std::fs::read_to_string(manifest_path("Cargo.toml")).unwrap();
    let settings = manifest.split("[package.metadata.capi").skip(1).collect::<String>();
    for setting in [
        "name = \"shoal\"",
        "subdirectory = false",
        "generation = false",
        "from = \"include/shoal.h\"",
        "filename = \"shoal\"",
    ] {
        assert!(settings.contains(setting), "{setting} is not in\n{settings}");
    }
    assert!(manifest.contains("\ncapi = []\n"), "cargo-c asks for this feature");
    // How many numbers of the version the soname has, which build.rs decides for Cargo.
    let numbers = env!("SHOAL_SONAME_SUFFIX").split('.').count();
    assert!(settings.contains(&format!("version_suffix_components = {numbers}")), "{settings}");
    let description = std::fs::read_to_string(manifest_path("shoal.pc.in")).unwrap();
    let told = settings.lines().find_map(|line| line.strip_prefix("description = "));
    let told = told.expect("cargo-c is told a description").trim_matches('"');
    assert!(description.contains(&format!("Description: {told}\n")), "{told}");
}

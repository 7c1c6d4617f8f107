//! Builds the C programs of `tests/c` against the library and runs them: plain, in every
//! dialect from C99 to C++17, with every compiler there is, under the sanitizers and under
//! Valgrind. What is not installed is named and left out.

mod toolchain;

use toolchain::{Build, Library, available, manifest_path, run, run_command};

const PROGRAMS: [&str; 10] = [
    "smoke",
    "null",
    "null_jobs",
    "engines",
    "nodes",
    "coordinates",
    "routes",
    "jobs",
    "leaders",
    "threads",
];
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
        // "Possibly lost" are blocks that only a pointer into their middle keeps, which is how
        // the standard library holds the handle of the main thread.
        let leaks = "--errors-for-leak-kinds=definite,indirect";
        let shown = "--show-leak-kinds=definite,indirect";
        let known = format!("--suppressions={}", manifest_path("tests/valgrind.supp").display());
        let mut command = std::process::Command::new("valgrind");
        command.args(["-q", "--error-exitcode=9", "--leak-check=full", leaks, shown, &known]);
        run_command(command.arg(path).env("SHOAL_TEST_POLL", "1"));
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

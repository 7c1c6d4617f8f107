//! Builds the C programs of `tests/c` against the library and runs them: plain, in every
//! dialect from C99 to C++17, with every compiler there is, under the sanitizers and under
//! Valgrind. What is not installed is named and left out.

mod toolchain;

use toolchain::{Build, Library, available, run, run_valgrind};

const PROGRAMS: [&str; 14] = [
    "smoke",
    "null",
    "null_jobs",
    "engines",
    "engine_routes",
    "nodes",
    "coordinates",
    "routes",
    "jobs",
    "leaders",
    "threads",
    "envelopes",
    "metrics",
    "handover",
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
        run_valgrind(&build(program, "valgrind", Library::Shared, &[]), &[]);
    }
}

#[test]
fn header_and_examples_compile_as_every_c_and_c_plus_plus() {
    let dialects = [
        (["gcc", "clang"], "-xc", ["-std=c99", "-std=c11", "-std=c17"].as_slice()),
        (["g++", "clang++"], "-xc++", ["-std=c++11", "-std=c++14", "-std=c++17"].as_slice()),
    ];
    let examples = ["members", "engine_loop", "coordinates", "route", "jobs", "envelope"];
    for (compilers, language, standards) in dialects {
        for compiler in compilers.into_iter().filter(|compiler| available(compiler)) {
            for standard in standards {
                let strict = [language, standard, "-Wconversion", "-Wshadow"];
                compile(compiler, "tests/c/header.c", &strict);
                for example in examples {
                    let flags = [language, standard, "-D_GNU_SOURCE"];
                    compile(compiler, &format!("../examples/c/{example}.c"), &flags);
                }
            }
        }
    }
}

fn compile(compiler: &str, source: &str, flags: &[&str]) {
    let flags: Vec<&str> = flags.iter().copied().chain(["-fsyntax-only"]).collect();
    let (name, sources, library) = ("syntax.o", &[source], Library::None);
    Build { compiler, name, sources, flags: &flags, library }.finish();
}

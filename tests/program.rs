//! The programs of this repository, for tests that start them.
#![allow(dead_code)] // Each test starts the programs it needs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The `shoal` program, built as this test was.
pub fn shoal() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build(&["--bin", "shoal"]).join("shoal"))
}

/// The example about jobs, built as this test was.
pub fn jobs_example() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| build(&["--example", "jobs"]).join("examples/jobs"))
}

/// Builds a program in the profile of this test, and says where programs of that profile are.
fn build(what: &[&str]) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
    let mut build = Command::new(env!("CARGO"));
    // Of the whole workspace, so that dependencies have the features they were tested with.
    build.args(["build", "--quiet", "--workspace"]).args(what);
    // What cargo tells this test about its own package would make build scripts run again.
    let told = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for name in told.filter(|name| {
        ["PKG", "MANIFEST"].iter().any(|kind| name.starts_with(&format!("CARGO_{kind}_")))
    }) {
        build.env_remove(name);
    }
    if profile.ends_with("release") {
        build.arg("--release");
    }
    assert!(build.status().unwrap().success(), "{what:?} does not build");
    profile.to_owned()
}

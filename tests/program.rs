//! The `shoal` program, for tests that start it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The program, built as this test was.
pub fn shoal() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).expect("target/<profile>/deps/<test>");
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "shoal-cli"]);
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
        assert!(build.status().unwrap().success(), "shoal-cli does not build");
        profile.join("shoal")
    })
}

//! Gives the shared library its soname. Until version 1.0 the first two numbers of the version say
//! which libraries replace each other, from then on the first.

fn main() {
    let part = |name| std::env::var(name).expect("Cargo sets the version");
    let (major, minor) = (part("CARGO_PKG_VERSION_MAJOR"), part("CARGO_PKG_VERSION_MINOR"));
    let suffix = if major == "0" { format!("0.{minor}") } else { major };
    if part("CARGO_CFG_TARGET_OS") == "linux" {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libshoal.so.{suffix}");
    }
    println!("cargo::rustc-env=SHOAL_SONAME_SUFFIX={suffix}");
    println!("cargo::rerun-if-changed=build.rs");
}

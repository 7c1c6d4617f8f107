//! Which library this is.

use std::ffi::{CStr, c_char};

/// Raised by every change that breaks compiled programs.
pub const SHOAL_ABI_VERSION: u32 = 1;

/// The `SHOAL_ABI_VERSION` of the library. A program that loads it at run time compares it with
/// its own.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_abi_version() -> u32 {
    SHOAL_ABI_VERSION
}

/// The version of the library, for example "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn shoal_version_string() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => panic!("a version has no NUL"),
        };
    VERSION.as_ptr()
}

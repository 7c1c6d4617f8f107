//! Putting text together for the pages and drawings that the program writes.

use std::fmt::{Arguments, Write};

/// Appends formatted text; a string never refuses it.
pub fn add(text: &mut String, content: Arguments<'_>) {
    text.write_fmt(content).expect("a string takes everything");
}

/// The text with what HTML would read as markup made harmless.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

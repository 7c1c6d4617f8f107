//! The shoal program.
mod demo;
fn main(){}

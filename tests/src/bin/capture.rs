//! Regenerates the golden captures.
fn main() {}

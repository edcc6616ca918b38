//! Measures what the loader claims.
fn main() {}

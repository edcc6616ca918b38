//! `dbctl`: the operator's program.
fn main() {}

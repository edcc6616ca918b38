//! What the crate promises of statements, by corpora, by random texts, and by what a real server says.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod explained;
mod fingerprints;
#[path = "../corpus/read.rs"]
mod read;
mod tables;

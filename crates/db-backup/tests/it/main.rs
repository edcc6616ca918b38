//! The repository, on every kind of store and under faults.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod keys;
mod round_trip;
mod world;

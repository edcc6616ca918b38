//! The repository, on every kind of store and under faults.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod commands;
mod keys;
mod layouts;
mod live;
mod rehearsing;
mod round_trip;
mod slice;
mod world;

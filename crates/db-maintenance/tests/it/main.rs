//! What upkeep promises, on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod database;
mod leading;

//! What upkeep promises, on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod compacting;
mod converting;
mod database;
mod draining;
mod hostile;
mod leading;
mod premaking;
mod repacking;
mod retiring;
mod routine;
mod sparing;

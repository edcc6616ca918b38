//! What the seeds promise, on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod database;
mod generating;
mod kinds;
mod loading;
mod refusing;
mod subsetting;

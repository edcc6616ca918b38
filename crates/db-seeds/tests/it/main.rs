//! What the seeds promise, on a real server.
//!
//! The server is named by DB_TESTKIT_URL; without it these tests say so and pass.

mod database;
mod loading;
mod refusing;

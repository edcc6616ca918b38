//! Migrations on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod crash;
mod fixture;
mod locks;
mod pgbouncer;
mod policies;
mod pooler;
mod runner;
mod schemas;
mod sources;
mod splitting;

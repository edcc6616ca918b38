//! Migrations on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod backfill;
#[path = "../corpus/cases.rs"]
mod cases;
mod check_bases;
mod check_corpus;
mod check_drift;
mod check_findings;
mod check_server;
mod crash;
mod fixture;
#[path = "../corpus/judge.rs"]
mod judge;
mod locks;
mod policies;
mod pooler;
mod printed;
#[path = "../corpus/printed_cases.rs"]
mod printed_corpus;
#[path = "../corpus/random_schema.rs"]
mod random_schema;
#[path = "../corpus/round_trip.rs"]
mod round_trip;
mod runner;
mod schemas;
mod sources;
mod splitting;
mod to;

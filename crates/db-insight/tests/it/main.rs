//! What the crate promises of plans, by plans that real servers make.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod explaining;
mod generated;
mod history;
mod reading;
mod times;

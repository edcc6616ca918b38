//! What the crate promises of plans, by plans that real servers make.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

#[path = "../../claims/cases.rs"]
#[expect(dead_code, reason = "what only the measuring needs")]
mod cases;
mod explaining;
mod generated;
mod history;
mod page;
#[path = "../../claims/pages.rs"]
mod pages;
mod reading;
mod times;

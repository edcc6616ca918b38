//! What the crate promises of plans and indexes, on real servers.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

#[path = "../../claims/advised_pages.rs"]
mod advised_pages;
#[path = "../../claims/cases.rs"]
#[expect(dead_code, reason = "what only the measuring needs")]
mod cases;
mod drops;
mod explaining;
mod generated;
mod history;
mod indexes;
#[path = "../../claims/introspected.rs"]
mod introspected;
mod introspecting;
mod kinds_that_hurt;
mod larger_change;
mod page;
#[path = "../../claims/pages.rs"]
#[expect(dead_code, reason = "what only the measuring needs")]
mod pages;
mod reading;
#[path = "../../claims/served.rs"]
mod served;
mod shop;
mod times;

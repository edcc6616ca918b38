//! Measures ours and other people's pools and drivers side by side; the targets `bench` and `claims` print
//! the figures.
#![doc = ""]
#![doc = include_str!("../README.md")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

pub mod alone;
pub mod cache;
pub mod checkout;
pub mod demo_load;
pub mod door;
pub mod loader;
pub mod outage;
pub mod pairs;
pub mod peers;
pub mod routing;
pub mod second_tier;
pub mod server;
pub mod spike;
pub mod statement;
pub mod tap;
pub mod waits;

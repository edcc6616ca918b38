//! How fast a tool that writes in batches may go beside an application.
#![doc = include_str!("../README.md")]

mod lag;
mod others;
mod probes;
mod throttle;

pub use lag::{Lag, LogLag, STANDBYS_SQL};
pub use others::{OTHERS_EVERY, OTHERS_SQL};
pub use probes::Probes;
pub use throttle::{Pause, Reason, Throttle, ThrottleConfig};

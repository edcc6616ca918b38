//! The cache on its second tiers.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod accidents;
mod conformance;
mod kept;
mod life;
mod many;
mod model;
mod operator;
mod redis;
mod relay;
mod relayed;
mod sampling;
mod scene;
mod schedules;
mod sharing;
mod simulation;
mod warming;

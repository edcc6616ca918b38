//! The cache on its second tiers.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod accidents;
mod conformance;
mod kept;
mod life;
mod model;
mod redis;
mod relay;
mod relayed;
mod scene;
mod sharing;
mod simulation;

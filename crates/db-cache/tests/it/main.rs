//! The cache on its second tiers.

mod accidents;
mod conformance;
mod redis;
mod relay;
mod relayed;
mod simulation;

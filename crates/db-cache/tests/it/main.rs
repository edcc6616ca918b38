//! The cache on its second tiers.

mod accidents;
mod conformance;
mod relay;
mod relayed;
mod redis;
mod simulation;

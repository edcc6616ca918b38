//! The cache on its second tiers.

mod conformance;
mod redis;
mod simulation;

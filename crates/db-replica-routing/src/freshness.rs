//! How stale the answer to a read may be.

use std::time::{Duration, SystemTime};

use crate::token::Token;

/// How stale the answer to a read may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Freshness {
    /// Not at all: the primary answers.
    Primary,
    /// As stale as [`RouterConfig::max_lag`](crate::RouterConfig::max_lag) says. Where no primary is to be
    /// found that could answer instead, any standby that is alive.
    #[default]
    Default,
    /// At most this much; a standby whose lag is unknown does not answer.
    Within(Duration),
    /// As [`Default`](Freshness::Default), and not older than what this token stands for: a caller's own
    /// writes.
    AtLeast(Token),
    /// As [`Default`](Freshness::Default), and with whatever was committed before this moment: a caller's own
    /// writes, where their position is not known. It takes two or three seconds until standbys answer; clocks
    /// may differ by one.
    Since(SystemTime),
    /// As stale as any standby that is alive.
    Any,
}

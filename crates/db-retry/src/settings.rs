//! The settings of retries: described, and read into [`RetryConfig`].

use std::num::NonZeroU32;
use std::time::Duration;

use db_core::settings::{FromSettings, Group, Reader, Setting, Text};

use crate::{BreakerConfig, RetryConfig};

const MAX_RETRIES: Setting<u32> = Setting {
    name: "DB_MAX_RETRIES",
    aliases: &[],
    meaning: "How often a read or a transaction is tried again where that may help; 0 is never.",
    default: [3; 4],
    min: 0,
    max: 100,
    unit_required: &[],
};
const RETRY_DELAY: Setting<Duration> = Setting {
    name: "DB_RETRY_DELAY",
    aliases: &[],
    meaning: "The first pause before another attempt, before jitter. The first retry of a conflict does not \
              wait.",
    default: [Duration::from_millis(50); 4],
    min: Duration::from_millis(1),
    max: Duration::from_secs(60),
    unit_required: &[],
};
const RETRY_BACKOFF: Setting<f64> = Setting {
    name: "DB_RETRY_BACKOFF",
    aliases: &[],
    meaning: "How much longer each pause is than the one before.",
    default: [2.0; 4],
    min: 1.0,
    max: 10.0,
    unit_required: &[],
};

const COMMIT_MARKERS: Setting<bool> = Setting {
    name: "DB_COMMIT_MARKERS",
    aliases: &[],
    meaning: "Whether every transaction writes a row with its COMMIT (no round trip more), so that it is known also \
              after a failover whether it committed. Its table is made by a migration: \
              `dbctl migrate new commit_markers --commit-markers`.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const MARKER_SCHEMA: Text = Text {
    name: "DB_MARKER_SCHEMA",
    aliases: &[],
    meaning: "The schema of the table `db_platform_commits`, into which marked transactions write a row. Name it \
              where several schemas of a database have such a table, as with a schema for each tenant.",
    default: "the schema that has it",
};

const CIRCUIT_BREAKER: Setting<bool> = Setting {
    name: "DB_CIRCUIT_BREAKER",
    aliases: &[],
    meaning: "Once calls in a row have waited in vain for a server, turn the next ones away at once until one \
              answers, which is found out without them. Off, each call waits for `DB_WRITER_WAIT`, and a \
              server that is back soon costs no error.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};

const RETRIES: Group = Group {
    title: "How work is tried again",
    settings: &[&MAX_RETRIES, &RETRY_DELAY, &RETRY_BACKOFF, &COMMIT_MARKERS, &MARKER_SCHEMA],
    elsewhere: &[],
};

impl FromSettings for RetryConfig {
    const GROUPS: &'static [&'static Group] = &[&RETRIES];

    fn read(from: &mut Reader<'_>) -> Self {
        RetryConfig {
            attempts: NonZeroU32::MIN.saturating_add(from.read(&MAX_RETRIES)),
            base: from.read(&RETRY_DELAY),
            multiplier: from.read(&RETRY_BACKOFF),
            commit_markers: from.read(&COMMIT_MARKERS),
            marker_schema: from.text(&MARKER_SCHEMA).map(|(_, schema)| schema),
            ..RetryConfig::default()
        }
    }
}

/// The circuit breaker, where `DB_CIRCUIT_BREAKER` asks for one.
///
/// ```
/// use db_core::settings::{FromSettings, Reader};
/// use db_retry::CircuitBreaker;
///
/// let set = |name: &str| (name == "DB_CIRCUIT_BREAKER").then(|| "true".to_owned());
/// let CircuitBreaker(breaker) = CircuitBreaker::read(&mut Reader::of(&set));
/// assert!(breaker.is_some());
/// let CircuitBreaker(breaker) = CircuitBreaker::read(&mut Reader::of(&|_| None));
/// assert_eq!(breaker, None);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreaker(pub Option<BreakerConfig>);

const BREAKER: Group =
    Group { title: "When calls fail at once", settings: &[&CIRCUIT_BREAKER], elsewhere: &[] };

impl FromSettings for CircuitBreaker {
    const GROUPS: &'static [&'static Group] = &[&BREAKER];

    fn read(from: &mut Reader<'_>) -> Self {
        CircuitBreaker(from.read(&CIRCUIT_BREAKER).then(BreakerConfig::default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_teams_bring_is_read_and_the_rest_is_the_default() {
        let pairs = [("DB_MAX_RETRIES", "5"), ("DB_RETRY_DELAY", "1000"), ("DB_RETRY_BACKOFF", "3")];
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = RetryConfig::read(&mut reader);
        reader.finish().unwrap();
        let expected = RetryConfig {
            attempts: NonZeroU32::new(6).unwrap(),
            base: Duration::from_secs(1),
            multiplier: 3.0,
            ..RetryConfig::default()
        };
        assert_eq!(read, expected);
        assert_eq!(RetryConfig::read(&mut Reader::of(&|_| None)), RetryConfig::default());
    }
}

//! The settings of the cache: described, and read into [`CacheConfig`].

use std::str::FromStr;
use std::time::Duration;

use db_core::settings::{Bytes, FromSettings, Group, Reader, Setting, Text};

use crate::config::{CacheConfig, TierUrl};
use crate::mode::Mode;
use crate::sampler::SampleConfig;

const REDIS_URL: Text = Text {
    name: "REDIS_URL",
    aliases: &[],
    meaning: "Where the cache's second tier is, Redis or Valkey: `redis://` or, with TLS, `rediss://`.",
    default: "there is none: each process has its own cache, and hears of no other's writes",
};
const TTL: Setting<Duration> = Setting {
    name: "CACHE_TTL",
    aliases: &[],
    meaning: "How long a cached value is fresh, where its keyspace does not say.",
    default: [Duration::from_secs(300); 4],
    min: Duration::from_millis(1),
    max: Duration::from_secs(30 * 86_400),
    unit_required: &["CACHE_TTL"],
};
const MAX_MEMORY: Setting<Bytes> = Setting {
    name: "CACHE_MAX_MEMORY",
    aliases: &[],
    meaning: "How much memory the cached values may take in each process.",
    default: [Bytes(64 << 20); 4],
    min: Bytes(1 << 20),
    max: Bytes(1 << 40),
    unit_required: &[],
};
const COMPRESSION: Setting<bool> = Setting {
    name: "CACHE_ENABLE_COMPRESSION",
    aliases: &[],
    meaning: "Compress values above 2 KB in the second tier.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const REDIS_BUDGET: Setting<Duration> = Setting {
    name: "CACHE_REDIS_BUDGET",
    aliases: &[],
    meaning: "How long a read waits for the second tier before it goes on without it.",
    default: [Duration::from_millis(5); 4],
    min: Duration::from_millis(1),
    max: Duration::from_secs(10),
    unit_required: &[],
};
const MODE: Text = Text {
    name: "CACHE_MODE",
    aliases: &[],
    meaning: "What a cached read promises, where its keyspace does not say: `ttl`, `bounded:1s` or `strict`.",
    default: "`bounded:1s`",
};

const INSTALLATION: Text = Text {
    name: "CACHE_INSTALLATION",
    aliases: &[],
    meaning: "Whose entries they are. Services on one database must say the same, and two databases on one Redis, a copy \
              of one included, must not.",
    default: "the environment and the database's name, as in `production/app`",
};
const WARMING: Setting<bool> = Setting {
    name: "CACHE_ENABLE_WARMING",
    aliases: &[],
    meaning: "Keep the hot keys in the second tier, and load those of the last run when the service starts.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const SAMPLE: Setting<u32> = Setting {
    name: "CACHE_SAMPLE_ONE_IN",
    aliases: &[],
    meaning: "Of so many hits one is read again from the primary, at most ten a second, to tell how consistent the cache \
              is; 0 is none.",
    default: [0; 4],
    min: 0,
    max: 1_000_000_000,
    unit_required: &[],
};

const CACHE: Group = Group {
    title: "The cache",
    settings: &[
        &REDIS_URL,
        &INSTALLATION,
        &TTL,
        &MODE,
        &MAX_MEMORY,
        &COMPRESSION,
        &WARMING,
        &SAMPLE,
        &REDIS_BUDGET,
    ],
    elsewhere: &[],
};

/// A text that names no mode.
#[derive(Debug, thiserror::Error)]
#[error("no mode: write ttl, strict, or bounded and how old a value may be, as in bounded:500ms")]
pub struct InvalidMode;

impl FromStr for Mode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        use db_core::settings::Value;

        match text.split_once(':') {
            None if text == "ttl" => Ok(Mode::Ttl),
            None if text == "strict" => Ok(Mode::Strict),
            None if text == "bounded" => Ok(Mode::default()),
            Some(("bounded", within)) => Duration::parse(within).map(Mode::Bounded).ok_or(InvalidMode),
            _ => Err(InvalidMode),
        }
    }
}

impl FromSettings for CacheConfig {
    const GROUPS: &'static [&'static Group] = &[&CACHE];

    fn read(from: &mut Reader<'_>) -> Self {
        CacheConfig {
            second_tier: second_tier(from),
            installation: from.text(&INSTALLATION).map(|(_, name)| name).unwrap_or_default(),
            warming: from.read(&WARMING),
            ttl: from.read(&TTL),
            mode: from.parse(&MODE).unwrap_or_default(),
            max_memory_bytes: from.read(&MAX_MEMORY).0,
            compress: from.read(&COMPRESSION),
            tier_budget: from.read(&REDIS_BUDGET),
            sample: Some(from.read(&SAMPLE)).filter(|one_in| *one_in > 0).map(SampleConfig::one_in),
            ..CacheConfig::default()
        }
    }
}

/// Where the second tier is; what is wrong with the URL goes to the reader, and shows no part of it.
fn second_tier(from: &mut Reader<'_>) -> Option<TierUrl> {
    let (name, url) = from.text(&REDIS_URL)?;
    #[cfg(feature = "redis")]
    if let Err(error) = crate::redis::check_url(&url) {
        from.problem(name, error.to_string());
    }
    #[cfg(not(feature = "redis"))]
    from.notice(name, "is read only where db-cache is built with its feature redis");
    Some(TierUrl::new(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<CacheConfig, String> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = CacheConfig::read(&mut reader);
        reader.finish().map(|_| read).map_err(|error| error.to_string())
    }

    #[test]
    fn what_teams_bring_is_read_and_the_rest_is_the_default() {
        let pairs = [
            ("REDIS_URL", "redis://:secret@cache:6379/1"),
            ("CACHE_TTL", "300s"),
            ("CACHE_MAX_MEMORY", "100mb"),
            ("CACHE_ENABLE_COMPRESSION", "false"),
            ("CACHE_MODE", "bounded:500ms"),
            ("CACHE_REDIS_BUDGET", "10ms"),
            ("CACHE_INSTALLATION", "shop/production"),
            ("CACHE_ENABLE_WARMING", "true"),
            ("CACHE_SAMPLE_ONE_IN", "1000"),
        ];
        let config = read(&pairs).unwrap();
        let expected = CacheConfig {
            second_tier: Some(TierUrl::new("redis://:secret@cache:6379/1")),
            ttl: Duration::from_secs(300),
            mode: Mode::Bounded(Duration::from_millis(500)),
            max_memory_bytes: config.max_memory_bytes,
            compress: false,
            installation: "shop/production".to_owned(),
            warming: true,
            sample: Some(SampleConfig::one_in(1_000)),
            tier_budget: Duration::from_millis(10),
            ..CacheConfig::default()
        };
        assert_eq!(config, expected);
        assert!(config.max_memory_bytes >= 100_000_000);
        assert!(!format!("{config:?}").contains("secret"));
        assert_eq!(read(&[]).unwrap(), CacheConfig::default());
    }

    #[test]
    fn a_bare_number_of_seconds_and_an_unknown_mode_are_told() {
        assert!(read(&[("CACHE_TTL", "300")]).unwrap_err().contains("CACHE_TTL"));
        assert!(read(&[("CACHE_MODE", "eventual")]).unwrap_err().contains("bounded:500ms"));
        let wrong = read(&[("REDIS_URL", "localhost:hunter2")]).unwrap_err();
        assert!(wrong.contains("REDIS_URL") && !wrong.contains("hunter2"), "{wrong}");
    }
}

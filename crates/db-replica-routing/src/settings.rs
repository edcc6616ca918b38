//! The settings of routing: described, and read into [`RouterConfig`] and, with the feature `patroni`,
//! `PatroniUrls`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use db_core::settings::{FromSettings, Group, Reader, Setting, Text, Value};

use crate::{Fallback, Policy, ReadConsistency, RouterConfig};
#[cfg(feature = "patroni")]
use crate::{InvalidPatroniUrl, PatroniUrl};

const HEALTH_CHECK_INTERVAL: Setting<Duration> = Setting {
    name: "DB_HEALTH_CHECK_INTERVAL",
    aliases: &[],
    meaning: "The pause between two probes of one server. At most half of `DB_READ_MAX_LAG`: a standby's lag \
              is only as well known as its last probe is young.",
    default: [Duration::from_millis(250); 4],
    min: SHORTEST_INTERVAL,
    max: Duration::from_secs(60),
    unit_required: &[],
};
const READ_MAX_LAG: Setting<Duration> = Setting {
    name: "DB_READ_MAX_LAG",
    aliases: &[],
    meaning: "The lag up to which a standby answers reads that do not say how fresh they must be.",
    default: [Duration::from_secs(10); 4],
    min: Duration::from_millis(1),
    max: Duration::from_secs(86_400),
    unit_required: &[],
};
const READ_CONSISTENCY: Setting<ReadConsistency> = Setting {
    name: "DB_READ_CONSISTENCY",
    aliases: &[],
    meaning: "What a read sees that does not say how fresh it must be: what a standby has within \
              `DB_READ_MAX_LAG` (`lag`), that and whatever this process has committed (`process`), or whatever \
              was committed (`primary`, which then answers every such read).",
    default: [ReadConsistency::Lag; 4],
    min: ReadConsistency::Lag,
    max: ReadConsistency::Primary,
    unit_required: &[],
};
const READ_FALLBACK: Setting<Fallback> = Setting {
    name: "DB_READ_FALLBACK",
    aliases: &[],
    meaning: "Who answers a read that no standby may answer: `primary`, or nobody (`error`), which spares \
              the primary.",
    default: [Fallback::Primary; 4],
    min: Fallback::Primary,
    max: Fallback::Error,
    unit_required: &[],
};
const NEW_CLUSTER: Setting<Policy> = Setting {
    name: "DB_NEW_CLUSTER",
    aliases: &[],
    meaning: "What is done when another cluster answers where the writer was (blue/green, a rebuild, or a \
              mistake): `refuse` its servers until a restart, or `follow` it once nobody of the old one \
              answers as a primary.",
    default: [Policy::Refuse; 4],
    min: Policy::Follow,
    max: Policy::Refuse,
    unit_required: &[],
};
const SECOND_PRIMARY: Setting<Policy> = Setting {
    name: "DB_SECOND_PRIMARY",
    aliases: &[],
    meaning: "What is done when a standby was promoted while the old primary still answers as one: `follow` \
              the newer timeline, or `refuse` writes to both until one of them is gone.",
    default: [Policy::Follow; 4],
    min: Policy::Follow,
    max: Policy::Refuse,
    unit_required: &[],
};
const ZONE: Text = Text {
    name: "DB_ZONE",
    aliases: &[],
    meaning: "The zone that this process runs in: servers of the same zone answer its reads, unless they are \
              much busier than the others.",
    default: "none: all are alike",
};
const NODE_ZONES: Text = Text {
    name: "DB_NODE_ZONES",
    aliases: &[],
    meaning: "The zones that servers stand in, as `host=zone` or `host:port=zone`, separated by commas.",
    default: "none",
};
const PROBE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_PROBE_TIMEOUT",
    aliases: &[],
    meaning: "The time that one probe of a server is given; raise it for servers that are far away.",
    default: [Duration::from_millis(500); 4],
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
    unit_required: &[],
};
const WRITER_WAIT: Setting<Duration> = Setting {
    name: "DB_WRITER_WAIT",
    aliases: &[],
    meaning: "How long a caller waits for a primary where there is none: longer than a planned switchover \
              takes, shorter than callers' own deadlines.",
    default: [Duration::from_secs(5); 4],
    min: Duration::ZERO,
    max: Duration::from_secs(600),
    unit_required: &[],
};
const MAX_WAITING: Setting<u32> = Setting {
    name: "DB_WRITER_MAX_WAITING",
    aliases: &[],
    meaning: "How many callers may wait for a primary at once; the next one is refused.",
    default: [1_000; 4],
    min: 0,
    max: 1_000_000,
    unit_required: &[],
};
const TOKEN_WAIT: Setting<Duration> = Setting {
    name: "DB_READ_TOKEN_WAIT",
    aliases: &[],
    meaning: "How long a session's read waits for a standby to catch up, before the primary answers.",
    default: [Duration::from_millis(100); 4],
    min: Duration::ZERO,
    max: Duration::from_secs(60),
    unit_required: &[],
};
const POOLED: Setting<bool> = Setting {
    name: "DB_POOLED",
    aliases: &[],
    meaning: "Whether a pooler in transaction mode (PgBouncer) stands before each server.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const NODE_WEIGHTS: Text = Text {
    name: "DB_NODE_WEIGHTS",
    aliases: &[],
    meaning: "How many reads servers get relative to the others, as `host=weight` or `host:port=weight`, \
              separated by commas.",
    default: "1 for each",
};
const BALANCED_NODES: Text = Text {
    name: "DB_BALANCED_NODES",
    aliases: &[],
    meaning: "The names that lead to several servers by turns (a load balancer, the reader name of a managed \
              service), as `host` or `host:port`, separated by commas: each server behind them is asked.",
    default: "none: it is found out",
};
const NODES_WITHOUT_READS: Text = Text {
    name: "DB_NODES_WITHOUT_READS",
    aliases: &[],
    meaning: "The servers that answer no reads while they are standbys, because they are kept for backups or \
              reports, as `host` or `host:port`, separated by commas.",
    default: "none",
};
#[cfg(feature = "patroni")]
const PATRONI_URL: Text = Text {
    name: "PATRONI_URL",
    aliases: &[],
    meaning: "Where Patroni's REST API listens, as `http://host:8008` or \
              `https://user:password@host:8008`; several are separated by commas. Its members become servers, and log in as `DATABASE_URL` says.",
    default: "none",
};

/// The shortest pause between two probes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

const ROUTING: Group = Group {
    title: "Who answers reads",
    settings: &[
        &READ_CONSISTENCY,
        &READ_MAX_LAG,
        &READ_FALLBACK,
        &NEW_CLUSTER,
        &SECOND_PRIMARY,
        &TOKEN_WAIT,
        &WRITER_WAIT,
        &MAX_WAITING,
        &HEALTH_CHECK_INTERVAL,
        &PROBE_TIMEOUT,
        &POOLED,
        &ZONE,
        &NODE_ZONES,
        &NODE_WEIGHTS,
        &BALANCED_NODES,
        &NODES_WITHOUT_READS,
    ],
    elsewhere: &[],
};

#[cfg(feature = "patroni")]
const PATRONI: Group = Group { title: "Where Patroni is", settings: &[&PATRONI_URL], elsewhere: &[] };

impl FromSettings for RouterConfig {
    const GROUPS: &'static [&'static Group] = &[&ROUTING];

    fn read(from: &mut Reader<'_>) -> Self {
        let max_lag = from.read(&READ_MAX_LAG);
        RouterConfig {
            probe_interval: probe_interval(from, max_lag),
            max_lag,
            consistency: from.read(&READ_CONSISTENCY),
            fallback: from.read(&READ_FALLBACK),
            new_cluster: from.read(&NEW_CLUSTER),
            second_primary: from.read(&SECOND_PRIMARY),
            zone: from.text(&ZONE).map(|(_, zone)| zone),
            zones: pairs(from, &NODE_ZONES, "host=zone", |zone| Some(zone.to_owned())),
            weights: pairs(from, &NODE_WEIGHTS, "host=weight, where the weight is 1 or more", |weight| {
                weight.parse().ok()
            }),
            balanced: hosts(from, &BALANCED_NODES),
            without_reads: hosts(from, &NODES_WITHOUT_READS),
            probe_timeout: from.read(&PROBE_TIMEOUT),
            writer_wait: from.read(&WRITER_WAIT),
            max_waiting: from.read(&MAX_WAITING) as usize,
            token_wait: from.read(&TOKEN_WAIT),
            pooled: from.read(&POOLED),
            ..RouterConfig::default()
        }
    }
}

/// A standby that was probed longer ago than its lag may be would be read from on an old word.
fn probe_interval(from: &mut Reader<'_>, max_lag: Duration) -> Duration {
    let most = (max_lag / 4).max(SHORTEST_INTERVAL);
    match from.read_optional(&HEALTH_CHECK_INTERVAL) {
        Some(asked) if asked > most => {
            let what = format!(
                "is taken as {}, a quarter of {}: a lag is only as well known as the last probe is young",
                most.print(),
                READ_MAX_LAG.name,
            );
            from.notice(HEALTH_CHECK_INTERVAL.name, what);
            most
        }
        Some(asked) => asked,
        None => HEALTH_CHECK_INTERVAL.default_in(from.environment()).min(most),
    }
}

/// What is said of hosts, pair by pair.
fn pairs<T>(
    from: &mut Reader<'_>,
    setting: &Text,
    allowed: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> BTreeMap<String, T> {
    let Some((name, text)) = from.text(setting) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let parts = pair.split_once('=').map(|(host, value)| (host.trim(), value.trim()));
        let said = parts.filter(|(host, value)| !host.is_empty() && !value.is_empty());
        match said.and_then(|(host, value)| Some((host, parse(value)?))) {
            Some((host, value)) => drop(found.insert(host.to_owned(), value)),
            None => from.problem(name, format!("found {pair:?}, allowed is {allowed}")),
        }
    }
    found
}

fn hosts(from: &mut Reader<'_>, setting: &Text) -> BTreeSet<String> {
    let Some((_, text)) = from.text(setting) else { return BTreeSet::new() };
    text.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect()
}

/// Where Patronis listen (`PATRONI_URL`); none without Patroni.
///
/// ```
/// use db_core::settings::{FromSettings, Reader};
/// use db_replica_routing::PatroniUrls;
///
/// let set = |name: &str| (name == "PATRONI_URL").then(|| "http://a:8008, http://b".to_owned());
/// let mut reader = Reader::of(&set);
/// let PatroniUrls(urls) = PatroniUrls::read(&mut reader);
/// reader.finish()?;
/// assert_eq!(urls[1].to_string(), "http://b:8008");
/// # Ok::<(), db_core::settings::InvalidSettings>(())
/// ```
#[cfg(feature = "patroni")]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PatroniUrls(pub Vec<PatroniUrl>);

#[cfg(feature = "patroni")]
impl FromSettings for PatroniUrls {
    const GROUPS: &'static [&'static Group] = &[&PATRONI];

    fn read(from: &mut Reader<'_>) -> Self {
        from.parse(&PATRONI_URL).unwrap_or_default()
    }
}

#[cfg(feature = "patroni")]
impl std::str::FromStr for PatroniUrls {
    type Err = InvalidPatroniUrl;

    fn from_str(text: &str) -> Result<Self, InvalidPatroniUrl> {
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(PatroniUrls)
    }
}

impl Value for ReadConsistency {
    const ALLOWED: &'static str = "lag, process or primary";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "lag" => Some(ReadConsistency::Lag),
            "process" => Some(ReadConsistency::Process),
            "primary" => Some(ReadConsistency::Primary),
            _ => None,
        }
    }

    fn print(self) -> String {
        match self {
            ReadConsistency::Lag => "lag".to_owned(),
            ReadConsistency::Process => "process".to_owned(),
            ReadConsistency::Primary => "primary".to_owned(),
        }
    }

    fn between(_: Self, _: Self) -> String {
        Self::ALLOWED.to_owned()
    }
}

impl Value for Policy {
    const ALLOWED: &'static str = "follow or refuse";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "follow" => Some(Policy::Follow),
            "refuse" => Some(Policy::Refuse),
            _ => None,
        }
    }

    fn print(self) -> String {
        match self {
            Policy::Follow => "follow".to_owned(),
            Policy::Refuse => "refuse".to_owned(),
        }
    }

    fn between(_: Self, _: Self) -> String {
        Self::ALLOWED.to_owned()
    }
}

impl Value for Fallback {
    const ALLOWED: &'static str = "primary or error";

    fn parse(text: &str) -> Option<Self> {
        match text {
            "primary" => Some(Fallback::Primary),
            "error" => Some(Fallback::Error),
            _ => None,
        }
    }

    fn print(self) -> String {
        match self {
            Fallback::Primary => "primary".to_owned(),
            Fallback::Error => "error".to_owned(),
        }
    }

    fn between(_: Self, _: Self) -> String {
        Self::ALLOWED.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::settings::InvalidSettings;

    fn read(pairs: &[(&str, &str)]) -> Result<(RouterConfig, Vec<String>), InvalidSettings> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = RouterConfig::read(&mut reader);
        Ok((read, reader.finish()?.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn zones_lag_and_fallback_are_read() {
        let pairs = [
            ("DB_ZONE", " east "),
            ("DB_NODE_ZONES", "a=east, c:5432=west"),
            ("DB_READ_MAX_LAG", "3s"),
            ("DB_READ_FALLBACK", "error"),
        ];
        let (router, _) = read(&pairs).unwrap();
        let zones: Vec<_> = router.zones.into_iter().collect();
        assert_eq!(zones, [("a", "east"), ("c:5432", "west")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!((router.zone.as_deref(), router.max_lag), (Some("east"), Duration::from_secs(3)));
        assert_eq!((router.fallback, router.probe_interval), (Fallback::Error, Duration::from_millis(250)));
        assert_eq!(read(&[]).unwrap(), (RouterConfig::default(), Vec::new()));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = read(&[("DB_NODE_ZONES", "a=east,b"), ("DB_READ_FALLBACK", "replica")]).unwrap_err();
        for part in [r#"DB_NODE_ZONES: found "b""#, "primary or error"] {
            assert!(error.to_string().contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn servers_are_probed_four_times_within_the_lag_that_is_allowed() {
        let interval = |interval: &str, lag: &str| {
            let (router, notices) =
                read(&[("DB_HEALTH_CHECK_INTERVAL", interval), ("DB_READ_MAX_LAG", lag)]).unwrap();
            (router.probe_interval.as_millis(), notices.len())
        };
        assert_eq!(interval("30000", "10s"), (2_500, 1));
        assert_eq!(interval("30000", "1s"), (250, 1));
        assert_eq!(interval("2s", "10s"), (2_000, 0));
        assert_eq!(interval("60s", "1ms"), (50, 1));
        assert_eq!(interval("", "100ms"), (50, 0));
    }

    #[test]
    fn what_is_said_of_servers_is_read() {
        let pairs = [
            ("DB_NODE_WEIGHTS", "a=3, b:6000 = 2"),
            ("DB_BALANCED_NODES", "reader.example"),
            ("DB_NODES_WITHOUT_READS", "c, d:5433"),
            ("DB_PROBE_TIMEOUT", "2s"),
            ("DB_WRITER_WAIT", "0"),
            ("DB_WRITER_MAX_WAITING", "7"),
            ("DB_READ_TOKEN_WAIT", "20"),
            ("DB_POOLED", "true"),
        ];
        let (router, _) = read(&pairs).unwrap();
        let weights: Vec<_> = router.weights.into_iter().map(|(host, weight)| (host, weight.get())).collect();
        assert_eq!(weights, [("a".to_owned(), 3), ("b:6000".to_owned(), 2)]);
        assert!(router.balanced.contains("reader.example"));
        assert_eq!(router.without_reads.into_iter().collect::<Vec<_>>(), ["c", "d:5433"]);
        assert_eq!((router.probe_timeout, router.writer_wait), (Duration::from_secs(2), Duration::ZERO));
        assert_eq!((router.max_waiting, router.token_wait), (7, Duration::from_millis(20)));
        assert!(router.pooled);
        let error = read(&[("DB_NODE_WEIGHTS", "a=0")]).unwrap_err().to_string();
        assert!(error.contains("host=weight, where the weight is 1 or more"), "{error}");
    }
}

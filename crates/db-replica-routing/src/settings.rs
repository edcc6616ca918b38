//! The settings of routing: described, and read into [`RouterConfig`] and, with the feature `patroni`,
//! `PatroniUrls`.

use std::collections::BTreeMap;
use std::time::Duration;

use db_core::settings::{FromSettings, Group, Reader, Setting, Text, Value};

use crate::{Fallback, RouterConfig};
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
#[cfg(feature = "patroni")]
const PATRONI_URL: Text = Text {
    name: "PATRONI_URL",
    aliases: &[],
    meaning: "Where Patroni's REST API listens, as `http://host:8008`; several are separated by commas. Its \
              members become servers, and log in as `DATABASE_URL` says.",
    default: "none",
};

/// The shortest pause between two probes.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

const ROUTING: Group = Group {
    title: "Who answers reads",
    settings: &[&READ_MAX_LAG, &READ_FALLBACK, &HEALTH_CHECK_INTERVAL, &ZONE, &NODE_ZONES],
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
            fallback: from.read(&READ_FALLBACK),
            zone: from.text(&ZONE).map(|(_, zone)| zone),
            zones: zones(from),
            ..RouterConfig::default()
        }
    }
}

/// A standby that was probed longer ago than its lag may be would be read from on an old word.
fn probe_interval(from: &mut Reader<'_>, max_lag: Duration) -> Duration {
    let most = (max_lag / 2).max(SHORTEST_INTERVAL);
    match from.read_optional(&HEALTH_CHECK_INTERVAL) {
        Some(asked) if asked > most => {
            let what = format!(
                "is taken as {}, half of {}: a lag is only as well known as the last probe is young",
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

fn zones(from: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some((name, text)) = from.text(&NODE_ZONES) else { return BTreeMap::new() };
    let mut zones = BTreeMap::new();
    for pair in text.split(',').map(str::trim) {
        match pair.split_once('=').map(|(host, zone)| (host.trim(), zone.trim())) {
            Some((host, zone)) if !host.is_empty() && !zone.is_empty() => {
                zones.insert(host.to_owned(), zone.to_owned());
            }
            _ => from.problem(name, format!("found {pair:?}, allowed is host=zone")),
        }
    }
    zones
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
    fn servers_are_probed_twice_within_the_lag_that_is_allowed() {
        let interval = |interval: &str, lag: &str| {
            let (router, notices) =
                read(&[("DB_HEALTH_CHECK_INTERVAL", interval), ("DB_READ_MAX_LAG", lag)]).unwrap();
            (router.probe_interval.as_millis(), notices.len())
        };
        assert_eq!(interval("30000", "10s"), (5_000, 1));
        assert_eq!(interval("30000", "1s"), (500, 1));
        assert_eq!(interval("5s", "10s"), (5_000, 0));
        assert_eq!(interval("60s", "1ms"), (50, 1));
        assert_eq!(interval("", "100ms"), (50, 0));
    }
}

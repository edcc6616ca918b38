//! Everything that a [`Db`](crate::Db) needs to know, from code or from the environment.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use db_core::settings::{InvalidSettings, Reader, Setting};
use db_core::{DatabaseUrl, Endpoint, Environment};
use db_pool::{ConnectConfig, PoolConfig, Reset};
use db_replica_routing::{InvalidPatroniUrl, PatroniUrl, RouterConfig};
use db_retry::RetryConfig;

use crate::settings as names;

/// Everything that a [`Db`](crate::Db) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the program runs.
    pub environment: Environment,
    /// The primary; with several hosts, the first that is a primary.
    pub url: DatabaseUrl,
    /// The primary past any pooler, for migrations and locks.
    pub direct_url: DatabaseUrl,
    /// The standbys that answer reads.
    pub read_urls: Vec<DatabaseUrl>,
    /// Servers of which any may be the primary, beside `url`.
    pub nodes: Vec<DatabaseUrl>,
    /// Where Patronis listen that tell of more nodes; none without Patroni.
    pub patroni: Vec<PatroniUrl>,
    /// How connections are opened.
    pub connect: ConnectConfig,
    /// The pool of connections to the primary.
    pub pool: PoolConfig,
    /// The pool of connections to each standby, and the one for reads that the primary answers.
    pub read_pool: PoolConfig,
    /// How reads and transactions are tried again.
    pub retry: RetryConfig,
    /// How servers are watched, and how stale a read may be.
    pub router: RouterConfig,
    /// A statement that takes longer is logged; none means never.
    pub slow_query_threshold: Option<Duration>,
    /// Whether every statement is logged.
    pub log_queries: bool,
}

impl Config {
    /// The configuration for one server, with the defaults of an environment.
    pub fn new(environment: Environment, url: DatabaseUrl) -> Self {
        let nothing = |_: &str| None;
        let mut reader = Reader::new(&nothing, environment);
        // Nothing is set, so nothing can be wrong.
        Config::build(&mut reader, url)
    }

    /// The configuration from the process's environment variables; docs/configuration.md lists them.
    ///
    /// # Errors
    /// [`InvalidSettings`] with everything that is missing or wrong.
    pub fn from_env() -> Result<Self, InvalidSettings> {
        Config::from_lookup(&|name| std::env::var(name).ok())
    }

    /// The configuration from whatever `lookup` knows.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, InvalidSettings> {
        let named = lookup(names::APP_ENV.name).filter(|text| !text.trim().is_empty());
        let environment = named.map_or(Ok(Environment::default()), |text| text.parse());
        let mut reader = Reader::new(lookup, environment.clone().unwrap_or_default());
        if let Err(error) = environment {
            reader.problem(names::APP_ENV.name, error.to_string());
        }
        let nodes = read_urls(&mut reader, &names::DATABASE_NODES);
        let url = read_url(&mut reader, nodes.first());
        let direct = read_optional_url(&mut reader, &names::DATABASE_DIRECT_URL);
        let standbys = read_urls(&mut reader, &names::DATABASE_READ_URLS);
        let (patroni, zones) = (read_patroni(&mut reader), read_zones(&mut reader));
        let zone = reader.text(names::ZONE.name, names::ZONE.aliases);
        // A placeholder stands in where the URL is wrong: the settings behind it are still worth checking.
        let mut config = Config::build(&mut reader, url.unwrap_or_else(placeholder));
        if config.pool.min > config.pool.max.get() {
            reader.problem(names::POOL_MIN.name, "found more than DB_POOL_MAX, allowed is at most that");
        }
        if config.read_pool.min > config.read_pool.max.get() {
            reader.problem(
                names::READ_POOL_MIN.name,
                "found more than DB_READ_POOL_MAX, allowed is at most that",
            );
        }
        config.direct_url = direct.unwrap_or_else(|| config.url.clone());
        (config.read_urls, config.nodes) = (standbys, nodes);
        (config.patroni, config.router.zones) = (patroni, zones);
        config.router.zone = zone.map(|(_, zone)| zone.trim().to_owned());
        reader.finish()?;
        Ok(config)
    }

    fn build(reader: &mut Reader<'_>, url: DatabaseUrl) -> Self {
        let connect = ConnectConfig {
            connect_timeout: reader.read(&names::CONNECT_TIMEOUT),
            socket_timeout: Some(reader.read(&names::SOCKET_TIMEOUT)),
            statement_timeout: unless_zero(reader.read(&names::QUERY_TIMEOUT)),
            prepared_statements: reader.read(&names::PREPARED_STATEMENTS),
            max_prepared_statements: non_zero(reader.read(&names::MAX_PREPARED_STATEMENTS)),
            wire_tap: reader.read(&names::WIRE_TAP),
            ..ConnectConfig::default()
        };
        let ceiling = ceiling_by_cores();
        let shared = PoolConfig {
            acquire_timeout: Some(reader.read(&names::POOL_CONNECTION_TIMEOUT)),
            idle_timeout: Some(reader.read(&names::POOL_IDLE_TIMEOUT)),
            max_lifetime: Some(reader.read(&names::POOL_MAX_LIFETIME)),
            keepalive: unless_zero(reader.read(&names::POOL_KEEPALIVE)),
            leak_threshold: unless_zero(reader.read(&names::POOL_LEAK_THRESHOLD)),
            background: NonZeroUsize::new(reader.read(&names::POOL_BACKGROUND) as usize),
            salvage_timeout: reader.read(&names::POOL_SALVAGE_TIMEOUT),
            reset: if reader.read(&names::POOL_RESET_ALWAYS) { Reset::Always } else { Reset::WhenSeen },
            ..PoolConfig::default()
        };
        let mut size = |min: &Setting<u32>, max: &Setting<u32>| {
            let default = names::POOL_MAX.default_in(reader.environment()).min(ceiling);
            let max = reader.read_optional(max).unwrap_or(default);
            // A small maximum that was asked for brings a default minimum down with it.
            let min =
                reader.read_optional(min).unwrap_or_else(|| min.default_in(reader.environment()).min(max));
            PoolConfig { min: min as usize, max: non_zero(max), ..shared.clone() }
        };
        let pool = size(&names::POOL_MIN, &names::POOL_MAX);
        let read_pool = size(&names::READ_POOL_MIN, &names::READ_POOL_MAX);
        let retry = RetryConfig {
            attempts: NonZeroU32::MIN.saturating_add(reader.read(&names::MAX_RETRIES)),
            base: reader.read(&names::RETRY_DELAY),
            multiplier: reader.read(&names::RETRY_BACKOFF),
            ..RetryConfig::default()
        };
        let router = RouterConfig {
            probe_interval: reader.read(&names::HEALTH_CHECK_INTERVAL),
            max_lag: reader.read(&names::READ_MAX_LAG),
            fallback: reader.read(&names::READ_FALLBACK),
            ..RouterConfig::default()
        };
        Config {
            environment: reader.environment(),
            direct_url: url.clone(),
            url,
            read_urls: Vec::new(),
            nodes: Vec::new(),
            patroni: Vec::new(),
            connect,
            pool,
            read_pool,
            retry,
            router,
            slow_query_threshold: unless_zero(reader.read(&names::SLOW_QUERY_THRESHOLD)),
            log_queries: reader.read(&names::LOG_QUERIES),
        }
    }
}

/// More connections than the machine can keep busy only queue inside the server instead of here.
fn ceiling_by_cores() -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    u32::try_from(cores).unwrap_or(u32::MAX).saturating_mul(8).max(16)
}

fn unless_zero(duration: Duration) -> Option<Duration> {
    Some(duration).filter(|duration| !duration.is_zero())
}

fn non_zero(number: u32) -> NonZeroUsize {
    NonZeroUsize::new(number as usize).unwrap_or(NonZeroUsize::MIN)
}

fn placeholder() -> DatabaseUrl {
    DatabaseUrl::from_parts(Vec::new(), "postgres", None, "postgres")
}

fn read_url(reader: &mut Reader<'_>, node: Option<&DatabaseUrl>) -> Option<DatabaseUrl> {
    if let Some((name, text)) = reader.text(names::DATABASE_URL.name, names::DATABASE_URL.aliases) {
        return parse(reader, name, &text);
    }
    let mut text = |setting: &names::Text| reader.text(setting.name, setting.aliases);
    let (host, port) = (text(&names::POSTGRES_HOST), text(&names::POSTGRES_PORT));
    let (user, database) = (text(&names::POSTGRES_USER), text(&names::POSTGRES_DB));
    let password = text(&names::POSTGRES_PASSWORD).map(|(_, password)| password);
    let Some((_, host)) = host else {
        if let Some(node) = node {
            return Some(node.clone());
        }
        let what = "not set: write postgres://user:password@host:5432/database, or set POSTGRES_HOST and its companions";
        reader.problem(names::DATABASE_URL.name, what);
        return None;
    };
    let port = match port.map(|(name, text)| (name, text.parse::<u16>().ok().filter(|port| *port > 0), text))
    {
        None => Endpoint::DEFAULT_PORT,
        Some((_, Some(port), _)) => port,
        Some((name, None, text)) => {
            reader.problem(name, format!("found {text:?}, allowed is a number from 1 to 65535"));
            return None;
        }
    };
    let user = user.map_or_else(|| "postgres".to_owned(), |(_, user)| user);
    let database = database.map_or_else(|| user.clone(), |(_, database)| database);
    Some(DatabaseUrl::from_parts(vec![Endpoint::new(host, port)], user, password, database))
}

fn read_optional_url(reader: &mut Reader<'_>, setting: &names::Text) -> Option<DatabaseUrl> {
    let (name, text) = reader.text(setting.name, setting.aliases)?;
    parse(reader, name, &text)
}

/// A comma separates two URLs only where a scheme follows: within one URL it separates hosts.
fn read_urls(reader: &mut Reader<'_>, setting: &names::Text) -> Vec<DatabaseUrl> {
    let Some((name, text)) = reader.text(setting.name, setting.aliases) else { return Vec::new() };
    let mut urls: Vec<String> = Vec::new();
    for part in text.split(',').map(str::trim) {
        match urls.last_mut() {
            Some(url) if !part.contains("://") => {
                url.push(',');
                url.push_str(part);
            }
            _ => urls.push(part.to_owned()),
        }
    }
    urls.iter().filter(|url| !url.is_empty()).filter_map(|url| parse(reader, name, url)).collect()
}

fn read_patroni(reader: &mut Reader<'_>) -> Vec<PatroniUrl> {
    let setting = &names::PATRONI_URL;
    let Some((name, text)) = reader.text(setting.name, setting.aliases) else { return Vec::new() };
    let parsed = text.split(',').map(str::parse).collect::<Result<_, InvalidPatroniUrl>>();
    parsed.map_err(|error| reader.problem(name, error.to_string())).unwrap_or_default()
}

fn read_zones(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let setting = &names::NODE_ZONES;
    let Some((name, text)) = reader.text(setting.name, setting.aliases) else { return BTreeMap::new() };
    let mut zones = BTreeMap::new();
    for pair in text.split(',').map(str::trim) {
        match pair.split_once('=') {
            Some((host, zone)) if !host.is_empty() && !zone.is_empty() => {
                zones.insert(host.trim().to_owned(), zone.trim().to_owned());
            }
            _ => reader.problem(name, format!("found {pair:?}, allowed is host=zone")),
        }
    }
    zones
}

fn parse(reader: &mut Reader<'_>, name: &str, text: &str) -> Option<DatabaseUrl> {
    // The text may hold a password, so the message never quotes it.
    text.trim().parse().map_err(|error: db_core::InvalidUrl| reader.problem(name, error.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_replica_routing::Fallback;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, InvalidSettings> {
        Config::from_lookup(&|name| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned())
        })
    }

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://ann:secret@db/app");

    #[test]
    fn a_missing_url_says_what_to_write() {
        let error = config(&[]).unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL: not set: write postgres://"), "{error}");
    }

    #[test]
    fn everything_wrong_is_listed_and_no_password_with_it() {
        let error = config(&[
            ("APP_ENV", "prod-eu"),
            ("DATABASE_URL", "postgres://ann:hunter2@db:99999/app"),
            ("DATABASE_READ_URLS", "postgres://ann:hunter2@s1/app,mysql://ann:hunter2@s2/app"),
            ("DB_POOL_TIMEOUT", "10"),
            ("DB_POOL_MAX", "0"),
            ("DB_RETRY_BACKOFF", "fast"),
        ])
        .unwrap_err();
        let names: Vec<_> = error.problems.iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "APP_ENV",
                "DATABASE_URL",
                "DATABASE_READ_URLS",
                "DB_POOL_TIMEOUT",
                "DB_POOL_MAX",
                "DB_RETRY_BACKOFF"
            ]
        );
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn parts_make_a_url() {
        let parts =
            [("DB_HOST", "db"), ("POSTGRES_PORT", "6000"), ("DB_USER", "ann"), ("POSTGRES_PASSWORD", "p@w")];
        assert_eq!(config(&parts).unwrap().url.to_string(), "postgres://ann:***@db:6000/ann");
    }

    #[test]
    fn standbys_are_separated_where_a_scheme_follows() {
        let read = ("DATABASE_READ_URLS", "postgres://ann@s1,s2/app, postgresql://ann@s3/app");
        let urls: Vec<_> = config(&[URL, read]).unwrap().read_urls.iter().map(ToString::to_string).collect();
        assert_eq!(urls, ["postgres://ann@s1:5432,s2:5432/app", "postgres://ann@s3:5432/app"]);
    }

    #[test]
    fn a_cluster_is_named_by_its_nodes_its_patroni_and_its_zones() {
        let pairs = [
            ("DATABASE_NODES", "postgres://ann@a,b/app,postgres://bob@c/app"),
            ("PATRONI_URL", "http://a:8008, http://b"),
            ("DB_ZONE", "east"),
            ("DB_NODE_ZONES", "a=east, c:5432=west"),
            ("DB_READ_MAX_LAG", "3s"),
            ("DB_READ_FALLBACK", "error"),
        ];
        let config = config(&pairs).unwrap();
        let nodes: Vec<_> = config.nodes.iter().map(ToString::to_string).collect();
        assert_eq!(nodes, ["postgres://ann@a:5432,b:5432/app", "postgres://bob@c:5432/app"]);
        assert_eq!(config.url, config.nodes[0]);
        let patroni: Vec<_> = config.patroni.iter().map(ToString::to_string).collect();
        assert_eq!(patroni, ["http://a:8008", "http://b:8008"]);
        let zones: Vec<_> = config.router.zones.clone().into_iter().collect();
        assert_eq!(zones, [("a", "east"), ("c:5432", "west")].map(|(a, b)| (a.to_owned(), b.to_owned())));
        let router = config.router;
        assert_eq!((router.zone.as_deref(), router.max_lag), (Some("east"), Duration::from_secs(3)));
        assert_eq!((router.fallback, router.probe_interval), (Fallback::Error, Duration::from_millis(250)));
    }

    #[test]
    fn what_is_wrong_with_a_cluster_is_said() {
        let error = config(&[
            URL,
            ("PATRONI_URL", "https://a"),
            ("DB_NODE_ZONES", "a=east,b"),
            ("DB_READ_FALLBACK", "replica"),
        ]);
        let problems = error.unwrap_err().to_string();
        for part in ["PATRONI_URL: not the address", r#"DB_NODE_ZONES: found "b""#, "primary or error"] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }

    #[test]
    fn each_environment_has_its_sizes_below_the_ceiling_of_this_machine() {
        for (environment, min, max) in
            [("development", 1, 5), ("test", 0, 3), ("staging", 5, 20), ("production", 10, 50)]
        {
            let config = config(&[URL, ("APP_ENV", environment)]).unwrap();
            let max = max.min(ceiling_by_cores() as usize);
            assert_eq!((config.pool.min, config.pool.max.get()), (min, max), "{environment}");
        }
        let set = config(&[URL, ("APP_ENV", "production"), ("DB_POOL_MAX", "200")]).unwrap();
        assert_eq!(set.pool.max.get(), 200, "what is asked for is not capped");
        let small = config(&[URL, ("APP_ENV", "production"), ("DB_CONNECTION_LIMIT", "4")]).unwrap();
        assert_eq!((small.pool.min, small.pool.max.get()), (4, 4));
    }

    /// Who takes `db-pool` alone gets the same sizes and timeouts.
    #[test]
    fn the_defaults_are_the_presets_of_the_pool() {
        for environment in Environment::ALL {
            let config = Config::new(environment, placeholder());
            let preset = PoolConfig::preset(environment);
            let max = preset.max.min(non_zero(ceiling_by_cores()));
            assert_eq!(
                config.pool,
                PoolConfig { max, min: preset.min.min(max.get()), ..preset },
                "{environment}"
            );
            assert_eq!(config.connect, ConnectConfig::preset(environment), "{environment}");
        }
    }

    #[test]
    fn what_is_set_for_the_pools_reaches_both() {
        let pairs = [
            URL,
            ("DB_POOL_BACKGROUND", "3"),
            ("DB_POOL_SALVAGE_TIMEOUT", "2s"),
            ("DB_POOL_RESET_ALWAYS", "yes"),
            ("DB_WIRE_TAP", "off"),
        ];
        let config = config(&pairs).unwrap();
        for pool in [&config.pool, &config.read_pool] {
            assert_eq!(pool.background, NonZeroUsize::new(3));
            assert_eq!((pool.salvage_timeout, pool.reset), (Duration::from_secs(2), Reset::Always));
        }
        assert!(!config.connect.wire_tap);
    }

    #[test]
    fn zero_turns_off_what_can_be_turned_off() {
        let off =
            ["DB_QUERY_TIMEOUT", "DB_SLOW_QUERY_THRESHOLD", "DB_POOL_KEEPALIVE", "DB_POOL_LEAK_THRESHOLD"];
        let pairs: Vec<_> = off.into_iter().map(|name| (name, "0")).chain([URL]).collect();
        let config = config(&pairs).unwrap();
        assert_eq!((config.connect.statement_timeout, config.slow_query_threshold), (None, None));
        assert_eq!((config.pool.keepalive, config.read_pool.leak_threshold), (None, None));
    }
}

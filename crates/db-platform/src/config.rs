//! Everything that a [`Db`](crate::Db) needs to know, from code or from the environment.

#[cfg(feature = "cache")]
use db_cache::CacheConfig;
use db_core::settings::{DatabaseUrls, FromSettings, InvalidSettings, LedgerSchema, Reader};
use db_core::{DatabaseUrl, Environment};
#[cfg(feature = "maintenance")]
use db_maintenance::{PartitionSettings, UpkeepSettings};
#[cfg(feature = "monitoring")]
use db_monitoring::MonitoringConfig;
#[cfg(feature = "alerts")]
use db_monitoring::alerts::AlertConfig;
use db_notify::NotificationConfig;
use db_pool::{ConnectConfig, PoolConfig, ReadPoolConfig};
use db_replica_routing::{PatroniUrl, PatroniUrls, RouterConfig};
use db_retry::{BreakerConfig, CircuitBreaker, RetryConfig};

use crate::settings::{gather, settings_from_env, settings_from_vars};

/// Everything that a [`Db`](crate::Db) needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the program runs: what the defaults are taken from.
    pub environment: Environment,
    /// The environment that was named; none where `APP_ENV` is not set. What destroys data goes by this one:
    /// see `Migrator::reset` and `SeedOptions`.
    pub named_environment: Option<Environment>,
    /// The schema of the tables that say which migrations are applied and which seeds are loaded; none: where
    /// they are, and `public` for new ones.
    pub ledger_schema: Option<String>,
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
    /// When calls are turned away at once because no server answers, and how it is found out that one is
    /// back; none: each waits for [`RouterConfig::writer_wait`].
    pub breaker: Option<BreakerConfig>,
    /// How servers are watched, and how stale a read may be.
    pub router: RouterConfig,
    /// The cache for [`Db::cached`](crate::Db::cached); none: this `Db` has none.
    #[cfg(feature = "cache")]
    pub cache: Option<CacheConfig>,
    /// What is watched of statements, and what is logged.
    #[cfg(feature = "monitoring")]
    pub monitoring: MonitoringConfig,
    /// What the service looks at of plans and indexes by itself.
    #[cfg(feature = "insight")]
    pub insight: db_insight::InsightConfig,
    /// What people are told of the database, and when.
    #[cfg(feature = "alerts")]
    pub alerts: AlertConfig,
    /// Which partitions are kept, and when.
    #[cfg(feature = "maintenance")]
    pub partitions: PartitionSettings,
    /// When routine upkeep runs, and for how long.
    #[cfg(feature = "maintenance")]
    pub upkeep: UpkeepSettings,
    /// Who is told of what a person should look at.
    pub notifications: NotificationConfig,
}

impl Config {
    /// The configuration for one server, with the defaults of an environment.
    pub fn new(environment: Environment, url: DatabaseUrl) -> Self {
        let urls =
            DatabaseUrls { direct: url.clone(), primary: url, standbys: Vec::new(), nodes: Vec::new() };
        // Nothing is set, so nothing can be wrong.
        let config = Config::read(&mut Reader::new(&|_| None, environment), urls);
        Config { named_environment: Some(environment), ..config }
    }

    /// The configuration from the process's environment variables; docs/configuration.md lists them.
    ///
    /// Warns once of each variable that looks like a misspelt one of these, and of those that other libraries
    /// read.
    ///
    /// # Errors
    /// [`InvalidSettings`] with everything that is missing or wrong.
    pub fn from_env() -> Result<Self, InvalidSettings> {
        settings_from_env(Config::read_all)
    }

    /// The configuration from these names and values, as if they were all that the process's environment
    /// holds.
    ///
    /// ```
    /// use db_platform::Config;
    ///
    /// let vars = [("DATABASE_URL", "postgres://ann@localhost/app"), ("DB_POOL_MAX", "7")];
    /// let config = Config::from_vars(vars.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
    /// assert_eq!(config.pool.max.get(), 7);
    /// # Ok::<(), db_platform::core::settings::InvalidSettings>(())
    /// ```
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, InvalidSettings> {
        settings_from_vars(vars, Config::read_all)
    }

    /// The configuration from what `lookup` knows. As the names that it knows cannot be listed, misspelt ones
    /// are not warned of.
    ///
    /// # Errors
    /// As [`Config::from_env`].
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, InvalidSettings> {
        gather(lookup, [], &[], Config::read_all)
    }

    /// What is wrong with a configuration that was made in code and that no type forbids.
    pub(crate) fn check(&self) -> Result<(), InvalidSettings> {
        let problems = self.urls().impossible_roles();
        let wrong = InvalidSettings { problems, notices: Vec::new() };
        if wrong.problems.is_empty() { Ok(()) } else { Err(wrong) }
    }

    fn urls(&self) -> DatabaseUrls {
        DatabaseUrls {
            primary: self.url.clone(),
            direct: self.direct_url.clone(),
            standbys: self.read_urls.clone(),
            nodes: self.nodes.clone(),
        }
    }

    fn read_all(from: &mut Reader<'_>) -> Self {
        let urls = DatabaseUrls::read(from);
        let config = Config::read(from, urls);
        warn_of_what_a_url_says_in_vain(from, &config);
        config
    }

    fn read(from: &mut Reader<'_>, urls: DatabaseUrls) -> Self {
        let DatabaseUrls { primary, direct, standbys, nodes } = urls;
        let (PatroniUrls(patroni), ReadPoolConfig(read_pool)) = (from.get(), from.get());
        let LedgerSchema(ledger) = from.get();
        let CircuitBreaker(breaker) = from.get();
        #[cfg(feature = "cache")]
        let cache = Some(cache_of(from, &primary));
        Config {
            environment: from.environment(),
            named_environment: from.named_environment(),
            ledger_schema: ledger,
            url: primary,
            direct_url: direct,
            read_urls: standbys,
            nodes,
            patroni,
            connect: from.get(),
            pool: from.get(),
            read_pool,
            retry: from.get(),
            breaker,
            router: from.get(),
            #[cfg(feature = "cache")]
            cache,
            #[cfg(feature = "monitoring")]
            monitoring: from.get(),
            #[cfg(feature = "insight")]
            insight: from.get(),
            #[cfg(feature = "alerts")]
            alerts: from.get(),
            #[cfg(feature = "maintenance")]
            partitions: from.get(),
            #[cfg(feature = "maintenance")]
            upkeep: from.get(),
            notifications: from.get(),
        }
    }
}

/// The cache's configuration: where nobody says whose entries they are, they are those of the database of
/// this name.
#[cfg(feature = "cache")]
fn cache_of(from: &mut Reader<'_>, primary: &DatabaseUrl) -> CacheConfig {
    let mut cache: CacheConfig = from.get();
    if cache.installation.is_empty() {
        cache.installation = format!("{}/{}", from.environment(), primary.database());
    }
    cache
}

/// A setting of its own wins over the URL; nobody should believe that the URL does.
fn warn_of_what_a_url_says_in_vain(reader: &mut Reader<'_>, config: &Config) {
    let (url, defaults) = (&config.url, &config.connect.defaults);
    let session = url.session_settings();
    let both = [
        (defaults.connect_timeout.is_none(), url.param("connect_timeout").is_some(), "DB_CONNECT_TIMEOUT"),
        (defaults.socket_timeout.is_none(), url.param("tcp_user_timeout").is_some(), "DB_SOCKET_TIMEOUT"),
        (defaults.statement_timeout.is_none(), session.contains_key("statement_timeout"), "DB_QUERY_TIMEOUT"),
        (defaults.lock_timeout.is_none(), session.contains_key("lock_timeout"), "DB_LOCK_TIMEOUT"),
        (
            defaults.idle_in_transaction_timeout.is_none(),
            session.contains_key("idle_in_transaction_session_timeout"),
            "DB_IDLE_IN_TRANSACTION_TIMEOUT",
        ),
    ];
    for (chosen, in_url, name) in both {
        if chosen && in_url {
            reader.notice(name, "counts, and DATABASE_URL says the same thing in vain: unset one");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Result<Config, InvalidSettings> {
        Config::from_vars(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    const URL: (&str, &str) = ("DATABASE_URL", "postgres://ann:secret@db/app");

    #[test]
    fn an_environment_that_is_not_named_is_no_named_one() {
        let named = |value| config(&[URL, ("APP_ENV", value)]).map(|config| config.named_environment);
        assert_eq!(config(&[URL]).unwrap().named_environment, None);
        assert_eq!(named(" ").unwrap(), None);
        assert_eq!(named("test").unwrap(), Some(Environment::Test));
        assert!(named("develpment").unwrap_err().to_string().contains("develpment"));
        let built = Config::new(Environment::Staging, URL.1.parse().unwrap());
        assert_eq!(built.named_environment, Some(Environment::Staging));
    }

    #[test]
    fn one_error_lists_what_is_wrong_for_every_crate_and_no_password() {
        let error = config(&[
            ("APP_ENV", "prod-eu"),
            ("DATABASE_URL", "postgres://ann:hunter2@db:99999/app"),
            ("DATABASE_READ_URLS", "postgres://ann:hunter2@s1/app,mysql://ann:hunter2@s2/app"),
            ("PATRONI_URL", "a:8008"),
            ("DB_POOL_TIMEOUT", "10"),
            ("DB_POOL_MAX", "0"),
            ("DB_CONNECT_TIMEOUT", "5"),
            ("DB_RETRY_BACKOFF", "fast"),
            ("DB_READ_FALLBACK", "replica"),
            ("DB_LOG_QUERIES", "maybe"),
            ("DB_POOL_MAXX", "20"),
        ])
        .unwrap_err();
        let mut names: Vec<_> = error.problems.iter().map(|problem| problem.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "APP_ENV",
                "DATABASE_READ_URLS",
                "DATABASE_URL",
                "DB_CONNECT_TIMEOUT",
                "DB_LOG_QUERIES",
                "DB_POOL_MAX",
                "DB_POOL_TIMEOUT",
                "DB_READ_FALLBACK",
                "DB_RETRY_BACKOFF",
                "PATRONI_URL"
            ]
        );
        let text = error.to_string();
        assert!(text.ends_with("also, DB_POOL_MAXX is not read: it looks like DB_POOL_MAX"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn what_is_set_reaches_the_part_that_it_is_for() {
        let pairs = [
            ("DATABASE_NODES", "postgres://ann@a,b/app,postgres://bob@c/app"),
            ("PATRONI_URL", "http://a:8008, http://b"),
            ("DB_ZONE", "east"),
            ("DB_POOL_BACKGROUND", "3"),
            ("DB_POOL_MAX_BUFFER", "65536"),
            ("DB_CIRCUIT_BREAKER", "on"),
            ("DB_WIRE_TAP", "off"),
            ("DB_MAX_RETRIES", "0"),
            ("DB_SLOW_QUERY_THRESHOLD", "0"),
            ("DB_LOG_QUERIES", "true"),
        ];
        let config = config(&pairs).unwrap();
        let nodes: Vec<_> = config.nodes.iter().map(ToString::to_string).collect();
        assert_eq!(nodes, ["postgres://ann@a:5432,b:5432/app", "postgres://bob@c:5432/app"]);
        assert_eq!(config.url, config.nodes[0]);
        let patroni: Vec<_> = config.patroni.iter().map(ToString::to_string).collect();
        assert_eq!(patroni, ["http://a:8008", "http://b:8008"]);
        assert_eq!(config.router.zone.as_deref(), Some("east"));
        for pool in [&config.pool, &config.read_pool] {
            let counts =
                [pool.background, pool.max_buffer].map(|count| count.map(std::num::NonZeroUsize::get));
            assert_eq!(counts, [Some(3), Some(65_536)]);
        }
        assert_eq!(config.breaker, Some(BreakerConfig::default()));
        assert!(!config.connect.wire_tap);
        assert_eq!(config.retry.attempts.get(), 1);
        #[cfg(feature = "monitoring")]
        assert_eq!((config.monitoring.slow_query_threshold, config.monitoring.log_queries), (None, true));
    }

    #[test]
    fn a_configuration_from_code_is_that_of_an_environment_that_says_nothing_else() {
        for environment in Environment::ALL {
            let url: DatabaseUrl = URL.1.parse().unwrap();
            let read = config(&[URL, ("APP_ENV", environment.as_str())]).unwrap();
            assert_eq!(format!("{:?}", Config::new(environment, url)), format!("{read:?}"));
        }
    }
}

//! Names of what this build leaves out, and the page made of every crate's settings.

use std::collections::HashMap;

#[cfg(feature = "backup-import")]
use db_backup::ImportSettings;
#[cfg(feature = "backup")]
use db_backup::{Compression, HookSettings, KeySettings, RetentionPolicy, ScheduleSettings, StoreSettings};
#[cfg(feature = "cache")]
use db_cache::CacheConfig;
#[cfg(any(
    not(feature = "alerts"),
    not(feature = "cache"),
    not(feature = "maintenance"),
    not(feature = "monitoring")
))]
use db_core::settings::Foreign;
use db_core::settings::{
    DatabaseUrls, FromSettings, Group, InvalidSettings, LedgerSchema, NamedEnvironment, Reader, page,
};
#[cfg(feature = "maintenance")]
use db_maintenance::{PartitionSettings, UpkeepSettings};
#[cfg(feature = "monitoring")]
use db_monitoring::MonitoringConfig;
#[cfg(feature = "alerts")]
use db_monitoring::alerts::AlertConfig;
use db_notify::NotificationConfig;
use db_pool::{ConnectConfig, PoolConfig, ReadPoolConfig};
use db_replica_routing::{PatroniUrls, RouterConfig};
use db_retry::{CircuitBreaker, RetryConfig};

/// What is said of a name whose part of the platform does not exist.
#[cfg(not(feature = "cache"))]
const NO_CACHE: &str = "build db-platform with its feature `cache`";
#[cfg(not(feature = "maintenance"))]
const NO_UPKEEP: &str = "build db-platform with its feature `maintenance`";
#[cfg(not(feature = "alerts"))]
const WITHOUT_ALERTS: &str = "build db-platform with its feature `alerts`";
#[cfg(not(feature = "insight"))]
const WITHOUT_INSIGHT: &str = "build db-platform with its feature `insight`";
#[cfg(not(feature = "monitoring"))]
const WITHOUT_MONITORING: &str = "build db-platform with its feature `monitoring`";

/// Names that only a build with upkeep reads.
#[cfg(not(feature = "maintenance"))]
const PARTITIONS: Group = Group {
    title: "Partitions",
    settings: &[],
    elsewhere: &[
        Foreign::new("PARTITIONING_ENABLED", NO_UPKEEP),
        Foreign::new("PARTITION_MAINTENANCE_SCHEDULE", NO_UPKEEP),
        Foreign::new("PARTITION_POLICY", NO_UPKEEP),
        Foreign::new("PARTITION_ARCHIVE_DIR", NO_UPKEEP),
        Foreign::new("PARTITION_ARCHIVE_COMMAND", NO_UPKEEP),
        Foreign::new("PARTITION_ARCHIVE_READ_COMMAND", NO_UPKEEP),
        Foreign::new("MAINTENANCE_SCHEDULE", NO_UPKEEP),
        Foreign::new("MAINTENANCE_BUDGET", NO_UPKEEP),
        Foreign::new("MAINTENANCE_TRUSTED_OWNERS", NO_UPKEEP),
    ],
};

/// Names that only a build with a cache reads. REDIS_URL is none of them: services have a Redis of their own,
/// and would hear of it at each start.
#[cfg(not(feature = "cache"))]
const CACHE: Group = Group {
    title: "The cache",
    settings: &[],
    elsewhere: &[
        Foreign::new("CACHE_TTL", NO_CACHE),
        Foreign::new("CACHE_MODE", NO_CACHE),
        Foreign::new("CACHE_MAX_MEMORY", NO_CACHE),
        Foreign::new("CACHE_ENABLE_COMPRESSION", NO_CACHE),
        Foreign::new("CACHE_ENABLE_WARMING", NO_CACHE),
        Foreign::new("CACHE_REDIS_BUDGET", NO_CACHE),
    ],
};

/// Names that only a build with monitoring reads.
#[cfg(not(feature = "monitoring"))]
const MONITORING: Group = Group {
    title: "Monitoring",
    settings: &[],
    elsewhere: &[
        Foreign::new("MONITORING_ENABLED", WITHOUT_MONITORING),
        Foreign::new("DB_ENABLE_METRICS", WITHOUT_MONITORING),
        Foreign::new("DB_SLOW_QUERY_THRESHOLD", WITHOUT_MONITORING),
        Foreign::new("SLOW_QUERY_THRESHOLD", WITHOUT_MONITORING),
        Foreign::new("DB_LOG_SLOW_QUERIES", WITHOUT_MONITORING),
        Foreign::new("DB_LOG_QUERIES", WITHOUT_MONITORING),
        Foreign::new("DB_TRACE_LINK", WITHOUT_MONITORING),
    ],
};

/// Names that only a build with insight reads.
#[cfg(not(feature = "insight"))]
const INSIGHT: Group = Group {
    title: "Insight",
    settings: &[],
    elsewhere: &[
        Foreign::new("DB_QUERY_ANALYSIS", WITHOUT_INSIGHT),
        Foreign::new("DB_ENABLE_PERFORMANCE_INSIGHTS", WITHOUT_INSIGHT),
    ],
};

/// Names that only a build with alerts reads.
#[cfg(not(feature = "alerts"))]
const ALERTS: Group = Group {
    title: "Alerts",
    settings: &[],
    elsewhere: &[
        Foreign::new("ALERTS_ENABLED", WITHOUT_ALERTS),
        Foreign::new("ALERT_POOL_USAGE", WITHOUT_ALERTS),
        Foreign::new("ALERT_CACHE_HIT_RATE", WITHOUT_ALERTS),
        Foreign::new("ALERT_QUERY_TIME", WITHOUT_ALERTS),
        Foreign::new("ALERT_ERROR_RATE", WITHOUT_ALERTS),
        Foreign::new("ALERT_REPLICATION_LAG", WITHOUT_ALERTS),
        Foreign::new("ALERT_AFTER", WITHOUT_ALERTS),
        Foreign::new("ALERT_RESOLVE_AFTER", WITHOUT_ALERTS),
        Foreign::new("ALERT_SILENCES", WITHOUT_ALERTS),
    ],
};

/// What is set for backups; a service without them is not to hear of it.
#[cfg(feature = "backup")]
const BACKUP: &[&Group] = &[
    StoreSettings::GROUPS[0],
    KeySettings::GROUPS[0],
    Compression::GROUPS[0],
    RetentionPolicy::GROUPS[0],
    ScheduleSettings::GROUPS[0],
    HookSettings::GROUPS[0],
    #[cfg(feature = "backup-import")]
    ImportSettings::GROUPS[0],
];
#[cfg(not(feature = "backup"))]
const BACKUP: &[&Group] = &[];

/// Every crate's settings, in the order of the page.
pub(crate) fn groups() -> Vec<&'static Group> {
    let all = [
        NamedEnvironment::GROUPS,
        DatabaseUrls::GROUPS,
        LedgerSchema::GROUPS,
        PatroniUrls::GROUPS,
        RouterConfig::GROUPS,
        PoolConfig::GROUPS,
        ReadPoolConfig::GROUPS,
        ConnectConfig::GROUPS,
        RetryConfig::GROUPS,
        CircuitBreaker::GROUPS,
        #[cfg(feature = "monitoring")]
        MonitoringConfig::GROUPS,
        #[cfg(not(feature = "monitoring"))]
        &[&MONITORING],
        #[cfg(feature = "insight")]
        db_insight::InsightConfig::GROUPS,
        #[cfg(not(feature = "insight"))]
        &[&INSIGHT],
        #[cfg(feature = "alerts")]
        AlertConfig::GROUPS,
        #[cfg(not(feature = "alerts"))]
        &[&ALERTS],
        NotificationConfig::GROUPS,
        BACKUP,
        #[cfg(feature = "cache")]
        CacheConfig::GROUPS,
        #[cfg(not(feature = "cache"))]
        &[&CACHE],
        #[cfg(feature = "maintenance")]
        PartitionSettings::GROUPS,
        #[cfg(feature = "maintenance")]
        UpkeepSettings::GROUPS,
        #[cfg(not(feature = "maintenance"))]
        &[&PARTITIONS],
    ];
    let mut groups: Vec<&Group> = Vec::new();
    for group in all.concat() {
        if !groups.iter().any(|known| known.title == group.title) {
            groups.push(group);
        }
    }
    groups
}

const HEAD: &str = "# Configuration

<!-- Generated: cargo run -p db-platform --example configuration > docs/configuration.md -->

`Config::from_env` reads these variables. One error lists everything that is wrong with them.

- Durations accept `250ms`, `30s`, `5m`, `1h` or bare milliseconds; the names marked with *unit* refuse a bare
  number, because people know them in seconds.
- Two names of one setting that say different things are an error.
- An empty value counts as not set.
- What a connection URL may say, what fills in what it leaves out, and who wins, is in
  [connecting.md](connecting.md).
- A name that is not read and looks like one that is, is warned of once, at start; no warning shows a value.
";

/// What `read` reads from the process's environment variables, for a program that needs only some of the
/// settings, and perhaps no database.
///
/// Warns as [`Config::from_env`](crate::Config::from_env) does.
///
/// ```
/// use db_platform::NotificationConfig;
///
/// let config = db_platform::settings_from_env(|reader| reader.get::<NotificationConfig>())?;
/// # Ok::<(), db_platform::core::settings::InvalidSettings>(())
/// ```
///
/// # Errors
/// [`InvalidSettings`] with everything that is wrong with what `read` reads.
pub fn settings_from_env<T>(read: impl FnOnce(&mut Reader<'_>) -> T) -> Result<T, InvalidSettings> {
    let (mut vars, mut unreadable) = (HashMap::new(), Vec::new());
    for (name, value) in std::env::vars_os() {
        // A name that is not UTF-8 is none of ours.
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => drop(vars.insert(name, value)),
            Err(_) => unreadable.push(name),
        }
    }
    gather(&|name| vars.get(name).cloned(), vars.keys().map(String::as_str), &unreadable, read)
}

/// As [`settings_from_env`], from these names and values in place of the process's environment.
///
/// # Errors
/// As [`settings_from_env`].
pub fn settings_from_vars<T>(
    vars: impl IntoIterator<Item = (String, String)>,
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> Result<T, InvalidSettings> {
    let vars: HashMap<String, String> = vars.into_iter().collect();
    gather(&|name| vars.get(name).cloned(), vars.keys().map(String::as_str), &[], read)
}

/// Reads, and logs what may not be what was meant; `names` are all that are set, where that is known.
pub(crate) fn gather<'n, T>(
    lookup: &dyn Fn(&str) -> Option<String>,
    names: impl IntoIterator<Item = &'n str>,
    unreadable: &[String],
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> Result<T, InvalidSettings> {
    let groups = groups();
    let mut reader = Reader::of(lookup);
    for name in unreadable.iter().filter(|name| groups.iter().any(|group| group.reads(name))) {
        reader.problem(name, "is not UTF-8");
    }
    let value = read(&mut reader);
    reader.warn_of_foreign_names(&groups);
    reader.warn_of_typos(names, &groups);
    for notice in reader.finish()? {
        tracing::warn!(name = notice.name, "{notice}");
    }
    Ok(value)
}

/// The text of docs/configuration.md, made from the settings of every crate.
pub fn configuration_page() -> String {
    [HEAD, &page(&groups())].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use db_core::Environment;

    /// Reading is by description, and what is described is read: neither can be forgotten.
    fn check<T: FromSettings>() {
        let asked = RefCell::new(BTreeSet::new());
        let lookup = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            None
        };
        let mut reader = Reader::new(&lookup, Environment::Test);
        T::read(&mut reader);
        let described: BTreeSet<String> =
            T::GROUPS.iter().flat_map(|group| group.names()).map(str::to_owned).collect();
        assert_eq!(asked.into_inner(), described, "{}", std::any::type_name::<T>());
    }

    #[test]
    fn every_name_that_is_read_is_described_and_the_other_way_round() {
        check::<NamedEnvironment>();
        check::<LedgerSchema>();
        check::<DatabaseUrls>();
        check::<PatroniUrls>();
        check::<RouterConfig>();
        check::<PoolConfig>();
        check::<ReadPoolConfig>();
        check::<ConnectConfig>();
        check::<RetryConfig>();
        check::<CircuitBreaker>();
        #[cfg(feature = "monitoring")]
        check::<MonitoringConfig>();
        #[cfg(feature = "alerts")]
        check::<AlertConfig>();
        check::<NotificationConfig>();
        #[cfg(feature = "backup")]
        {
            check::<StoreSettings>();
            check::<KeySettings>();
            check::<Compression>();
            check::<RetentionPolicy>();
            check::<ScheduleSettings>();
            check::<HookSettings>();
        }
        #[cfg(feature = "backup-import")]
        check::<ImportSettings>();
        #[cfg(feature = "maintenance")]
        {
            check::<PartitionSettings>();
            check::<UpkeepSettings>();
        }
        #[cfg(feature = "cache")]
        check::<CacheConfig>();
    }

    #[test]
    fn no_name_is_described_twice() {
        let mut seen = BTreeSet::new();
        for group in groups() {
            let foreign = group.elsewhere.iter().map(|foreign| foreign.name);
            for name in group.names().chain(foreign) {
                assert!(seen.insert(name), "{name}");
            }
        }
    }
}

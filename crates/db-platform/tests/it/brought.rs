//! Settings as teams bring them from their `.env` files: each is taken as meant, or refused or warned of by
//! name with what to write.

use std::time::Duration;

use db_platform::{Config, Environment};

use crate::configuration::OTHER_POOLS;
use crate::log::Log;

const URL: (&str, &str) = ("DATABASE_URL", "postgresql://user:hunter2@localhost:5432/app");

/// What a team's setting comes to.
enum Outcome<'a> {
    /// It is taken, and this holds.
    Taken(fn(&Config) -> bool),
    /// It is refused, with these words.
    Refused(&'a str),
    /// It is taken or not read, and said with these words.
    Warned(&'a str),
}
use Outcome::{Refused, Taken, Warned};

fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn check(pairs: &[(&str, &str)], outcome: &Outcome<'_>) {
    let mut read = None;
    let logged = Log::of(|| read = Some(Config::from_vars(vars(pairs))));
    let read = read.unwrap();
    let said = read.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(!format!("{said}{logged}").contains("hunter2"), "{pairs:?}: {said}{logged}");
    match (outcome, read) {
        (Taken(holds), Ok(config)) => {
            assert!(holds(&config), "{pairs:?}: {config:?}");
            assert_eq!(logged, "", "{pairs:?}");
        }
        (Refused(words), Err(_)) => assert!(said.contains(words), "{pairs:?}: {said}"),
        (Warned(words), Ok(_)) => {
            assert_eq!(logged.lines().count(), 1, "{pairs:?}: {logged}");
            assert!(logged.contains("WARN") && logged.contains(words), "{pairs:?}: {logged}");
        }
        (Taken(_) | Warned(_), Err(_)) | (Refused(_), Ok(_)) => panic!("{pairs:?}: {said}"),
    }
}

/// One setting beside a URL.
#[track_caller]
fn one(name: &str, value: &str, outcome: &Outcome<'_>) {
    check(&[URL, (name, value)], outcome);
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn the_cache() {
    fn cache(config: &Config) -> &db_platform::cache::CacheConfig {
        config.cache.as_ref().unwrap()
    }
    check(&[URL], &Taken(|config| cache(config).second_tier.is_none()));
    one("REDIS_URL", "", &Taken(|config| cache(config).second_tier.is_none()));
    let is_tier = |config: &Config| {
        let tier = cache(config).second_tier.as_ref().map(ToString::to_string);
        tier.as_deref() == Some("redis://localhost:6379")
    };
    one("REDIS_URL", "redis://localhost:6379", &Taken(is_tier));
    one("REDIS_URL", "redis://:hunter2@localhost:6379", &Taken(is_tier));
    one(
        "REDIS_URL",
        "localhost:hunter2",
        &Refused("REDIS_URL: the Redis URL is not understood: write redis://"),
    );
    one("CACHE_TTL", "300", &Refused("write 300s for seconds"));
    one("CACHE_TTL", "300s", &Taken(|config| cache(config).ttl == Duration::from_secs(300)));
    one("CACHE_MAX_MEMORY", "100mb", &Taken(|config| cache(config).max_memory_bytes == 100 << 20));
    one("CACHE_ENABLE_COMPRESSION", "true", &Taken(|config| cache(config).compress));
    one("CACHE_ENABLE_WARMING", "true", &Taken(|config| cache(config).warming));
    one("CACHE_MODE", "eventual", &Refused("write ttl, strict, or bounded"));
    let of = |config: &Config| cache(config).installation == "production/app";
    check(&[URL, ("APP_ENV", "production")], &Taken(of));
    one("CACHE_INSTALLATION", "shop", &Taken(|config| cache(config).installation == "shop"));
}

#[test]
fn where_the_database_is() {
    let local = |config: &Config| config.url.to_string() == "postgres://user:***@localhost:5432/app";
    check(&[URL], &Taken(local));
    check(&[("DATABASE_URL", "postgres://user:hunter2@localhost:5432/app")], &Taken(local));
    for (query, words) in [
        ("schema=public", "DATABASE_URL: schema is not supported: write options=-csearch_path%3D"),
        ("connection_limit=10&pool_timeout=10", "connection_limit is not supported: set DB_POOL_MAX"),
        ("pool_timeout=10", "pool_timeout is not supported: set DB_POOL_TIMEOUT"),
        ("pgbouncer=true", "pgbouncer is not supported: set DB_PREPARED_STATEMENTS=false"),
        ("ssl=true", "ssl is not supported: write sslmode=require"),
    ] {
        check(&[("DATABASE_URL", &format!("{}?{query}", URL.1))], &Refused(words));
    }
    let written = ("DATABASE_URL", "postgresql://u:hunter2@h/app?options=-csearch_path%3Dpublic");
    check(&[written], &Taken(|config| config.url.session_settings()["search_path"] == "public"));
    let parts = [
        ("POSTGRES_HOST", "localhost"),
        ("POSTGRES_PORT", "5432"),
        ("POSTGRES_USER", "user"),
        ("POSTGRES_PASSWORD", "hunter2"),
        ("POSTGRES_DB", "app"),
    ];
    check(&parts, &Taken(local));
    check(&[&[URL], &parts[..]].concat(), &Taken(local));
    let parts = [("DB_HOST", "localhost"), ("DB_PORT", "5432"), ("DB_NAME", "app"), ("DB_USER", "user")];
    check(&parts, &Taken(|config| config.url.to_string() == "postgres://user@localhost:5432/app"));
    check(&[URL, ("DB_HOST", "db")], &Warned("DB_HOST is not read: DATABASE_URL has another host"));
    one("POSTGRES_PASSWORD", "swordfish", &Warned("POSTGRES_PASSWORD is not read"));

    let replicas = "postgresql://user:hunter2@replica1:5432/app,postgresql://user:hunter2@replica2:5432/app";
    one("DATABASE_READ_URLS", replicas, &Taken(|config| config.read_urls.len() == 2));
    let replica = "postgresql://user:hunter2@replica1:5432/app";
    one("DATABASE_READ_REPLICA_URL", replica, &Taken(|config| config.read_urls.len() == 1));
    one("DB_READ_REPLICA_URL", "", &Taken(|config| config.read_urls.is_empty()));
    let psql = [("PGHOST", "localhost"), ("PGPORT", "5432"), ("PGUSER", "user"), ("PGPASSWORD", "hunter2")];
    check(&[&psql[..], &[("PGDATABASE", "app")]].concat(), &Taken(local));
    one("PGSSLMODE", "require", &Taken(|config| config.url.param("sslmode") == Some("require")));
    one("PGOPTIONS", "-c jit=off", &Taken(|config| config.url.session_settings()["jit"] == "off"));
}

#[test]
fn where_the_program_runs() {
    for name in ["NODE_ENV", "RAILS_ENV", "RUST_ENV"] {
        one(name, "production", &Warned("set `APP_ENV`"));
        let production = |config: &Config| config.environment == Environment::Production;
        check(&[URL, (name, "production"), ("APP_ENV", "production")], &Taken(production));
    }
}

#[test]
fn how_pools_retries_and_routing_behave() {
    one("DB_CONNECTION_LIMIT", "10", &Taken(|config| config.pool.max.get() == 10));
    one("DB_POOL_MIN", "5", &Taken(|config| config.pool.min == 5));
    one("DB_POOL_MAX", "20", &Taken(|config| config.pool.max.get() == 20));
    one("DB_POOL_IDLE_TIMEOUT", "30000", &Taken(|config| config.pool.idle_timeout == Some(ms(30_000))));
    one(
        "DB_POOL_CONNECTION_TIMEOUT",
        "5000",
        &Taken(|config| config.pool.acquire_timeout == Some(ms(5_000))),
    );
    one(
        "DB_POOL_CONNECTION_TIMEOUT",
        "10000",
        &Taken(|config| config.pool.acquire_timeout == Some(ms(10_000))),
    );
    for (name, value, words) in [
        ("DB_POOL_TIMEOUT", "10", "write 10s"),
        ("DB_CONNECT_TIMEOUT", "5", "write 5s"),
        ("DB_SOCKET_TIMEOUT", "60", "write 60s"),
    ] {
        one(name, value, &Refused(words));
    }
    one("DB_QUERY_TIMEOUT", "30000", &Taken(|config| config.connect.statement_timeout == Some(ms(30_000))));
    one(
        "DB_SLOW_QUERY_THRESHOLD",
        "1000",
        &Taken(|config| config.monitoring.slow_query_threshold == Some(ms(1_000))),
    );
    one(
        "SLOW_QUERY_THRESHOLD",
        "1000",
        &Taken(|config| config.monitoring.slow_query_threshold == Some(ms(1_000))),
    );
    one("DB_MAX_RETRIES", "3", &Taken(|config| config.retry.attempts.get() == 4));
    one("DB_RETRY_DELAY", "1000", &Taken(|config| config.retry.base == ms(1_000)));
    one("DB_RETRY_BACKOFF", "2", &Taken(|config| (config.retry.multiplier - 2.0).abs() < f64::EPSILON));
    one(
        "DB_HEALTH_CHECK_INTERVAL",
        "30000",
        &Warned("DB_HEALTH_CHECK_INTERVAL is taken as 2500ms, a quarter of"),
    );
    one("DB_PREPARED_STATEMENTS", "true", &Taken(|config| config.connect.prepared_statements));
    let kept = |config: &Config| config.connect.max_prepared_statements.get() == 100;
    one("DB_MAX_PREPARED_STATEMENTS", "100", &Taken(kept));
    one("DB_ENABLE_METRICS", "true", &Taken(|config| config.monitoring.metrics));
    one("DB_LOG_SLOW_QUERIES", "true", &Taken(|config| config.monitoring.log_slow_queries));
    one("MONITORING_ENABLED", "true", &Taken(|config| config.monitoring.enabled));
    one("METRICS_RETENTION_DAYS", "7", &Taken(|config| config.monitoring.history_days == 7));
    let each_minute = |config: &Config| config.monitoring.collect_every == Some(Duration::from_secs(60));
    one("MONITORING_INTERVAL", "1m", &Taken(each_minute));
    one("ALERT_POOL_USAGE", "75", &Taken(|config| config.alerts.pool_usage == Some(75.0)));
    one("ALERT_CACHE_HIT_RATE", "60", &Taken(|config| config.alerts.cache_hit_rate == Some(60.0)));
    one(
        "ALERT_QUERY_TIME",
        "3000",
        &Taken(|config| config.alerts.query_time == Some(Duration::from_secs(3))),
    );
    one("ALERT_ERROR_RATE", "7", &Taken(|config| config.alerts.error_rate == Some(7.0)));
    one("DB_LOG_QUERIES", "true", &Taken(|config| config.monitoring.log_queries));
    one("DB_QUERY_ANALYSIS", "false", &Taken(|config| !config.insight.query_analysis));
    one("DB_ENABLE_PERFORMANCE_INSIGHTS", "false", &Taken(|config| !config.insight.performance_insights));
    let both = ("DATABASE_URL", "postgres://u:hunter2@h/app?options=-cstatement_timeout%3D5s");
    let counts = Warned("DB_QUERY_TIMEOUT counts, and DATABASE_URL says the same thing in vain");
    check(&[both, ("DB_QUERY_TIMEOUT", "7s")], &counts);
    one("DB_POOL_MAXX", "20", &Warned("DB_POOL_MAXX is not read: it looks like DB_POOL_MAX"));
}

#[test]
fn what_is_not_there_yet_and_what_others_read() {
    one("DB_QUERY_CACHE_SIZE", "500", &Warned("DB_MAX_PREPARED_STATEMENTS"));
    for name in OTHER_POOLS {
        one(name, "30000", &Warned(name));
        let row = format!("| `{name}` | ");
        assert!(db_platform::configuration_page().contains(&row), "the page says what {name} is called here");
    }
}

#[test]
fn what_partitions_are_kept_by() {
    one("PARTITIONING_ENABLED", "true", &Taken(|config| config.partitions.schedule.is_none()));
    let vain = Warned("PARTITION_MAINTENANCE_SCHEDULE is set in vain: PARTITION_POLICY names no policy");
    one("PARTITION_MAINTENANCE_SCHEDULE", "0 2 * * *", &vain);
    one("PARTITION_POLICY", "p.toml", &Taken(|config| config.partitions.schedule.is_some()));
}

/// `Db` does not read them and `dbctl` does, so they are known names, and no warning.
#[test]
fn what_backups_read() {
    for (name, value) in [
        ("BACKUP_DIR", "/var/backups"),
        ("BACKUP_RETENTION_DAYS", "30"),
        ("BACKUP_ENCRYPTION_KEY", "hunter2"),
        ("CLOUD_STORAGE_PROVIDER", "aws"),
        ("AWS_S3_BACKUP_BUCKET", "backups"),
        ("BACKUP_SCHEDULE", "30 2 * * *"),
    ] {
        one(name, value, &Taken(|_| true));
    }
    one("BACKUP_PASSPHRASE", "hunter2", &Warned("BACKUP_PASSPHRASE is not read: `BACKUP_ENCRYPTION_KEY`"));
    one("BACKUP_SHEDULE", "@daily", &Warned("it looks like BACKUP_SCHEDULE"));
}

#[test]
fn who_is_told() {
    let many = ("NOTIFICATION_EMAIL", "ops@shop.example, Ann <ann@shop.example>,");
    check(&[URL, many], &Taken(|config| config.notifications.email.len() == 2));
    let off = ("NOTIFICATION_ENABLED", "false");
    check(&[URL, many, off], &Taken(|config| config.notifications.email.is_empty()));
    one("NOTIFICATION_EMAIL", "ops", &Refused("NOTIFICATION_EMAIL: \"ops\" is no e-mail address"));
    let slack = "https://hooks.slack.com/services/T/B/hunter2";
    one("NOTIFICATION_WEBHOOK", slack, &Taken(|config| config.notifications.webhooks.len() == 1));
    let plain = "http://hooks.slack.com/services/T/B/hunter2";
    one(
        "NOTIFICATION_WEBHOOK",
        plain,
        &Refused("NOTIFICATION_WEBHOOK: the address of slack is not encrypted"),
    );
    one("NOTIFICATION_SEVERITY", "loud", &Refused("NOTIFICATION_SEVERITY: found \"loud\""));
    let short =
        [URL, ("NOTIFICATION_WEBHOOK", "https://a.example/"), ("NOTIFICATION_WEBHOOK_SECRET", "hunter2")];
    check(&short, &Refused("NOTIFICATION_WEBHOOK: the webhook's key is too short: take at least 16 bytes"));
    one(
        "SLACK_WEBHOOK_URL",
        slack,
        &Warned("SLACK_WEBHOOK_URL is not read: write it into `NOTIFICATION_WEBHOOK`"),
    );
}

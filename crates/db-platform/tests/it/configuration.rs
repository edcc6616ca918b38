//! docs/configuration.md says what the code does, and the environment is taken as it is meant or said not to
//! be.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use db_platform::Config;

use crate::log::Log;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

/// The names of the page before each crate described its own.
const NAMES: [&str; 55] = [
    "APP_ENV",
    "DATABASE_DIRECT_URL",
    "DATABASE_NODES",
    "DATABASE_READ_REPLICA_URL",
    "DATABASE_READ_URLS",
    "DATABASE_URL",
    "DB_CONNECTION_LIMIT",
    "DB_CONNECT_TIMEOUT",
    "DB_ENABLE_METRICS",
    "DB_ENABLE_PERFORMANCE_INSIGHTS",
    "DB_HEALTH_CHECK_INTERVAL",
    "DB_HOST",
    "DB_LOG_QUERIES",
    "DB_LOG_SLOW_QUERIES",
    "DB_MARKER_SCHEMA",
    "DB_MAX_PREPARED_STATEMENTS",
    "DB_MAX_RETRIES",
    "DB_NAME",
    "DB_NODE_ZONES",
    "DB_PASSWORD",
    "DB_POOL_BACKGROUND",
    "DB_POOL_CONNECTION_TIMEOUT",
    "DB_POOL_IDLE_TIMEOUT",
    "DB_POOL_KEEPALIVE",
    "DB_POOL_LEAK_THRESHOLD",
    "DB_POOL_MAX",
    "DB_POOL_MAX_LIFETIME",
    "DB_POOL_MIN",
    "DB_POOL_RESET_ALWAYS",
    "DB_POOL_SALVAGE_TIMEOUT",
    "DB_POOL_TIMEOUT",
    "DB_PORT",
    "DB_PREPARED_STATEMENTS",
    "DB_QUERY_ANALYSIS",
    "DB_QUERY_CACHE_SIZE",
    "DB_QUERY_TIMEOUT",
    "DB_READ_FALLBACK",
    "DB_READ_MAX_LAG",
    "DB_READ_POOL_MAX",
    "DB_READ_POOL_MIN",
    "DB_READ_REPLICA_URL",
    "DB_RETRY_BACKOFF",
    "DB_RETRY_DELAY",
    "DB_SLOW_QUERY_THRESHOLD",
    "DB_SOCKET_TIMEOUT",
    "DB_USER",
    "DB_WIRE_TAP",
    "DB_ZONE",
    "PATRONI_URL",
    "POSTGRES_DB",
    "POSTGRES_HOST",
    "POSTGRES_PASSWORD",
    "POSTGRES_PORT",
    "POSTGRES_USER",
    "SLOW_QUERY_THRESHOLD",
];

/// Names that came after that, in the order of the page.
const NEWER: [&str; 129] = [
    "PARTITION_ARCHIVE_COMMAND",
    "PARTITION_ARCHIVE_READ_COMMAND",
    "MAINTENANCE_SCHEDULE",
    "MAINTENANCE_BUDGET",
    "MAINTENANCE_TRUSTED_OWNERS",
    "DB_COMMIT_MARKERS",
    "DB_READ_CONSISTENCY",
    "METRICS_RETENTION_DAYS",
    "MONITORING_INTERVAL",
    "MONITORING_ENABLED",
    "DB_TRACE_LINK",
    "DB_POOL_HARMLESS_FUNCTIONS",
    "DB_NEW_CLUSTER",
    "DB_SECOND_PRIMARY",
    "DB_LEDGER_SCHEMA",
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGUSER",
    "PGPASSWORD",
    "PGDATABASE",
    "PGPASSFILE",
    "PGOPTIONS",
    "PGAPPNAME",
    "PGSSLMODE",
    "PGSSLROOTCERT",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLSNI",
    "PGSSLNEGOTIATION",
    "PGCHANNELBINDING",
    "PGGSSENCMODE",
    "PGCLIENTENCODING",
    "PGCONNECT_TIMEOUT",
    "PGLOADBALANCEHOSTS",
    "PGSERVICE",
    "PGSERVICEFILE",
    "DB_NODE_WEIGHTS",
    "DB_BALANCED_NODES",
    "DB_NODES_WITHOUT_READS",
    "DB_READ_TOKEN_WAIT",
    "DB_WRITER_WAIT",
    "DB_WRITER_MAX_WAITING",
    "DB_PROBE_TIMEOUT",
    "DB_CIRCUIT_BREAKER",
    "DB_POOLED",
    "DB_POOL_MAX_BUFFER",
    "DB_POOL_MAX_WAITERS",
    "DB_LOCK_TIMEOUT",
    "DB_IDLE_IN_TRANSACTION_TIMEOUT",
    "NOTIFICATION_ENABLED",
    "NOTIFICATION_EMAIL",
    "NOTIFICATION_EMAIL_FROM",
    "NOTIFICATION_SMTP_URL",
    "SMTP_URL",
    "NOTIFICATION_WEBHOOK",
    "NOTIFICATION_WEBHOOK_SECRET",
    "NOTIFICATION_PAGERDUTY_KEY",
    "NOTIFICATION_PAGERDUTY_URL",
    "NOTIFICATION_HEARTBEAT",
    "NOTIFICATION_SEVERITY",
    "ALERTS_ENABLED",
    "ALERT_POOL_USAGE",
    "ALERT_CACHE_HIT_RATE",
    "ALERT_QUERY_TIME",
    "ALERT_ERROR_RATE",
    "ALERT_REPLICATION_LAG",
    "ALERT_AFTER",
    "ALERT_RESOLVE_AFTER",
    "ALERT_SILENCES",
    "BACKUP_DIR",
    "CLOUD_STORAGE_ENABLED",
    "CLOUD_STORAGE_PROVIDER",
    "AWS_S3_BACKUP_BUCKET",
    "AWS_S3_BUCKET",
    "GCP_BUCKET",
    "AZURE_STORAGE_CONTAINER",
    "BACKUP_PREFIX",
    "BACKUP_STORE_ENDPOINT",
    "BACKUP_STORE_DEADLINE",
    "BACKUP_STORE_TIMEOUT",
    "BACKUP_OBJECT_LOCK_DAYS",
    "BACKUP_ENCRYPTION_KEY",
    "BACKUP_WRITER_KEY",
    "BACKUP_COMPRESSION",
    "BACKUP_RETENTION_DAYS",
    "BACKUP_SCHEDULE",
    "BACKUP_INCREMENTAL_SCHEDULE",
    "BACKUP_VERIFY_SCHEDULE",
    "BACKUP_VERIFY_SCOPE",
    "BACKUP_REHEARSE_SCHEDULE",
    "BACKUP_EXPIRE_SCHEDULE",
    "BACKUP_TIME_ZONE",
    "BACKUP_JITTER",
    "BACKUP_TIMEOUT",
    "BACKUP_MAX_AGE",
    "BACKUP_WATCH_EVERY",
    "BACKUP_LATE_AFTER",
    "BACKUP_RECEIVE_SLOT",
    "BACKUP_HOOK_BEFORE",
    "BACKUP_HOOK_AFTER",
    "BACKUP_HOOK_TIMEOUT",
    "BACKUP_KEEP_LAST",
    "BACKUP_KEEP_HOURLY",
    "BACKUP_KEEP_DAILY",
    "BACKUP_KEEP_WEEKLY",
    "BACKUP_KEEP_MONTHLY",
    "PGBACKREST_REPO1_PATH",
    "PGBACKREST_REPO1_TYPE",
    "PGBACKREST_STANZA",
    "PGBACKREST_REPO1_CIPHER_PASS",
    "PGBACKREST_REPO1_S3_BUCKET",
    "PGBACKREST_REPO1_S3_ENDPOINT",
    "PGBACKREST_REPO1_S3_REGION",
    "PGBACKREST_REPO1_S3_KEY",
    "PGBACKREST_REPO1_S3_KEY_SECRET",
    "REDIS_URL",
    "CACHE_INSTALLATION",
    "CACHE_TTL",
    "CACHE_MODE",
    "CACHE_MAX_MEMORY",
    "CACHE_ENABLE_COMPRESSION",
    "CACHE_ENABLE_WARMING",
    "CACHE_SAMPLE_ONE_IN",
    "CACHE_REDIS_BUDGET",
    "PARTITIONING_ENABLED",
    "PARTITION_POLICY",
    "PARTITION_MAINTENANCE_SCHEDULE",
    "PARTITION_ARCHIVE_DIR",
];

/// As [`NEWER`], of those that are not read and said so.
const NEWER_ELSEWHERE: [&str; 26] = [
    "S3_RETENTION_PERIOD",
    "S3_RETENTION_MODE",
    "NODE_ENV",
    "RAILS_ENV",
    "RUST_ENV",
    "DB_USERNAME",
    "POSTGRES_USERNAME",
    "DB_PASS",
    "DB_DATABASE",
    "POSTGRES_DATABASE",
    "PGTARGETSESSIONATTRS",
    "PGTZ",
    "PGDATESTYLE",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGSSLCERTMODE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGKRBSRVNAME",
    "PGGSSLIB",
    "BACKUP_PASSPHRASE",
    "SLACK_WEBHOOK_URL",
    "DISCORD_WEBHOOK_URL",
];

/// As [`NEWER_ELSEWHERE`], of the pools that teams come from.
pub(crate) const OTHER_POOLS: [&str; 10] = [
    "acquireTimeoutMillis",
    "createTimeoutMillis",
    "destroyTimeoutMillis",
    "idleTimeoutMillis",
    "reapIntervalMillis",
    "createRetryIntervalMillis",
    "propagateCreateError",
    "maxLifetime",
    "leakDetectionThreshold",
    "keepaliveTime",
];

#[test]
fn the_page_is_what_the_settings_say() {
    let written = std::fs::read_to_string(PAGE).unwrap();
    assert!(
        written == db_platform::configuration_page(),
        "out of date: cargo run -p db-platform --example configuration > docs/configuration.md"
    );
}

/// A name that goes is a setting that somebody's service loses without a word.
#[test]
fn the_page_names_what_it_always_named_and_what_is_listed_here() {
    let page = db_platform::configuration_page();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let names: Vec<&str> = cells.flat_map(|cell| cell.split('`').step_by(2)).collect();
    let found: BTreeSet<&str> = names.iter().copied().collect();
    let listed: BTreeSet<&str> =
        NAMES.into_iter().chain(NEWER).chain(NEWER_ELSEWHERE).chain(OTHER_POOLS).collect();
    assert_eq!(found.len(), names.len(), "named twice: {names:?}");
    let (gone, new): (Vec<_>, Vec<_>) =
        (listed.difference(&found).collect(), found.difference(&listed).collect());
    assert!(gone.is_empty() && new.is_empty(), "gone: {gone:?}; new, to be listed here: {new:?}");
}

const URL: (&str, &str) = ("DATABASE_URL", "postgres://ann:hunter2@localhost/app");

/// What is logged when these are the environment's variables.
#[track_caller]
fn warnings(vars: &[(&str, &str)]) -> Vec<String> {
    let vars = vars.iter().chain([&URL]).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let log = Log::of(|| drop(Config::from_vars(vars).unwrap()));
    log.lines().map(str::to_owned).collect()
}

#[test]
fn a_misspelt_name_is_warned_of_once_without_its_value() {
    let lines = warnings(&[("DB_POOL_MAXX", "4711"), ("PATH", "/bin"), ("DB_TESTKIT_PG", "18")]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN"), "{lines:?}");
    assert!(lines[0].contains("DB_POOL_MAXX is not read: it looks like DB_POOL_MAX"), "{lines:?}");
    assert!(!lines[0].contains("4711"), "{lines:?}");
}

#[test]
fn a_url_that_contradicts_its_parts_is_warned_of_without_either() {
    let lines =
        warnings(&[("POSTGRES_PASSWORD", "swordfish"), ("DB_HOST", "localhost"), ("DB_NAME", "shop")]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let text = lines.join("\n");
    for (part, there) in
        [("POSTGRES_PASSWORD", true), ("DB_NAME", true), ("swordfish", false), ("hunter2", false)]
    {
        assert_eq!(text.contains(part), there, "{part}: {text}");
    }
}

#[test]
fn an_environment_of_another_language_is_warned_of_where_ours_is_absent() {
    assert_eq!(warnings(&[("NODE_ENV", "production"), ("APP_ENV", "test")]), [""; 0]);
    let lines = warnings(&[("NODE_ENV", "production")]);
    assert!(lines.len() == 1 && lines[0].contains("NODE_ENV is not read: set `APP_ENV`"), "{lines:?}");
}

#[tokio::test]
async fn a_role_that_a_url_cannot_have_is_refused_in_code_too() {
    let url = format!("{}?target_session_attrs=standby", URL.1).parse().unwrap();
    let config = Config::new(db_platform::Environment::Test, url);
    let error = db_platform::Db::connect(config).await.unwrap_err().to_string();
    assert!(error.contains("DATABASE_URL: target_session_attrs=standby is not possible"), "{error}");
}

const CHILD: &str = "DB_PLATFORM_TEST_CHILD";

/// Not a test by itself: the test below runs it in a process with an environment of its own.
#[test]
#[ignore = "run by the test below"]
fn a_child_that_reads_its_environment() {
    if std::env::var_os(CHILD).is_some() {
        let read = Config::from_env();
        let said = read.map_or_else(|error| error.to_string(), |config| config.url.to_string());
        std::io::stdout().write_all(said.as_bytes()).unwrap();
    }
}

#[test]
fn the_environment_is_read_and_a_value_that_is_no_text_is_an_error() {
    let child = |name: &str, value: Vec<u8>| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args([
            "--exact",
            "configuration::a_child_that_reads_its_environment",
            "--ignored",
            "--nocapture",
        ]);
        child.env_clear().env(CHILD, "1").env("OTHERS", std::ffi::OsString::from_vec(vec![0xff]));
        child.env("DATABASE_URL", URL.1).env(name, std::ffi::OsString::from_vec(value));
        String::from_utf8(child.output().unwrap().stdout).unwrap()
    };
    let taken = child("DB_POOL_MAX", b"7".to_vec());
    assert!(taken.contains("postgres://ann:***@localhost:5432/app"), "{taken}");
    let refused = child("DATABASE_URL", b"postgres://ann:p\xff@localhost/app".to_vec());
    assert!(refused.contains("DATABASE_URL: is not UTF-8"), "{refused}");
}

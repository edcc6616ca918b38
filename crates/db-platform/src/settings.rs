//! Every setting that `Config::from_env` reads, described once: for the reader and for docs/configuration.md.

use std::fmt::Write as _;
use std::time::Duration;

use db_core::settings::{Described, Setting};
use db_replica_routing::Fallback;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

pub(crate) const APP_ENV: Text = Text {
    name: "APP_ENV",
    aliases: &[],
    meaning: "Where the program runs: `development`, `test`, `staging` or `production`. It chooses the \
              defaults below; production refuses seeds and resets. Where it is not set, `dbctl` asks a \
              person at a terminal before it destroys data or loads seeds, and refuses elsewhere.",
    default: "the defaults of development",
};
pub(crate) const DATABASE_URL: Text = Text {
    name: "DATABASE_URL",
    aliases: &[],
    meaning: "The primary, as `postgres://user:password@host:5432/database`. Several hosts, separated by commas, are \
              tried in order until one is a primary. Where it is not set, it is made of `POSTGRES_HOST`, \
              `POSTGRES_PORT`, `POSTGRES_USER`, `POSTGRES_PASSWORD` and `POSTGRES_DB`.",
    default: "none: it must be set, or `POSTGRES_HOST`, or `DATABASE_NODES`",
};
pub(crate) const POSTGRES_HOST: Text = Text {
    name: "POSTGRES_HOST",
    aliases: &["DB_HOST"],
    meaning: "The primary's host, read only where `DATABASE_URL` is not set.",
    default: "none",
};
pub(crate) const POSTGRES_PORT: Text = Text {
    name: "POSTGRES_PORT",
    aliases: &["DB_PORT"],
    meaning: "The port beside `POSTGRES_HOST`.",
    default: "5432",
};
pub(crate) const POSTGRES_USER: Text = Text {
    name: "POSTGRES_USER",
    aliases: &["DB_USER"],
    meaning: "The user beside `POSTGRES_HOST`.",
    default: "postgres",
};
pub(crate) const POSTGRES_PASSWORD: Text = Text {
    name: "POSTGRES_PASSWORD",
    aliases: &["DB_PASSWORD"],
    meaning: "The password beside `POSTGRES_HOST`.",
    default: "none",
};
pub(crate) const POSTGRES_DB: Text = Text {
    name: "POSTGRES_DB",
    aliases: &["DB_NAME"],
    meaning: "The database beside `POSTGRES_HOST`.",
    default: "the user's name",
};
pub(crate) const DATABASE_DIRECT_URL: Text = Text {
    name: "DATABASE_DIRECT_URL",
    aliases: &[],
    meaning: "The primary past any pooler, for migrations, locks, replication and collectors.",
    default: "`DATABASE_URL`",
};
pub(crate) const DATABASE_READ_URLS: Text = Text {
    name: "DATABASE_READ_URLS",
    aliases: &["DATABASE_READ_REPLICA_URL", "DB_READ_REPLICA_URL"],
    meaning: "The standbys that answer reads, separated by commas.",
    default: "none: the primary answers reads",
};
pub(crate) const DATABASE_NODES: Text = Text {
    name: "DATABASE_NODES",
    aliases: &[],
    meaning: "All servers of a cluster, separated by commas, whichever of them is the primary now. The first URL stands \
              in for `DATABASE_URL` where that is not set: give one URL with several hosts where they log in alike.",
    default: "none",
};
pub(crate) const PATRONI_URL: Text = Text {
    name: "PATRONI_URL",
    aliases: &[],
    meaning: "Where Patroni's REST API listens, as `http://host:8008`; several are separated by commas. Its members \
              become servers, and log in as `DATABASE_URL` says.",
    default: "none",
};
pub(crate) const ZONE: Text = Text {
    name: "DB_ZONE",
    aliases: &[],
    meaning: "The zone that this process runs in: servers of the same zone answer its reads, unless they are much busier \
              than the others.",
    default: "none: all are alike",
};
pub(crate) const NODE_ZONES: Text = Text {
    name: "DB_NODE_ZONES",
    aliases: &[],
    meaning: "The zones that servers stand in, as `host=zone` or `host:port=zone`, separated by commas.",
    default: "none",
};

pub(crate) const LEDGER_SCHEMA: Text = Text {
    name: "DB_LEDGER_SCHEMA",
    aliases: &[],
    meaning: "The schema of the tables that say which migrations are applied and which seeds are loaded. \
              Name it where several schemas of a database have such tables of their own, as with a schema \
              for each tenant.",
    default: "the schema that has them; `public` for new ones",
};

pub(crate) const POOL_MIN: Setting<u32> = Setting {
    name: "DB_POOL_MIN",
    aliases: &[],
    meaning: "Connections to the primary that are kept open even when nobody needs them.",
    default: [1, 0, 5, 10],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
pub(crate) const POOL_MAX: Setting<u32> = Setting {
    name: "DB_POOL_MAX",
    aliases: &["DB_CONNECTION_LIMIT"],
    meaning: "The most connections to the primary. The default is at most eight for each core of this machine, and \
              never below 16. More is seldom faster.",
    default: [5, 3, 20, 50],
    min: 1,
    max: 10_000,
    unit_required: &[],
};
pub(crate) const READ_POOL_MIN: Setting<u32> = Setting {
    name: "DB_READ_POOL_MIN",
    aliases: &[],
    meaning: "As `DB_POOL_MIN`, for each standby. Where nobody says which server is the primary (`DATABASE_NODES`, or a URL with \
              several hosts), each keeps the larger of the two.",
    default: [1, 0, 2, 5],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
pub(crate) const READ_POOL_MAX: Setting<u32> = Setting {
    name: "DB_READ_POOL_MAX",
    aliases: &[],
    meaning: "As `DB_POOL_MAX`, for each standby, and for the reads that the primary answers when no standby may. Where nobody \
              says which server is the primary, each may have the larger of the two.",
    default: [5, 3, 20, 50],
    min: 1,
    max: 10_000,
    unit_required: &[],
};
pub(crate) const READ_MAX_LAG: Setting<Duration> = Setting {
    name: "DB_READ_MAX_LAG",
    aliases: &[],
    meaning: "The lag up to which a standby answers reads that do not say how fresh they must be.",
    default: [Duration::from_secs(10); 4],
    min: MS,
    max: DAY,
    unit_required: &[],
};
pub(crate) const READ_FALLBACK: Setting<Fallback> = Setting {
    name: "DB_READ_FALLBACK",
    aliases: &[],
    meaning: "Who answers a read that no standby may answer: `primary`, or nobody (`error`), which spares the primary.",
    default: [Fallback::Primary; 4],
    min: Fallback::Primary,
    max: Fallback::Error,
    unit_required: &[],
};
pub(crate) const POOL_IDLE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_IDLE_TIMEOUT",
    aliases: &[],
    meaning: "A connection idle for longer is closed, as long as `DB_POOL_MIN` remain.",
    default: [
        Duration::from_secs(300),
        Duration::from_secs(30),
        Duration::from_secs(600),
        Duration::from_secs(600),
    ],
    min: SECOND,
    max: DAY,
    unit_required: &[],
};
pub(crate) const POOL_CONNECTION_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_CONNECTION_TIMEOUT",
    aliases: &["DB_POOL_TIMEOUT"],
    meaning: "The longest a caller waits for a connection. Keep it below the request timeout.",
    default: [
        Duration::from_secs(10),
        Duration::from_secs(10),
        Duration::from_secs(5),
        Duration::from_secs(5),
    ],
    min: Duration::from_millis(10),
    max: Duration::from_secs(600),
    unit_required: &["DB_POOL_TIMEOUT"],
};
pub(crate) const POOL_MAX_LIFETIME: Setting<Duration> = Setting {
    name: "DB_POOL_MAX_LIFETIME",
    aliases: &[],
    meaning: "A connection older than this is replaced when it is next idle. Keep it below whatever closes connections \
              on the way (load balancers, firewalls).",
    default: [Duration::from_secs(1_800); 4],
    min: SECOND,
    max: DAY,
    unit_required: &[],
};
pub(crate) const POOL_KEEPALIVE: Setting<Duration> = Setting {
    name: "DB_POOL_KEEPALIVE",
    aliases: &[],
    meaning: "A connection idle for longer is asked for a sign of life, so that no firewall forgets it; 0 is never.",
    default: [Duration::from_secs(120); 4],
    min: Duration::ZERO,
    max: DAY,
    unit_required: &[],
};
pub(crate) const POOL_LEAK_THRESHOLD: Setting<Duration> = Setting {
    name: "DB_POOL_LEAK_THRESHOLD",
    aliases: &[],
    meaning: "A connection held for longer is logged once as a warning, with where it was taken and the shape of its \
              last statement, and again when it comes back; 0 is never.",
    default: [Duration::from_secs(60); 4],
    min: Duration::ZERO,
    max: DAY,
    unit_required: &[],
};
pub(crate) const POOL_BACKGROUND: Setting<u32> = Setting {
    name: "DB_POOL_BACKGROUND",
    aliases: &[],
    meaning: "The most connections of a pool that background work may hold at once, so that the rest is there for \
              whoever waits; 0 is half of the pool.",
    default: [0; 4],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
pub(crate) const POOL_SALVAGE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_SALVAGE_TIMEOUT",
    aliases: &[],
    meaning: "The longest that cleaning a connection may take which came back in the middle of something; then it is \
              closed.",
    default: [SECOND; 4],
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
    unit_required: &[],
};
pub(crate) const POOL_RESET_ALWAYS: Setting<bool> = Setting {
    name: "DB_POOL_RESET_ALWAYS",
    aliases: &[],
    meaning: "Reset a session after every use, and not only where a statement was seen that leaves something behind. \
              For services whose SQL functions change settings or take advisory locks.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
pub(crate) const CONNECT_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_CONNECT_TIMEOUT",
    aliases: &[],
    meaning: "The longest that opening one connection may take: name lookup, TCP and login together.",
    default: [Duration::from_secs(5); 4],
    min: Duration::from_millis(10),
    max: Duration::from_secs(300),
    unit_required: &["DB_CONNECT_TIMEOUT"],
};
pub(crate) const SOCKET_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_SOCKET_TIMEOUT",
    aliases: &[],
    meaning: "How long sent data may stay unacknowledged before the connection is given up (`tcp_user_timeout`).",
    default: [Duration::from_secs(30); 4],
    min: SECOND,
    max: HOUR,
    unit_required: &["DB_SOCKET_TIMEOUT"],
};
pub(crate) const QUERY_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_QUERY_TIMEOUT",
    aliases: &[],
    meaning: "The longest that one statement may run on the server (`statement_timeout`); 0 is no limit.",
    default: [
        Duration::from_secs(30),
        Duration::from_secs(30),
        Duration::from_secs(15),
        Duration::from_secs(10),
    ],
    min: Duration::ZERO,
    max: DAY,
    unit_required: &[],
};
pub(crate) const MAX_RETRIES: Setting<u32> = Setting {
    name: "DB_MAX_RETRIES",
    aliases: &[],
    meaning: "How often a read or a transaction is tried again where that may help; 0 is never.",
    default: [3; 4],
    min: 0,
    max: 100,
    unit_required: &[],
};
pub(crate) const RETRY_DELAY: Setting<Duration> = Setting {
    name: "DB_RETRY_DELAY",
    aliases: &[],
    meaning: "The first pause before another attempt, before jitter. The first retry of a conflict does not wait.",
    default: [Duration::from_millis(50); 4],
    min: MS,
    max: Duration::from_secs(60),
    unit_required: &[],
};
pub(crate) const RETRY_BACKOFF: Setting<f64> = Setting {
    name: "DB_RETRY_BACKOFF",
    aliases: &[],
    meaning: "How much longer each pause is than the one before.",
    default: [2.0; 4],
    min: 1.0,
    max: 10.0,
    unit_required: &[],
};
pub(crate) const SLOW_QUERY_THRESHOLD: Setting<Duration> = Setting {
    name: "DB_SLOW_QUERY_THRESHOLD",
    aliases: &["SLOW_QUERY_THRESHOLD"],
    meaning: "A statement that takes longer is logged as a warning, without its bind values; 0 is never.",
    default: [
        Duration::from_millis(200),
        Duration::ZERO,
        Duration::from_millis(500),
        Duration::from_millis(500),
    ],
    min: Duration::ZERO,
    max: HOUR,
    unit_required: &[],
};
pub(crate) const LOG_QUERIES: Setting<bool> = Setting {
    name: "DB_LOG_QUERIES",
    aliases: &[],
    meaning: "Log every statement at level info, without its bind values.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
pub(crate) const HEALTH_CHECK_INTERVAL: Setting<Duration> = Setting {
    name: "DB_HEALTH_CHECK_INTERVAL",
    aliases: &[],
    meaning: "The pause between two probes of one server.",
    default: [Duration::from_millis(250); 4],
    min: Duration::from_millis(50),
    max: Duration::from_secs(60),
    unit_required: &[],
};
pub(crate) const PREPARED_STATEMENTS: Setting<bool> = Setting {
    name: "DB_PREPARED_STATEMENTS",
    aliases: &[],
    meaning: "Keep prepared statements. Turn it off behind a pooler that does not track them.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
pub(crate) const MAX_PREPARED_STATEMENTS: Setting<u32> = Setting {
    name: "DB_MAX_PREPARED_STATEMENTS",
    aliases: &[],
    meaning: "How many prepared statements one connection keeps; with more, all are dropped when it is returned.",
    default: [256; 4],
    min: 1,
    max: 100_000,
    unit_required: &[],
};
pub(crate) const WIRE_TAP: Setting<bool> = Setting {
    name: "DB_WIRE_TAP",
    aliases: &[],
    meaning: "Read the bytes of every connection as they go by. Without it SQLSTATEs are guessed from English \
              messages, and a connection left in the middle of something is closed instead of cleaned.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};

/// Names that teams bring from elsewhere, and what to use here.
const NOT_READ: [(&str, &str); 5] = [
    ("DB_LOG_SLOW_QUERIES", "`DB_SLOW_QUERY_THRESHOLD`: 0 turns it off"),
    ("DB_ENABLE_METRICS", "nothing: the pools' status is always kept"),
    ("DB_QUERY_ANALYSIS", "`DB_SLOW_QUERY_THRESHOLD`"),
    ("DB_QUERY_CACHE_SIZE", "`DB_MAX_PREPARED_STATEMENTS`"),
    ("DB_ENABLE_PERFORMANCE_INSIGHTS", "`DB_SLOW_QUERY_THRESHOLD`"),
];

/// A setting that is a text: it has no bounds, and its default is a sentence.
pub(crate) struct Text {
    pub(crate) name: &'static str,
    pub(crate) aliases: &'static [&'static str],
    meaning: &'static str,
    default: &'static str,
}

/// The text of docs/configuration.md, made from the settings themselves.
pub fn configuration_page() -> String {
    let mut page = String::from(
        "# Configuration\n\n<!-- Generated: cargo run -p db-platform --example configuration > docs/configuration.md -->\n\n\
         `Config::from_env` reads these variables. One error lists everything that is wrong with them. Durations accept \
         `250ms`, `30s`, `5m`, `1h` or bare milliseconds; the names marked with *unit* refuse a bare number, because \
         people know them in seconds. Two names of one setting that say different things are an error. An empty value \
         counts as not set.\n\n## Where the database is\n\n| variable | meaning | default |\n|---|---|---|\n",
    );
    let texts = [
        &APP_ENV,
        &DATABASE_URL,
        &POSTGRES_HOST,
        &POSTGRES_PORT,
        &POSTGRES_USER,
        &POSTGRES_PASSWORD,
        &POSTGRES_DB,
        &DATABASE_DIRECT_URL,
        &DATABASE_READ_URLS,
        &DATABASE_NODES,
        &PATRONI_URL,
        &ZONE,
        &NODE_ZONES,
        &LEDGER_SCHEMA,
    ];
    for Text { name, aliases, meaning, default } in texts {
        let _ = writeln!(page, "| {} | {meaning} | {default} |", names(name, aliases, &[]));
    }
    page.push_str(
        "\n## How it behaves\n\n| variable | meaning | development | test | staging | production | from | to |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let rows = [
        row(&POOL_MIN),
        row(&POOL_MAX),
        row(&READ_POOL_MIN),
        row(&READ_POOL_MAX),
        row(&READ_MAX_LAG),
        row(&READ_FALLBACK),
        row(&POOL_CONNECTION_TIMEOUT),
        row(&POOL_IDLE_TIMEOUT),
        row(&POOL_MAX_LIFETIME),
        row(&POOL_KEEPALIVE),
        row(&POOL_LEAK_THRESHOLD),
        row(&POOL_BACKGROUND),
        row(&POOL_SALVAGE_TIMEOUT),
        row(&POOL_RESET_ALWAYS),
        row(&CONNECT_TIMEOUT),
        row(&SOCKET_TIMEOUT),
        row(&QUERY_TIMEOUT),
        row(&MAX_RETRIES),
        row(&RETRY_DELAY),
        row(&RETRY_BACKOFF),
        row(&SLOW_QUERY_THRESHOLD),
        row(&LOG_QUERIES),
        row(&HEALTH_CHECK_INTERVAL),
        row(&PREPARED_STATEMENTS),
        row(&MAX_PREPARED_STATEMENTS),
        row(&WIRE_TAP),
    ];
    rows.iter().for_each(|row| page.push_str(row));
    page.push_str("\n## Not read\n\n| variable | use |\n|---|---|\n");
    for (name, instead) in NOT_READ {
        let _ = writeln!(page, "| `{name}` | {instead} |");
    }
    page
}

fn row<T: db_core::settings::Value>(setting: &Setting<T>) -> String {
    let Described { name, aliases, meaning, default: [dev, test, staging, production], bounds } =
        setting.describe();
    let (from, to) = bounds.unwrap_or_default();
    let names = names(name, aliases, setting.unit_required);
    format!("| {names} | {meaning} | {dev} | {test} | {staging} | {production} | {from} | {to} |\n")
}

fn names(name: &str, aliases: &[&str], unit_required: &[&str]) -> String {
    let one = |name: &str| {
        let unit = if unit_required.contains(&name) { " (*unit*)" } else { "" };
        format!("`{name}`{unit}")
    };
    let mut names = one(name);
    if !aliases.is_empty() {
        let aliases: Vec<String> = aliases.iter().map(|alias| one(alias)).collect();
        let _ = write!(names, ", or {}", aliases.join(", "));
    }
    names
}

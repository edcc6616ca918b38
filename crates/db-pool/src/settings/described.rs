//! The pool's settings, described.

use std::time::Duration;

use db_core::settings::{Foreign, Group, Limit, Setting, Text};

const SECOND: Duration = Duration::from_secs(1);

pub(super) const MIN: Setting<u32> = Setting {
    name: "DB_POOL_MIN",
    aliases: &[],
    meaning: "Connections to the primary that are kept open even when nobody needs them.",
    default: [1, 0, 5, 10],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
pub(super) const MAX: Setting<u32> = Setting {
    name: "DB_POOL_MAX",
    aliases: &["DB_CONNECTION_LIMIT"],
    meaning: "The most connections to the primary. The default is at most eight for each core of this \
              machine, and never below 16. More is seldom faster.",
    default: [5, 3, 20, 50],
    min: 1,
    max: 10_000,
    unit_required: &[],
};
pub(super) const READ_MIN: Setting<u32> = Setting {
    name: "DB_READ_POOL_MIN",
    aliases: &[],
    meaning: "As `DB_POOL_MIN`, for each standby. Where nobody says which server is the primary \
              (`DATABASE_NODES`, or a URL with several hosts), each keeps the larger of the two.",
    default: [1, 0, 2, 5],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
pub(super) const READ_MAX: Setting<u32> = Setting {
    name: "DB_READ_POOL_MAX",
    aliases: &[],
    meaning: "As `DB_POOL_MAX`, for each standby, and for the reads that the primary answers when no standby \
              may. Where nobody says which server is the primary, each may have the larger of the two.",
    default: [5, 3, 20, 50],
    min: 1,
    max: 10_000,
    unit_required: &[],
};
pub(super) const ACQUIRE_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_POOL_CONNECTION_TIMEOUT",
    aliases: &["DB_POOL_TIMEOUT"],
    meaning: "The longest a caller waits for a connection. Keep it below the request timeout. \
              `never` is without end.",
    default: limits([10, 10, 5, 5]),
    min: Limit::after(Duration::from_millis(10)),
    max: Limit::NEVER,
    unit_required: &["DB_POOL_TIMEOUT"],
};
pub(super) const MAX_WAITERS: Setting<u32> = Setting {
    name: "DB_POOL_MAX_WAITERS",
    aliases: &[],
    meaning: "How many callers may wait for a connection at once; the next one is refused.",
    default: [1_000; 4],
    min: 0,
    max: 1_000_000,
    unit_required: &[],
};
pub(super) const IDLE_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_POOL_IDLE_TIMEOUT",
    aliases: &[],
    meaning: "A connection idle for longer is closed, as long as `DB_POOL_MIN` remain. \
              `never` is without end.",
    default: limits([300, 30, 600, 600]),
    min: Limit::after(SECOND),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const MAX_LIFETIME: Setting<Limit> = Setting {
    name: "DB_POOL_MAX_LIFETIME",
    aliases: &[],
    meaning: "A connection older than this is replaced when it is next idle. Keep it below the limit of \
              everything that closes connections on the way (load balancers, firewalls). \
              `never` is without end.",
    default: limits([1_800; 4]),
    min: Limit::after(SECOND),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const KEEPALIVE: Setting<Limit> = Setting {
    name: "DB_POOL_KEEPALIVE",
    aliases: &[],
    meaning: "A connection idle for longer is asked for a sign of life, so that no firewall forgets it; \
              `never` or 0 turns it off.",
    default: limits([120; 4]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const LEAK_THRESHOLD: Setting<Limit> = Setting {
    name: "DB_POOL_LEAK_THRESHOLD",
    aliases: &[],
    meaning: "A connection held for longer is logged once as a warning, with where it was taken and the \
              shape of its last statement, and again when it comes back; `never` or 0 turns it off.",
    default: limits([60; 4]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const BACKGROUND: Setting<u32> = Setting {
    name: "DB_POOL_BACKGROUND",
    aliases: &[],
    meaning: "The most connections of a pool that background work may hold at once, so that the rest is \
              there for those who wait; 0 is half of the pool.",
    default: [0; 4],
    min: 0,
    max: 10_000,
    unit_required: &[],
};
pub(super) const SALVAGE_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_POOL_SALVAGE_TIMEOUT",
    aliases: &[],
    meaning: "The longest that cleaning a connection may take which came back in the middle of something; \
              then it is closed.",
    default: seconds([1; 4]),
    min: Duration::from_millis(10),
    max: Duration::from_secs(60),
    unit_required: &[],
};
pub(super) const MAX_BUFFER: Setting<u32> = Setting {
    name: "DB_POOL_MAX_BUFFER",
    aliases: &[],
    meaning: "A connection over which a longer message went, in bytes, is closed when it comes back, because \
              its buffers never shrink; 0 is no limit.",
    default: [8 * 1024 * 1024; 4],
    min: 0,
    max: 1024 * 1024 * 1024,
    unit_required: &[],
};
pub(super) const RESET_ALWAYS: Setting<bool> = Setting {
    name: "DB_POOL_RESET_ALWAYS",
    aliases: &[],
    meaning: "Reset a session after every use, and not only where a statement was seen that may leave \
              something behind. For services whose triggers, views or column defaults change settings or take \
              advisory locks.",
    default: [false; 4],
    min: false,
    max: true,
    unit_required: &[],
};
pub(super) const HARMLESS_FUNCTIONS: Text = Text {
    name: "DB_POOL_HARMLESS_FUNCTIONS",
    aliases: &[],
    meaning: "Functions of the service's own that leave nothing behind in a session, separated by commas, so \
              that a statement which calls one costs no reset: names as `total_of`, `billing.total_of`, \
              `billing.*` or `st_*`.",
    default: "each call of a function that is not PostgreSQL's own is followed by a reset",
};
pub(super) const CONNECT_TIMEOUT: Setting<Duration> = Setting {
    name: "DB_CONNECT_TIMEOUT",
    aliases: &[],
    meaning: "The longest that opening one connection may take: name lookup, TCP and login together.",
    default: seconds([5; 4]),
    min: Duration::from_millis(10),
    max: Duration::from_secs(300),
    unit_required: &["DB_CONNECT_TIMEOUT"],
};
pub(super) const SOCKET_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_SOCKET_TIMEOUT",
    aliases: &[],
    meaning: "How long sent data may stay unacknowledged before the connection is given up \
              (`tcp_user_timeout`); with `never` the kernel decides.",
    default: limits([30; 4]),
    min: Limit::after(SECOND),
    max: Limit::NEVER,
    unit_required: &["DB_SOCKET_TIMEOUT"],
};
pub(super) const QUERY_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_QUERY_TIMEOUT",
    aliases: &[],
    meaning: "The longest that one statement may run on the server (`statement_timeout`); `never` or 0 is no \
              limit.",
    default: limits([30, 30, 15, 10]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const LOCK_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_LOCK_TIMEOUT",
    aliases: &[],
    meaning: "The longest that one statement may wait for a lock (`lock_timeout`); `never` or 0 is no limit.",
    default: [Limit::NEVER; 4],
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const IDLE_IN_TRANSACTION_TIMEOUT: Setting<Limit> = Setting {
    name: "DB_IDLE_IN_TRANSACTION_TIMEOUT",
    aliases: &[],
    meaning: "The longest that a transaction may lie open and idle, before the server ends the connection \
              (`idle_in_transaction_session_timeout`); `never` or 0 is no limit.",
    default: limits([60; 4]),
    min: Limit::after(Duration::from_millis(1)),
    max: Limit::NEVER,
    unit_required: &[],
};
pub(super) const PREPARED_STATEMENTS: Setting<bool> = Setting {
    name: "DB_PREPARED_STATEMENTS",
    aliases: &[],
    meaning: "Keep prepared statements. Turn it off behind a pooler in transaction mode that does not follow \
              them (PgBouncer before 1.21): then no statement has a name.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
pub(super) const MAX_PREPARED_STATEMENTS: Setting<u32> = Setting {
    name: "DB_MAX_PREPARED_STATEMENTS",
    aliases: &[],
    meaning: "How many prepared statements one connection keeps; with more, all are dropped when it is \
              returned.",
    default: [256; 4],
    min: 1,
    max: 100_000,
    unit_required: &[],
};
pub(super) const WIRE_TAP: Setting<bool> = Setting {
    name: "DB_WIRE_TAP",
    aliases: &[],
    meaning: "Read the bytes of every connection as they go by. Without it SQLSTATEs are guessed from \
              English messages, and a connection left in the middle of something is closed instead of \
              cleaned.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};

pub(super) const SIZE: Group =
    Group { title: "How many connections to the primary", settings: &[&MIN, &MAX], elsewhere: &[] };

pub(super) const READ_SIZE: Group = Group {
    title: "How many connections to each standby",
    settings: &[&READ_MIN, &READ_MAX],
    elsewhere: &[],
};

pub(super) const POOL: Group = Group {
    title: "How pools behave",
    settings: &[
        &ACQUIRE_TIMEOUT,
        &MAX_WAITERS,
        &IDLE_TIMEOUT,
        &MAX_LIFETIME,
        &KEEPALIVE,
        &LEAK_THRESHOLD,
        &BACKGROUND,
        &SALVAGE_TIMEOUT,
        &MAX_BUFFER,
        &RESET_ALWAYS,
        &HARMLESS_FUNCTIONS,
    ],
    elsewhere: &[
        Foreign::new(
            "acquireTimeoutMillis",
            "`DB_POOL_CONNECTION_TIMEOUT`, or `PoolConfig::acquire_timeout`",
        ),
        Foreign::new("createTimeoutMillis", "`DB_CONNECT_TIMEOUT`, or `ConnectConfig::connect_timeout`"),
        Foreign::new(
            "destroyTimeoutMillis",
            "nobody waits for a connection to close; `DB_POOL_SALVAGE_TIMEOUT` bounds cleaning one",
        ),
        Foreign::new("idleTimeoutMillis", "`DB_POOL_IDLE_TIMEOUT`, or `PoolConfig::idle_timeout`"),
        Foreign::new(
            "reapIntervalMillis",
            "the upkeep task wakes when the next connection is due, not at intervals",
        ),
        Foreign::new(
            "createRetryIntervalMillis",
            "the pause between two attempts to connect grows by itself, and shrinks when one succeeds",
        ),
        Foreign::new(
            "propagateCreateError",
            "a caller that waited in vain is told why no connection could be opened",
        ),
        Foreign::new("maxLifetime", "`DB_POOL_MAX_LIFETIME`, or `PoolConfig::max_lifetime`"),
        Foreign::new("leakDetectionThreshold", "`DB_POOL_LEAK_THRESHOLD`, or `PoolConfig::leak_threshold`"),
        Foreign::new("keepaliveTime", "`DB_POOL_KEEPALIVE`, or `PoolConfig::keepalive`"),
    ],
};

pub(super) const CONNECT: Group = Group {
    title: "How connections are opened",
    settings: &[
        &CONNECT_TIMEOUT,
        &SOCKET_TIMEOUT,
        &QUERY_TIMEOUT,
        &LOCK_TIMEOUT,
        &IDLE_IN_TRANSACTION_TIMEOUT,
        &PREPARED_STATEMENTS,
        &MAX_PREPARED_STATEMENTS,
        &WIRE_TAP,
    ],
    elsewhere: &[Foreign::new(
        "DB_QUERY_CACHE_SIZE",
        "`DB_MAX_PREPARED_STATEMENTS` for statements; results are what db-cache is for",
    )],
};

const fn seconds(each: [u64; 4]) -> [Duration; 4] {
    let [development, test, staging, production] = each;
    [
        Duration::from_secs(development),
        Duration::from_secs(test),
        Duration::from_secs(staging),
        Duration::from_secs(production),
    ]
}

const fn limits(each: [u64; 4]) -> [Limit; 4] {
    let [development, test, staging, production] = seconds(each);
    [Limit::after(development), Limit::after(test), Limit::after(staging), Limit::after(production)]
}

//! The database module of a package registry, as crates.io has one: what is left of it on db-platform.
//!
//! | what was there | lines | what replaces it |
//! |---|---|---|
//! | pool sizes, timeouts, URLs and TLS read from the environment and checked | 163 | `Config::from_env`, which reports all mistakes at once |
//! | URLs, TLS and session settings of each connection, three statements after each connect | 126 | start-up options: none |
//! | an accessor for reads that waits 30 s for the replica and then takes the primary | 26 calls | `Db::read`: lag is known, a dead replica is not waited for |
//! | an accessor for reads that must see the caller's own write | 6 calls | `Db::read_within(Freshness::Primary, …)` |
//! | an accessor for writes, a transaction begun by each of its callers | 29 calls | `Db::transaction`, which also tries again |
//! | lost connections and read-only servers told by their messages, for a status of 503 | in `util/diesel.rs` | `Error::class` |
//! | pool sizes that are read and never used, a histogram that is never fed | | every setting has a test, `Pool::status` and docs/metrics.md |
//!
//! The variables keep the names that operators know.

use db_platform::{Class, Classify, Config, Db, Error, Result};

/// Connects with the settings that `lookup` knows.
pub(crate) async fn connect(lookup: impl Fn(&str) -> Option<String>) -> Result<Db> {
    let known_as = |name: &str| match name {
        "DATABASE_READ_URLS" => lookup("READ_ONLY_REPLICA_URL"),
        "DB_POOL_MAX" => lookup("DB_PRIMARY_POOL_SIZE"),
        "DB_READ_POOL_MAX" => lookup("DB_REPLICA_POOL_SIZE"),
        name => lookup(name),
    };
    Db::connect(Config::from_lookup(&known_as)?).await
}

/// The status of an HTTP answer.
pub(crate) fn status(error: &Error) -> u16 {
    match (error, error.class()) {
        (Error::NotFound, _) => 404,
        (Error::UniqueViolation(_), _) => 409,
        (_, Class::Conflict | Class::Unavailable | Class::Overloaded) => 503,
        (_, Class::Unknown | Class::Permanent) => 500,
    }
}

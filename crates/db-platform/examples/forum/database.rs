//! The database module of a forum, as Lemmy has one: what is left of it on db-platform.
//!
//! | what was there | what replaces it |
//! |---|---|
//! | 279 lines in all: a pool, its set-up, and two enums so that a function takes a pool or a transaction | `conn: &mut AsyncPgConnection`, in a read, a transaction and a savepoint |
//! | `get_conn(pool)` at the head of 355 functions | nothing: the connection is an argument |
//! | a macro that runs several queries on several connections of the pool at once | `Db::batch`: one connection, one round trip |
//! | a TLS verifier that accepts any certificate | `sslmode`, as libpq means it |
//! | a hook that closes connections after three days, all at the same time | `max_lifetime`, with a spread |
//! | two spare connections against callers that wait for a second one | a caller has one |
//! | one timeout for whoever waits and for what nobody waits for | `Db::with_timeout` for the one, none for the other |
//! | pool errors disguised as query errors | `Error::PoolTimeout`, with who holds the oldest connection |

use std::time::Duration;

use db_platform::{Config, DatabaseUrl, Db, Environment, Result};

/// The database, for those who wait and for those who do not.
pub(crate) struct Database {
    /// For requests: nobody waits longer than this for an answer.
    pub(crate) requests: Db,
    /// For what is sent to other servers, as long as it takes.
    pub(crate) federation: Db,
}

pub(crate) async fn connect(url: DatabaseUrl) -> Result<Database> {
    let federation = Db::connect(Config::new(Environment::Production, url)).await?;
    Ok(Database { requests: federation.with_timeout(Duration::from_secs(5)), federation })
}

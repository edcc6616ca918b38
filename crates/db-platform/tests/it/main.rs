//! The whole stack on a real cluster.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod advisory_lease;
mod alerting;
mod axum_07;
mod batch;
mod brought;
mod cached;
mod cached_loads;
mod cached_many;
mod configuration;
mod conflicts;
mod consistency;
mod guarded;
mod insights;
mod leaks;
mod loads;
mod log;
mod maintained;
mod markers;
mod metrics;
mod migrating;
mod monitoring;
mod one_statement;
mod outcomes;
mod parts;
mod pooled;
mod reads;
mod repeats;
mod reporting;
mod retrying;
mod search_path;
mod sessions;
mod stream;
mod tenants;
mod timeouts;
mod transactions;
mod warming;
mod web;
mod writes;

use std::time::Duration;

use db_platform::{Config, Db, Environment};
use db_testkit::{Cluster, TestDatabase};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

#[derive(QueryableByName)]
struct Word {
    #[diesel(sql_type = Text)]
    word: String,
}

/// The port of the server that answers: it tells the nodes apart.
async fn port(conn: &mut AsyncPgConnection) -> diesel::QueryResult<String> {
    let row = sql_query("SELECT current_setting('port') AS word").get_result::<Word>(conn);
    Ok(row.await?.word)
}

fn config(cluster: &Cluster) -> Config {
    let mut config = Config::new(Environment::Test, cluster.primary_url().parse().unwrap());
    config.read_urls = cluster.standby_urls().iter().map(|url| url.parse().unwrap()).collect();
    config.router.probe_interval = Duration::from_millis(100);
    // Those who want one attach it.
    config.cache = None;
    config
}

async fn db(cluster: &Cluster) -> Db {
    Db::connect(config(cluster)).await.unwrap()
}

/// A handle on one throw-away database.
async fn alone(database: &TestDatabase, configure: impl FnOnce(&mut Config)) -> Db {
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    configure(&mut config);
    Db::connect(config).await.unwrap()
}

fn port_of(url: &str) -> String {
    let url: db_platform::DatabaseUrl = url.parse().unwrap();
    url.hosts()[0].port().to_string()
}

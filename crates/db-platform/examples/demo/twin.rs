//! A second database with the same rows: what runs without the cache writes there, past the pages that the
//! cache holds.

use db_platform::{Config, DatabaseUrl, Db, Result};
use diesel_async::SimpleAsyncConnection;

use crate::close;

/// Copies the database of a configuration.
pub(crate) async fn copy(config: &Config) -> Result<()> {
    let (database, twin) = (config.url.database(), name(config));
    // A database is copied while nobody is connected to it.
    let aside = Db::connect(within(config, "postgres")).await?;
    let copy = format!("CREATE DATABASE \"{twin}\" TEMPLATE \"{database}\"");
    aside.primary().await?.batch_execute(&copy).await?;
    close(&aside).await;
    Ok(())
}

/// What leads to the copy, without a cache.
pub(crate) fn without_cache(config: &Config) -> Config {
    within(config, &name(config))
}

fn name(config: &Config) -> String {
    format!("{}_uncached", config.url.database())
}

fn within(config: &Config, database: &str) -> Config {
    let moved = |url: &DatabaseUrl| url.clone().with_database(database);
    Config {
        url: moved(&config.url),
        direct_url: moved(&config.direct_url),
        read_urls: config.read_urls.iter().map(moved).collect(),
        cache: None,
        ..config.clone()
    }
}

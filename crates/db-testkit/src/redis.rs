//! Redis servers for tests that need one.
//!
//! The kit hands out URLs and knows no Redis client: tests bring the one that their code uses.

use crate::background;
use crate::error::TestkitError;
use db_server::{RedisProgram, find_redis};
use std::sync::Arc;

/// A Redis (or Valkey) server with nothing in it, gone with its value.
#[derive(Debug, Clone)]
pub struct Redis {
    inner: Arc<db_server::Redis>,
}

impl Redis {
    /// Starts one from `redis-server` or `valkey-server` on PATH, else from one that is fetched.
    ///
    /// # Errors
    /// When none is to be had ([`skip::without`](crate::skip::without) skips the test then), or it does not
    /// start.
    pub async fn start() -> Result<Self, TestkitError> {
        let doing = "starting Redis";
        let start = || program().and_then(|program| db_server::Redis::start(&program));
        let inner = background::blocking(doing, start).await?.map_err(failed(doing))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its URL, with its password: never log it.
    #[must_use]
    pub fn url(&self) -> String {
        self.inner.url()
    }

    /// Its loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.inner.port()
    }

    /// Kills it; what it held is lost.
    ///
    /// # Errors
    /// When it does not end in time.
    pub async fn kill(&self) -> Result<(), TestkitError> {
        self.tell("killing Redis", db_server::Redis::kill).await
    }

    /// Starts it again on its port; nothing happens if it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&self) -> Result<(), TestkitError> {
        self.tell("restarting Redis", db_server::Redis::run).await
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it is not running.
    pub async fn pause(&self) -> Result<(), TestkitError> {
        self.tell("pausing Redis", db_server::Redis::pause).await
    }

    /// Thaws it (SIGCONT).
    ///
    /// # Errors
    /// When it is not running.
    pub async fn resume(&self) -> Result<(), TestkitError> {
        self.tell("resuming Redis", db_server::Redis::resume).await
    }

    async fn tell(
        &self,
        doing: &str,
        work: impl FnOnce(&db_server::Redis) -> db_server::Result<()> + Send + 'static,
    ) -> Result<(), TestkitError> {
        let inner = Arc::clone(&self.inner);
        background::blocking(doing, move || work(&inner)).await?.map_err(failed(doing))
    }
}

/// A Redis Cluster of three masters, gone with its value.
#[derive(Debug, Clone)]
pub struct RedisCluster {
    inner: Arc<db_server::RedisCluster>,
}

impl RedisCluster {
    /// Starts three masters and returns when each of them says that the cluster is complete.
    ///
    /// # Errors
    /// When none is to be had, as for [`Redis::start`], or the cluster does not form.
    pub async fn start() -> Result<Self, TestkitError> {
        let doing = "starting a Redis cluster";
        let start = || program().and_then(|program| db_server::RedisCluster::start(&program));
        let inner = background::blocking(doing, start).await?.map_err(failed(doing))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The masters' URLs, with their password: never log them.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.inner.urls()
    }
}

fn program() -> db_server::Result<RedisProgram> {
    find_redis(&|line| tracing::info!("{line}"))
}

fn failed(doing: &str) -> impl FnOnce(db_server::Error) -> TestkitError {
    let doing = doing.to_owned();
    move |source| TestkitError::Server { doing, source }
}

//! Redis servers for tests that need one.
//!
//! The kit hands out URLs and knows no Redis client: tests bring the one that their code uses.

use crate::background;
use crate::error::TestkitError;
use db_server::RedisPrograms;
use std::sync::Arc;

/// A Redis (or Valkey) server with nothing in it, gone with its value.
#[derive(Debug, Clone)]
pub struct Redis {
    inner: Arc<db_server::Redis>,
}

impl Redis {
    /// Starts one from `redis-server` or `valkey-server` on PATH.
    ///
    /// # Errors
    /// When neither is installed, or it does not start.
    pub async fn start() -> Result<Self, TestkitError> {
        let doing = "starting Redis";
        let start = || RedisPrograms::find().and_then(|programs| db_server::Redis::start(&programs));
        let inner = background::blocking(doing, start).await?.map_err(failed(doing))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Its URL, `redis://127.0.0.1:port`.
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
    /// When the server or `redis-cli` (`valkey-cli`) is not installed, or the cluster does not form.
    pub async fn start() -> Result<Self, TestkitError> {
        let doing = "starting a Redis cluster";
        let start = || RedisPrograms::find().and_then(|programs| db_server::RedisCluster::start(&programs));
        let inner = background::blocking(doing, start).await?.map_err(failed(doing))?;
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The masters' URLs.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.inner.urls()
    }
}

fn failed(doing: &str) -> impl FnOnce(db_server::Error) -> TestkitError {
    let doing = doing.to_owned();
    move |source| TestkitError::Server { doing, source }
}

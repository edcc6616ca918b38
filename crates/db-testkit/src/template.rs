//! Makes a template once, whatever number of tests and processes want it at the same time.
//!
//! It is filled under a name of this run and renamed when it is whole, so that a process that dies half-way
//! leaves nothing that could be mistaken for a template, only a leftover that the next run sweeps.

use crate::background;
use crate::error::{BoxError, TestkitError};
use crate::hub::Hub;
use crate::names::Template;
use crate::sweep::used_now;
use diesel_async::AsyncPgConnection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio_postgres::Client;

const DROPPED_WITHIN: Duration = Duration::from_secs(60);

/// The template for this content, made by `migrate` if there is none.
pub(crate) async fn ready<E: Into<BoxError>>(
    hub: &Arc<Hub>,
    content_hash: &str,
    migrate: impl AsyncFnOnce(&mut AsyncPgConnection) -> Result<(), E>,
) -> Result<Template, TestkitError> {
    static READY: Mutex<Option<HashMap<Template, Arc<OnceCell<()>>>>> = Mutex::new(None);
    let template = Template::new(hub.version(), content_hash);
    let cell = {
        let mut ready = READY.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(ready.get_or_insert_default().entry(template.clone()).or_default())
    };
    cell.get_or_try_init(async || {
        let begun = background::run("claiming a template", Making::begin(Arc::clone(hub), template.clone()));
        let Some(making) = begun.await?? else { return Ok(()) };
        let mut conn = hub.admin().database(&making.name).connect("filling a template").await?;
        let filled = migrate(&mut conn).await;
        drop(conn);
        filled.map_err(|source| TestkitError::Template {
            content_hash: content_hash.to_owned(),
            source: source.into(),
        })?;
        background::run("finishing a template", making.finish()).await?
    })
    .await?;
    Ok(template)
}

/// A template that is being filled, under the lock that keeps others from it.
struct Making {
    hub: Arc<Hub>,
    template: Template,
    name: String,
    /// Holds the lock: nobody else makes this template until the connection ends.
    lock: Option<Client>,
}

impl Making {
    /// Waits for whoever is making it; `None` when it is there.
    async fn begin(hub: Arc<Hub>, template: Template) -> Result<Option<Self>, TestkitError> {
        let failed = |doing: &str| hub.admin().failed(doing.to_owned());
        // First of all, so that no sweeper drops it between our look and our clone.
        hub.holder()
            .execute("SELECT pg_advisory_lock_shared($1)", &[&template.using()])
            .await
            .map_err(failed("locking a template for use"))?;
        let lock = hub.admin().client("locking a template").await?;
        lock.execute("SELECT pg_advisory_lock($1)", &[&template.making()])
            .await
            .map_err(failed("waiting until another process has filled a template"))?;
        let there = lock
            .query_opt("SELECT FROM pg_database WHERE datname = $1", &[&template.name()])
            .await
            .map_err(failed("looking for a template"))?;
        let name = if there.is_some() { String::new() } else { hub.name() };
        let making = Self { hub, template, name, lock: Some(lock) };
        if there.is_some() {
            making.touch().await?;
            return Ok(None);
        }
        making.hub.create(&making.name, "template0").await?;
        Ok(Some(making))
    }

    async fn finish(mut self) -> Result<(), TestkitError> {
        let (name, template) = (&self.name, self.template.name());
        let doing = "finishing a template";
        if let Some(lock) = &self.lock {
            let failed = || self.hub.admin().failed(doing);
            lock.batch_execute(&format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"))
                .await
                .map_err(failed())?;
            // The caller's connections: a database in use can be neither renamed nor copied.
            let end = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = $1";
            lock.execute(end, &[name]).await.map_err(failed())?;
            let rename = format!("ALTER DATABASE \"{name}\" RENAME TO \"{template}\"");
            lock.batch_execute(&rename).await.map_err(failed())?;
        }
        self.name.clear();
        self.touch().await
    }

    /// Notes that it is used. Under the lock: two at once would fail ("tuple concurrently updated").
    async fn touch(&self) -> Result<(), TestkitError> {
        let Some(lock) = &self.lock else { return Ok(()) };
        let comment = format!("COMMENT ON DATABASE \"{}\" IS '{}'", self.template.name(), used_now());
        lock.batch_execute(&comment).await.map_err(self.hub.admin().failed("noting a template's use"))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        let (hub, name, lock) = (Arc::clone(&self.hub), std::mem::take(&mut self.name), self.lock.take());
        let work = async move {
            if let Err(error) = hub.remove(&name).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a half-filled template stays until the next run"
                );
            }
            drop(lock);
        };
        background::finish(DROPPED_WITHIN, work);
    }
}

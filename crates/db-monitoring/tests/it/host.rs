//! The process around parts, with a way to a server that can be cut.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use db_core::{DatabaseUrl, Endpoint, Host, Server};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use tokio::task::AbortHandle;

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A service's process, as far as its parts see it.
#[derive(Clone)]
pub(crate) struct Process {
    url: DatabaseUrl,
    address: String,
    /// Whether the database can be reached from here.
    pub(crate) is_cut: Arc<AtomicBool>,
    pub(crate) jobs: Arc<Mutex<Vec<AbortHandle>>>,
}

impl Process {
    pub(crate) fn new(url: &str) -> Self {
        Process {
            url: url.parse().unwrap(),
            address: url.to_owned(),
            is_cut: Arc::default(),
            jobs: Arc::default(),
        }
    }
}

impl Host for Process {
    fn direct_url(&self) -> &DatabaseUrl {
        &self.url
    }

    fn servers(&self) -> Vec<Server> {
        Vec::new()
    }

    fn connect<'a>(&'a self, _to: Option<&'a Endpoint>) -> Answer<'a, db_core::Result<AsyncPgConnection>> {
        Box::pin(async {
            if self.is_cut.load(Ordering::Relaxed) {
                return Err(db_core::Error::Client("cut".into()));
            }
            AsyncPgConnection::establish(&self.address)
                .await
                .map_err(|error| db_core::Error::Client(error.into()))
        })
    }

    fn connect_in<'a>(
        &'a self,
        _: Option<&'a str>,
    ) -> Answer<'a, db_core::Result<(Endpoint, AsyncPgConnection)>> {
        Box::pin(async { Ok((Endpoint::new("here", 5432), self.connect(None).await?)) })
    }

    fn spawn(&self, job: Answer<'static, ()>) {
        self.jobs.lock().unwrap().push(tokio::spawn(job).abort_handle());
    }
}

//! The collector: what it knows while servers come and go, databases are stuck, and several processes watch.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Endpoint, Error};
use db_monitoring::server::{
    Collector, CollectorConfig, DatabaseSnapshot, Databases, OpenConnection, SkipReason, Snapshot,
};
use db_testkit::{Cluster, Proxy, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Opens connections to this URL, and to one of its databases through another one.
pub(crate) fn open(url: &str, through: Option<(&'static str, String)>) -> OpenConnection {
    let url = url.to_owned();
    Arc::new(move |database| {
        let url = match (&through, database.as_deref()) {
            (Some((name, other)), Some(database)) if *name == database => in_database(other, database),
            (_, Some(database)) => in_database(&url, database),
            (_, None) => url.clone(),
        };
        Box::pin(async move {
            let connected = AsyncPgConnection::establish(&url).await;
            let conn = connected.map_err(|error| Error::ConnectionLost { reason: error.to_string() })?;
            Ok((Endpoint::new("127.0.0.1", 5432), conn))
        })
    })
}

fn in_database(url: &str, database: &str) -> String {
    let (server, rest) = url.rsplit_once('/').unwrap();
    let options = rest.split_once('?').map_or(String::new(), |(_, options)| format!("?{options}"));
    format!("{server}/{database}{options}")
}

/// The only database.
fn own(snapshot: &Snapshot) -> Option<DatabaseSnapshot> {
    snapshot.by_database.values().next().cloned()
}

pub(crate) fn quick() -> CollectorConfig {
    let periods = [100, 200, 200, 400, 1_000].map(Duration::from_millis);
    CollectorConfig { periods, ..CollectorConfig::default() }
}

/// Runs beside the test, until this is dropped.
pub(crate) struct Runs(pub(crate) Collector, tokio::task::JoinHandle<()>);

impl Runs {
    pub(crate) fn start(open: OpenConnection, config: CollectorConfig) -> Self {
        let collector = Collector::new(open, config);
        let task = tokio::spawn(collector.clone().run());
        Runs(collector, task)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.1.abort();
    }
}

/// Collects from the server of this URL, several times a second.
pub(crate) fn collector(url: &str) -> Runs {
    Runs::start(open(url, None), quick())
}

#[tokio::test]
async fn a_server_that_is_gone_is_skipped_and_comes_back() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let collecting = Runs::start(open(&cluster.primary_url(), None), quick());
    let collector = &collecting.0;
    until("everything was read", async || {
        let latest = collector.latest();
        latest.databases.get().is_ok() && own(&latest).is_some_and(|it| it.tables.get().is_ok())
    })
    .await;
    cluster.kill(0).await?;
    until("it is known to be gone", async || {
        let latest = collector.latest();
        let gone = |skipped: &db_monitoring::server::Skipped| skipped.reason == SkipReason::Unreachable;
        latest.server.get().is_err_and(gone)
            && latest.activity.get().is_err()
            && own(&latest).is_some_and(|it| it.tables.get().is_err_and(gone))
    })
    .await;
    cluster.start(0).await?;
    until("it is back", async || {
        let latest = collector.latest();
        latest.server.get().is_ok() && own(&latest).is_some_and(|it| it.tables.get().is_ok())
    })
    .await;
    Ok(())
}

#[tokio::test]
async fn a_stuck_database_delays_no_other() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    for name in ["one", "two", "stuck"] {
        setup.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    }
    let proxy = Proxy::start(cluster.address_of(0)?)?;
    let through = Some(("stuck", proxy.through(&cluster.primary_url())?));
    let config = CollectorConfig { databases: Databases::All, ..quick() };
    let collecting = Runs::start(open(&cluster.primary_url(), through), config);
    let collector = &collecting.0;
    let read = |name: &str| {
        collector.latest().by_database.get(name).is_some_and(|database| database.tables.get().is_ok())
    };
    until("all were read", async || ["one", "two", "stuck"].iter().all(|name| read(name))).await;
    proxy.stall();
    until("it is known to be stuck", async || !read("stuck")).await;
    let at = |name: &str| collector.latest().by_database[name].tables.at();
    for name in ["one", "two"] {
        let before = at(name);
        until("the others go on", async || at(name) > before).await;
        assert!(read(name));
    }
    assert!(collector.latest().activity.get().is_ok());
    Ok(())
}

#[tokio::test]
async fn one_process_leads_and_another_takes_over() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let first = Runs::start(open(&cluster.primary_url(), None), quick());
    until("the first leads", async || first.0.is_leader()).await;
    let second = Runs::start(open(&cluster.primary_url(), None), quick());
    until("the second sees activity only", async || {
        let latest = second.0.latest();
        latest.activity.get().is_ok()
            && latest.statements.get().is_err_and(|skipped| skipped.reason == SkipReason::NotLeader)
    })
    .await;
    assert!(!second.0.is_leader());
    drop(first);
    until("the second has taken over", async || {
        second.0.is_leader() && own(&second.0.latest()).is_some_and(|it| it.tables.get().is_ok())
    })
    .await;
    Ok(())
}

//! People are told once, whatever restarts, refuses or is away.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_core::{DatabaseUrl, Endpoint, Ground, Host, Part, Running, Server};
use db_monitoring::alerts::{AlertChannel, AlertConfig, Alerts, Evaluation, Level, Reading, open_in};
use db_notify::{BoxFuture, Channel, Message, NotifyConfig, SendError, Severity};
use db_testkit::{Cluster, until};
use diesel_async::{AsyncConnection, AsyncPgConnection};
use tokio::task::AbortHandle;

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;
type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A service's process, as far as its parts see it.
#[derive(Clone)]
struct Process {
    url: DatabaseUrl,
    address: String,
    /// Whether the database can be reached from here.
    is_cut: Arc<AtomicBool>,
    jobs: Arc<Mutex<Vec<AbortHandle>>>,
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

/// What receivers got: each message with its id, digests taken apart.
#[derive(Default)]
struct Inbox {
    got: Mutex<Vec<(String, bool)>>,
    fails: Mutex<Vec<SendError>>,
}

impl Channel for Inbox {
    fn name(&self) -> &str {
        "inbox"
    }

    fn send<'a>(&'a self, message: &'a Message, id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
        Box::pin(async move {
            if let Some(error) = self.fails.lock().unwrap().pop() {
                return Err(error);
            }
            let mut got = self.got.lock().unwrap();
            if message.gathered.is_empty() {
                got.push((id.to_owned(), false));
            }
            got.extend(message.gathered.iter().filter_map(|one| Some((one.id.clone()?, true))));
            Ok(())
        })
    }
}

impl Inbox {
    fn ids(&self) -> Vec<String> {
        self.got.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }
}

/// What is bad now.
type World = Arc<Mutex<BTreeMap<String, Level>>>;

struct Replica {
    alerts: Alerts,
    process: Process,
    running: Option<Running>,
}

impl Replica {
    async fn start(url: &str, world: &World, channels: &[(&str, &Arc<Inbox>, Severity)]) -> Self {
        let config = AlertConfig {
            raise_after: Duration::from_millis(50),
            resolve_after: Duration::from_millis(50),
            every: Duration::from_millis(20),
            ..AlertConfig::default()
        };
        let notify = NotifyConfig {
            burst: 10_000,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(20),
            deadline: Duration::from_secs(5),
            ..NotifyConfig::default()
        };
        let channels = channels.iter().map(|(name, inbox, least)| {
            let channel: Arc<dyn Channel> = Arc::clone(inbox) as Arc<dyn Channel>;
            AlertChannel { name: (*name).to_owned(), channel, least: *least }
        });
        let alerts = Alerts::new(config, notify, channels.collect(), None);
        let world = Arc::clone(world);
        let part: Part = alerts.part(Arc::new(move || {
            let world = world.lock().unwrap();
            let own = world.iter().map(|(key, level)| Reading::new(key.as_str(), *level, "title"));
            Evaluation { own: own.collect(), checks: Some(Vec::new()) }
        }));
        let process = Process {
            url: url.parse().unwrap(),
            address: url.to_owned(),
            is_cut: Arc::default(),
            jobs: Arc::default(),
        };
        let start = part.start.unwrap();
        let running = start(Ground::new(process.clone())).await.unwrap();
        Replica { alerts, process, running: Some(running) }
    }

    /// Ends as a process that is killed.
    fn kill(self) {
        for job in self.process.jobs.lock().unwrap().drain(..) {
            job.abort();
        }
    }

    async fn stop(mut self) {
        if let Some(running) = self.running.take() {
            (running.stop)().await;
        }
    }
}

fn set(world: &World, key: &str, level: Level) {
    world.lock().unwrap().insert(key.to_owned(), level);
}

#[tokio::test]
async fn of_two_replicas_one_tells_and_the_next_goes_on_with_the_same_incident() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let (url, world, inbox) = (cluster.primary_url(), World::default(), Arc::<Inbox>::default());
    let channels = [("inbox", &inbox, Severity::Warning)];
    let first = Replica::start(&url, &world, &channels).await;
    until("the first leads", async || first.alerts.status().leads).await;
    let second = Replica::start(&url, &world, &channels).await;
    set(&world, "locks", Level::Critical);
    until("it is told", async || !inbox.ids().is_empty()).await;
    let mut conn = AsyncPgConnection::establish(&url).await?;
    assert_eq!(open_in(&mut conn).await?[0].incident, "locks#1");
    first.kill();
    until("the second leads", async || second.alerts.status().leads).await;
    set(&world, "locks", Level::Fine);
    until("its end is told", async || inbox.ids().len() > 1).await;
    second.stop().await;
    assert_eq!(inbox.ids(), ["locks#1:raised", "locks#1:resolved"]);
    assert!(open_in(&mut conn).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn what_is_told_while_the_database_is_away_is_known_to_the_next_leader() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let (url, world, inbox) = (cluster.primary_url(), World::default(), Arc::<Inbox>::default());
    let channels = [("inbox", &inbox, Severity::Warning)];
    let first = Replica::start(&url, &world, &channels).await;
    until("the first leads", async || first.alerts.status().leads).await;
    first.process.is_cut.store(true, Ordering::Relaxed);
    let mut conn = AsyncPgConnection::establish(&url).await?;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'db-platform alerts'";
    diesel_async::RunQueryDsl::execute(diesel::sql_query(end), &mut conn).await?;
    set(&world, "no-primary", Level::Critical);
    until("it is told without the database", async || inbox.ids() == ["no-primary#1:raised"]).await;
    assert!(open_in(&mut conn).await?.is_empty());
    first.process.is_cut.store(false, Ordering::Relaxed);
    until("it is kept", async || open_in(&mut conn).await.unwrap().len() == 1).await;
    first.stop().await;
    let second = Replica::start(&url, &world, &channels).await;
    until("the second leads", async || second.alerts.status().open.len() == 1).await;
    set(&world, "no-primary", Level::Fine);
    until("its end is told", async || inbox.ids().len() > 1).await;
    second.stop().await;
    assert_eq!(inbox.ids(), ["no-primary#1:raised", "no-primary#1:resolved"]);
    Ok(())
}

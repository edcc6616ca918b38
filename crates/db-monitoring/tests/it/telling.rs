//! People are told once, whatever restarts, refuses or is away.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use db_core::{Ground, Part, Running};
use db_monitoring::alerts::{AlertChannel, AlertConfig, Alerts, Beat, Evaluation, Level, Reading, open_in};
use db_notify::{BoxFuture, Channel, Message, NotifyConfig, SendError, Severity};
use db_testkit::{Cluster, until};
use diesel_async::{AsyncConnection, AsyncPgConnection};

use crate::host::Process;

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

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
        Replica::with_heartbeat(url, world, channels, None).await
    }

    async fn with_heartbeat(
        url: &str,
        world: &World,
        channels: &[(&str, &Arc<Inbox>, Severity)],
        beat: Option<Beat>,
    ) -> Self {
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
        let alerts = Alerts::new(config, notify, channels.collect(), beat);
        let world = Arc::clone(world);
        let part: Part = alerts.part(Arc::new(move || {
            let world = world.lock().unwrap();
            let own = world.iter().map(|(key, level)| Reading::new(key.as_str(), *level, "title"));
            Evaluation { own: own.collect(), checks: Some(Vec::new()) }
        }));
        let process = Process::new(url);
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
    let killed = Instant::now();
    first.kill();
    until("the second leads", async || second.alerts.status().leads).await;
    // The README says three seconds; a machine that others use gets two more.
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
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

#[tokio::test]
async fn a_channel_that_refuses_for_good_is_gone_round_and_many_at_once_are_one_message() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let (url, world) = (cluster.primary_url(), World::default());
    let (page, mail) = (Arc::<Inbox>::default(), Arc::<Inbox>::default());
    let channels = [("mail", &mail, Severity::Critical), ("page", &page, Severity::Warning)];
    page.fails.lock().unwrap().push(SendError::permanent("no such hook"));
    let replica = Replica::start(&url, &world, &channels).await;
    set(&world, "bloat", Level::Warning);
    // Beside the word that nothing comes through there, which has an id of its own.
    let went = |ids: &[String]| ids.iter().any(|id| id == "bloat#1:raised");
    until("it went another way", async || went(&mail.ids())).await;
    until("it is counted", async || replica.alerts.status().diverted == 1).await;
    // At one look, or the first ones would go alone.
    let five = ["a", "b", "c", "d", "e"].map(|key| (key.to_owned(), Level::Critical));
    world.lock().unwrap().extend(five);
    until("all are told", async || page.ids().len() == 5).await;
    assert!(page.got.lock().unwrap().iter().all(|(_, in_digest)| *in_digest), "{:?}", page.got);
    assert_eq!(replica.alerts.status().lost, 0);
    replica.stop().await;
    Ok(())
}

#[tokio::test]
async fn the_heartbeat_says_the_gravest_and_its_failure_makes_the_part_degraded() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let (url, world, inbox) = (cluster.primary_url(), World::default(), Arc::<Inbox>::default());
    set(&world, "locks", Level::Critical);
    let heard = Arc::<Mutex<Vec<Option<Severity>>>>::default();
    let hears = Arc::clone(&heard);
    let beat: Beat = Arc::new(move |gravest| {
        hears.lock().unwrap().push(gravest);
        Box::pin(async { Err(SendError::transient("nobody listens")) })
    });
    // An incident of an earlier life is open when this one begins to lead.
    let channels = [("inbox", &inbox, Severity::Warning)];
    let earlier = Replica::start(&url, &world, &channels).await;
    until("it is told", async || inbox.ids() == ["locks#1:raised"]).await;
    earlier.stop().await;
    let begun = SystemTime::now();
    let replica = Replica::with_heartbeat(&url, &world, &channels, Some(beat)).await;
    until("it beats", async || !heard.lock().unwrap().is_empty()).await;
    assert_eq!(*heard.lock().unwrap(), [Some(Severity::Critical)], "once a minute");
    let running = replica.running.as_ref().unwrap();
    let health = || (running.health)();
    until("health says so", async || health().detail.contains("the heartbeat is not heard: nobody listens"))
        .await;
    let status = replica.alerts.status();
    assert!(status.evaluated.is_some_and(|at| at >= begun), "the age of the last look is known");
    replica.stop().await;
    Ok(())
}

//! One at a time across hosts, by a lease.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use db_schedule::{BoxError, BoxFuture, Claim, Hold, Job, Lease, Missed, Outcome, Scheduler};
use tokio::sync::Notify;

use crate::{HOUR, MINUTE, Told, Wall, cron, pass};

/// What hosts share: who has the lease, and which due times are done.
#[derive(Default)]
struct Store {
    holder: Mutex<Option<&'static str>>,
    done: Mutex<BTreeMap<DateTime<Utc>, &'static str>>,
    steal: Notify,
}

/// One host's way to the store.
struct Host {
    name: &'static str,
    store: Arc<Store>,
}

struct Held {
    host: &'static str,
    store: Arc<Store>,
}

impl Lease for Host {
    fn try_take<'a>(&'a self, _: &'a str, due: DateTime<Utc>) -> BoxFuture<'a, Result<Claim, BoxError>> {
        Box::pin(async move {
            if let Some(by) = self.store.done.lock().unwrap().get(&due) {
                return Ok(Claim::Done { why: format!("{by} did it") });
            }
            let mut holder = self.store.holder.lock().unwrap();
            Ok(match *holder {
                Some(other) => Claim::Busy { why: format!("{other} has the lease") },
                None => {
                    *holder = Some(self.name);
                    Claim::Held(Box::new(Held { host: self.name, store: Arc::clone(&self.store) }))
                }
            })
        })
    }
}

impl Hold for Held {
    fn lost(&mut self) -> BoxFuture<'_, String> {
        Box::pin(async {
            self.store.steal.notified().await;
            "an operator took it".to_owned()
        })
    }

    fn release(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let mut holder = self.store.holder.lock().unwrap();
            if *holder == Some(self.host) {
                *holder = None;
            }
        })
    }
}

/// A host whose hourly job takes 20 minutes, and fails if it is told to.
fn host(wall: &Wall, name: &'static str, store: &Arc<Store>, fails: bool) -> (Scheduler, Arc<Told>) {
    let (told, kept) = (Arc::new(Told::default()), Arc::clone(store));
    let job = Job::new("backup", cron("0 * * * *"), move |run| {
        let store = Arc::clone(&kept);
        async move {
            tokio::select! {
                () = pass(20 * MINUTE) => {}
                () = run.cancelled() => return Err("given up".into()),
            }
            if fails {
                return Err("disk full".into());
            }
            store.done.lock().unwrap().insert(run.due, name);
            Ok(String::new())
        }
    });
    let lease = Arc::new(Host { name, store: Arc::clone(store) });
    let job = job.lease(lease).expect_within(2 * HOUR);
    let scheduler = wall.scheduler().job(job).observer(told.clone()).start().unwrap();
    (scheduler, told)
}

#[tokio::test(start_paused = true)]
async fn of_two_hosts_one_runs_and_the_other_says_why_it_waits() {
    let (wall, store) = (Wall::new(), Arc::new(Store::default()));
    let (first, told_first) = host(&wall, "db1", &store, false);
    let (second, told_second) = host(&wall, "db2", &store, false);
    pass(HOUR + MINUTE).await;
    let waiting: Vec<_> =
        [&first, &second].iter().filter_map(|host| host.status()[0].waiting.clone()).collect();
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    pass(HOUR / 2).await;
    assert_eq!(store.done.lock().unwrap().len(), 1);
    let all = [told_first.all(), told_second.all()].concat();
    let count = |part: &str| all.iter().filter(|line| line.contains(part)).count();
    assert_eq!((count("begins"), count("backup waits: "), count("did it")), (1, 1, 1), "{all:?}");
    assert!(all.iter().any(|line| line.ends_with("has the lease")), "{all:?}");
    let skipped: u64 = [&first, &second].iter().map(|host| host.status()[0].skipped).sum();
    assert_eq!(skipped, 1);
}

#[tokio::test(start_paused = true)]
async fn what_another_host_does_is_overdue_on_none() {
    let (wall, store) = (Wall::new(), Arc::new(Store::default()));
    let (_first, told_first) = host(&wall, "db1", &store, false);
    let (second, told_second) = host(&wall, "db2", &store, false);
    pass(12 * HOUR + 30 * MINUTE).await;
    let all = [told_first.all(), told_second.all()].concat();
    assert!(!all.iter().any(|line| line.contains("has not succeeded")), "{all:?}");
    assert!(second.status()[0].skipped > 0 || told_first.count("did it") > 0, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn where_the_first_host_fails_the_other_does_it() {
    let (wall, store) = (Wall::new(), Arc::new(Store::default()));
    *store.holder.lock().unwrap() = Some("db1");
    let (scheduler, told) = host(&wall, "db2", &store, false);
    pass(HOUR + 10 * MINUTE).await;
    assert_eq!(told.all(), ["backup waits: db1 has the lease"]);
    *store.holder.lock().unwrap() = None;
    pass(30 * MINUTE).await;
    assert_eq!(told.count("backup succeeded"), 1, "{:?}", told.all());
    assert_eq!(scheduler.status()[0].waiting, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_cancels_the_run_and_a_failed_run_gives_it_back() {
    let (wall, store) = (Wall::new(), Arc::new(Store::default()));
    let (scheduler, told) = host(&wall, "db1", &store, true);
    pass(HOUR + MINUTE).await;
    store.steal.notify_one();
    pass(MINUTE).await;
    let (_, _, outcome) = scheduler.status()[0].last.clone().unwrap();
    assert_eq!(outcome, Outcome::LeaseLost("an operator took it".to_owned()));
    assert_eq!(*store.holder.lock().unwrap(), None);
    pass(HOUR + HOUR / 2).await;
    assert_eq!(told.count("backup failed: disk full"), 1, "{:?}", told.all());
    assert_eq!(*store.holder.lock().unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_longer_than_the_interval_ends_in_one_run() {
    let (wall, store) = (Wall::new(), Arc::new(Store::default()));
    *store.holder.lock().unwrap() = Some("db1");
    let (scheduler, told) = host(&wall, "db2", &store, false);
    pass(4 * HOUR + MINUTE).await;
    *store.holder.lock().unwrap() = None;
    pass(30 * MINUTE).await;
    assert_eq!(told.count("begins"), 1, "{:?}", told.all());
    assert_eq!(told.count("has never succeeded"), 1, "it waits, and says so: {:?}", told.all());
    assert_eq!(scheduler.status()[0].missed, 3);
    assert_eq!(told.count("another host had the lease"), 3, "{:?}", told.all());
    let done: Vec<_> = store.done.lock().unwrap().keys().map(|due| due.format("%H:%M").to_string()).collect();
    assert_eq!(done, ["04:00"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_asked_for_fails_the_run_and_stops_nothing() {
    struct Broken(bool);
    impl Lease for Broken {
        fn try_take<'a>(&'a self, _: &'a str, _: DateTime<Utc>) -> BoxFuture<'a, Result<Claim, BoxError>> {
            assert!(!self.0, "the lease is broken");
            Box::pin(async { Err("the repository does not answer".into()) })
        }
    }
    for (panics, sentence) in [
        (false, "a failed: no lease: the repository does not answer"),
        (true, "a failed: no lease: it panicked: the lease is broken"),
    ] {
        let (wall, told) = (Wall::new(), Arc::new(Told::default()));
        let job = Job::new("a", cron("0 * * * *"), |_| async { Ok(String::new()) });
        let job = job.lease(Arc::new(Broken(panics))).missed(Missed::Skip);
        let _scheduler = wall.scheduler().job(job).observer(told.clone()).start().unwrap();
        pass(2 * HOUR + MINUTE).await;
        assert_eq!(told.count(sentence), 2, "{:?}", told.all());
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_for_another_hosts_lease() {
    let (wall, store) = (Wall::new(), Arc::new(Store::default()));
    *store.holder.lock().unwrap() = Some("db1");
    let (scheduler, told) = host(&wall, "db2", &store, false);
    pass(HOUR + MINUTE).await;
    let before = tokio::time::Instant::now();
    assert!(scheduler.stop(HOUR).await.cancelled.is_empty());
    assert!(before.elapsed() < MINUTE);
    assert_eq!(told.count("begins"), 0);
}

//! Jobs on a database: one host at a time, and the other says who it waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use db_platform::schedule::{BoxError, Claim, Cron, Event, Job, Lease, Observer, Outcome, Scheduler};
use db_platform::{AdvisoryLease, Config, Environment};
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn config(database: &TestDatabase, name: &str) -> Config {
    let mut config = Config::new(Environment::Test, database.url().parse().unwrap());
    config.connect.application_name = Some(name.to_owned());
    config
}

fn host(
    database: &TestDatabase,
    name: &str,
    runs: &Arc<AtomicUsize>,
    end: &Arc<tokio::sync::Notify>,
) -> Scheduler {
    let (runs, end) = (Arc::clone(runs), Arc::clone(end));
    let lease = AdvisoryLease::new(&config(database, name)).hold_at_least(Duration::from_millis(1));
    let job = Job::new("upkeep", Cron::parse("0 0 1 1 *", "UTC").unwrap(), move |run| {
        runs.fetch_add(1, Ordering::SeqCst);
        let end = Arc::clone(&end);
        async move {
            tokio::select! {
                () = end.notified() => Ok::<_, BoxError>("done".to_owned()),
                () = run.cancelled() => Err("cancelled".into()),
            }
        }
    });
    let job = job.lease(Arc::new(lease)).lease_poll(Duration::from_millis(50));
    let scheduler = Scheduler::builder().job(job).observer(Arc::new(Quiet)).start().unwrap();
    scheduler.run_now("upkeep").unwrap();
    scheduler
}

struct Quiet;

impl Observer for Quiet {
    fn on_event(&self, _: &Event<'_>) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hosts_one_runs_a_job_and_the_other_names_it() {
    let database = TestDatabase::empty().await.unwrap();
    let (runs, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let first = host(&database, "agent-a", &runs, &end);
    until("the first runs", || runs.load(Ordering::SeqCst) == 1).await;
    let second = host(&database, "agent-b", &runs, &end);
    until("the second waits", || second.status()[0].waiting.is_some()).await;
    let why = second.status()[0].waiting.clone().unwrap();
    assert!(
        why.starts_with("the lock of upkeep is taken: agent-a from ") && why.contains(" since 20"),
        "{why}"
    );
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    end.notify_one();
    until("the second runs", || runs.load(Ordering::SeqCst) == 2).await;
    assert_eq!(first.status()[0].successes, 1);
    end.notify_one();
    until("the second is done", || second.status()[0].successes == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_whose_connection_is_ended_cancels_the_run() {
    let database = TestDatabase::empty().await.unwrap();
    let (runs, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let scheduler = host(&database, "agent-a", &runs, &end);
    until("it runs", || runs.load(Ordering::SeqCst) == 1).await;
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'agent-a' AND datname = \
         current_database()",
    )
    .await
    .unwrap();
    until("it is cancelled", || scheduler.status()[0].last.is_some()).await;
    let (_, _, outcome) = scheduler.status()[0].last.clone().unwrap();
    assert!(matches!(&outcome, Outcome::LeaseLost(why) if why.contains("connection")), "{outcome}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_run_keeps_the_lock_for_hosts_whose_clocks_are_late() {
    let database = TestDatabase::empty().await.unwrap();
    let lease = AdvisoryLease::new(&config(&database, "agent-a")).hold_at_least(Duration::from_millis(400));
    let now = chrono::Utc::now();
    let Ok(Claim::Held(held)) = lease.try_take("upkeep", now).await else { panic!("the lock is free") };
    let taken = Instant::now();
    held.release().await;
    assert!(taken.elapsed() < Duration::from_millis(300), "the job does not wait");
    assert!(matches!(lease.try_take("upkeep", now).await.unwrap(), Claim::Busy { .. }));
    assert!(matches!(lease.try_take("another", now).await.unwrap(), Claim::Held(_)));
    loop {
        if let Claim::Held(_) = lease.try_take("upkeep", now).await.unwrap() {
            break;
        }
        assert!(taken.elapsed() < Duration::from_secs(20), "it is never given back");
    }
    assert!(taken.elapsed() >= Duration::from_millis(399), "{:?}", taken.elapsed());
}

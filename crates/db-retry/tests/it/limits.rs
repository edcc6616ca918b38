//! What limits retries and transactions: budgets, deadlines, conditions, and servers that have stopped.

use std::sync::Mutex;
use std::time::Instant;

use db_core::{Facts, Report, SqlState};
use db_retry::{BudgetConfig, time_left};
use db_testkit::Cluster;

use super::*;

#[tokio::test]
async fn a_transaction_on_a_server_that_stopped_ends_in_time() {
    let cluster = Cluster::builder().start().await.unwrap();
    let direct = Source::opening(cluster.primary_url());
    let limit = Duration::from_millis(400);
    let retry = retry().with(RetryConfig {
        transaction_timeout: Some(limit),
        resolve_timeout: Duration::from_millis(300),
        ..retry().config().clone()
    });
    let started = Instant::now();
    let result: Result<()> = retry
        .transaction(&direct, Begin::default(), &(), async |conn| {
            cluster.pause(0).await.unwrap();
            conn.batch_execute("SELECT 1").await?;
            Ok(())
        })
        .await;
    let elapsed = started.elapsed();
    cluster.resume(0).await.unwrap();
    assert!(matches!(result, Err(Error::DeadlineExceeded { .. })), "{result:?}");
    assert!(elapsed < limit * 4, "{elapsed:?}");
    assert_eq!(retry.commits().lost(), 0);

    let result: Result<()> = retry
        .transaction(&direct, Begin::default(), &(), async |_conn| {
            cluster.pause(0).await.unwrap();
            Ok(())
        })
        .await;
    cluster.resume(0).await.unwrap();
    assert_eq!(result.unwrap_err().class(), Class::Unknown, "COMMIT was sent");
    assert_eq!(retry.commits().unknown, 1);
}

#[tokio::test]
async fn what_failed_again_and_again_is_retried_until_the_budget_is_spent() {
    let (_database, direct, _observer) = ledger().await;
    let faulty = Faulty::new(direct);
    faulty.fail_from(1, || Error::ConnectionLost { reason: "planted".to_owned() });
    let budget = BudgetConfig { reserve: 5, ..BudgetConfig::default() };
    let retry = Retry::new(RetryConfig { budget: Some(budget), ..retry().config().clone() });
    let read = async |retry: &Retry| {
        retry.read(&faulty, async |conn| Ok::<_, Error>(number(conn, "SELECT 7::bigint AS n").await)).await
    };
    for _ in 0..100 {
        read(&retry.clone()).await.unwrap_err();
    }
    assert_eq!(faulty.acquires(), 105);
    assert_eq!(retry.budget().unwrap().refused, 99, "the second call had two retries");
    let free = retry.with(RetryConfig { budget: None, ..retry.config().clone() });
    read(&free).await.unwrap_err();
    assert_eq!(faulty.acquires(), 109, "one call alone is not bound by it");
    faulty.heal();
    for _ in 0..5 {
        read(&retry).await.unwrap();
        let missing =
            retry.transaction(&faulty, Begin::default(), &(), async |_| Err::<(), _>(Error::NotFound));
        missing.await.unwrap_err();
    }
    assert!(retry.budget().unwrap().available >= 1.0, "ten answers pay for one retry");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_could_not_end_in_time_does_not_start() {
    let deadline = Some(Duration::from_secs(10));
    let retry = Retry::new(RetryConfig { deadline, base: Duration::ZERO, ..RetryConfig::default() });
    let left = Mutex::new(Vec::new());
    let started = tokio::time::Instant::now();
    let result: Result<()> = retry
        .run(|_| async {
            left.lock().unwrap().push(time_left().unwrap().as_secs());
            tokio::time::sleep(Duration::from_secs(4)).await;
            Err(Error::ConnectionLost { reason: "planted".to_owned() })
        })
        .await;
    assert!(result.is_err());
    assert_eq!(*left.lock().unwrap(), [10, 6], "what is left of ten seconds is known inside");
    assert_eq!(started.elapsed(), Duration::from_secs(8), "a third one would take four");
    assert_eq!(time_left(), None);
}

#[tokio::test(start_paused = true)]
async fn a_call_inside_another_ends_with_it() {
    let outer = Retry::new(RetryConfig { deadline: Some(Duration::from_secs(3)), ..RetryConfig::never() });
    let inner = Retry::new(RetryConfig { attempts: 1_000.try_into().unwrap(), ..RetryConfig::connecting() });
    let started = tokio::time::Instant::now();
    let lost = || Error::ConnectionLost { reason: "planted".to_owned() };
    let result: Result<()> = outer.run(|_| inner.run(|_| async { Err(lost()) })).await;
    assert!(result.is_err());
    assert!(started.elapsed() <= Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_connection_beyond_the_deadline() {
    let never: Source = Source::new(|_| std::future::pending());
    let started = tokio::time::Instant::now();
    let result: Result<()> = Retry::default().read(&never, async |_| Ok::<_, Error>(())).await;
    assert!(matches!(result, Err(Error::DeadlineExceeded { .. })), "{result:?}");
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[derive(Debug)]
struct Coarse(Error);

impl From<Error> for Coarse {
    fn from(error: Error) -> Self {
        Coarse(error)
    }
}

impl Classify for Coarse {
    fn class(&self) -> Class {
        Class::Permanent
    }
}

#[tokio::test]
async fn a_condition_of_the_callers_own_decides() {
    let (_database, direct, _observer) = ledger().await;
    let runs = AtomicU32::new(0);
    let run = async |retry: &Retry<_>, sql: &'static str| {
        runs.store(0, Ordering::Relaxed);
        let result: Result<(), Coarse> = retry
            .transaction(&direct, Begin::default(), &(), async |conn| {
                runs.fetch_add(1, Ordering::Relaxed);
                Ok(conn.batch_execute(sql).await.map_err(Error::from)?)
            })
            .await;
        result.unwrap_err();
        AtomicU32::load(&runs, Ordering::Relaxed)
    };
    let divided =
        retry().retry_if(|error: &Coarse| error.0.sqlstate().is_some_and(|code| code.as_str() == "23505"));
    let duplicate = "CREATE TEMP TABLE once (n int PRIMARY KEY); INSERT INTO once VALUES (1), (1)";
    assert_eq!(run(&divided, duplicate).await, 4);
    assert_eq!(run(&divided, "SELECT nothing").await, 1);
}

/// Knows what the server said, as a source does that reads the wire; notes what it is told of it.
fn wiretapped(url: &str, said: Option<SqlState>) -> (Source, Arc<Mutex<Vec<Report>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&told);
    let source = Source::opening(url)
        .knowing(move |_| Facts { failed_with: said, ..Facts::UNKNOWN })
        .told(move |_, what| notes.lock().unwrap().push(what));
    (source, told)
}

#[tokio::test]
async fn what_the_server_said_counts_more_than_what_the_caller_made_of_it() {
    let (database, _, _observer) = ledger().await;
    for (said, attempts) in [
        (None, 1),
        (Some(SqlState::UNIQUE_VIOLATION), 1),
        (Some(SqlState::SERIALIZATION_FAILURE), 4),
        (Some(SqlState::DEADLOCK_DETECTED), 4),
    ] {
        let ((pool, _), runs) = (wiretapped(database.url(), said), AtomicU32::new(0));
        let failed: Result<(), Coarse> = retry()
            .transaction(&pool, Begin::default(), &(), async |_| {
                runs.fetch_add(1, Ordering::Relaxed);
                Err(Coarse(Error::NotFound))
            })
            .await;
        failed.unwrap_err();
        assert_eq!(AtomicU32::load(&runs, Ordering::Relaxed), attempts, "{said:?}");
    }
}

/// Replay on a standby ends sessions that hold a snapshot and are between two statements: the server is well.
#[tokio::test]
async fn a_read_whose_session_replay_ended_avoids_the_server_and_does_not_declare_it_gone() {
    let (database, _, _observer) = ledger().await;
    let lost = || Error::ConnectionLost { reason: "connection closed".to_owned() };
    for (said, expected) in [
        (None, Report::ServerGone),
        (Some(SqlState::ADMIN_SHUTDOWN), Report::ServerGone),
        (Some(SqlState::SERIALIZATION_FAILURE), Report::Conflict),
    ] {
        let (pool, told) = wiretapped(database.url(), said);
        let read: Result<()> = retry().read(&pool, async |_| Err(lost())).await;
        read.unwrap_err();
        assert_eq!(*told.lock().unwrap(), [expected; 4], "{said:?}");
    }
}

/// What runs on the connection is held once, however many layers are around it.
#[tokio::test]
async fn the_future_of_a_call_is_hardly_larger_than_that_of_its_work() {
    const LARGE: usize = 100_000;
    async fn large(conn: &mut AsyncPgConnection) -> Result<()> {
        let held = [1_u8; LARGE];
        conn.batch_execute("SELECT 1").await?;
        assert_eq!(held.iter().filter(|byte| **byte == 1).count(), LARGE);
        Ok(())
    }
    let (retry, direct) = (retry(), Source::opening(""));
    let sizes = [
        size_of_val(&retry.read(&direct, large)),
        size_of_val(&retry.transaction(&direct, Begin::default(), &(), large)),
        size_of_val(&retry.transaction_once(&direct, Begin::default(), &(), large)),
    ];
    assert!(sizes.iter().all(|size| *size < LARGE + 10_000), "{sizes:?}");
}

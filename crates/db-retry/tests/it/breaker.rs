//! A breaker opens when its server is gone, turns callers away at once, and closes by itself.

use std::sync::Mutex;
use std::time::Instant;

use db_retry::{BreakerConfig, BreakerState, Guarded};
use db_testkit::{Cluster, assert_passes_on, until};

use super::*;

fn config() -> BreakerConfig {
    BreakerConfig { min_calls: 3.try_into().unwrap(), ..BreakerConfig::default() }
}

async fn read_seven<A: Acquire + Send + Sync + 'static>(guarded: &Guarded<A>, retry: &Retry) -> Result<i64> {
    retry
        .read(guarded, async |conn| {
            Ok::<_, Error>(sql_query("SELECT 7::bigint AS n").get_result::<Number>(conn).await?.n)
        })
        .await
}

#[tokio::test]
async fn a_server_that_is_gone_is_not_asked_until_it_is_back() {
    let (database, _, _observer) = ledger().await;
    let (proxy, url) = proxied(&database);
    let changes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&changes);
    let guarded = Guarded::watched(Source::opening(url), config(), move |change| {
        seen.lock().unwrap().push(change.state);
    });
    let once = Retry::new(RetryConfig::never());
    assert_eq!(read_seven(&guarded, &once).await.unwrap(), 7);
    proxy.refuse();
    proxy.cut();
    // Two failures in three calls.
    for _ in 0..2 {
        let error = read_seven(&guarded, &once).await.unwrap_err();
        assert!(!matches!(error, Error::CircuitOpen(_)), "{error}");
    }
    let started = Instant::now();
    for _ in 0..1_000 {
        let error = read_seven(&guarded, &retry()).await.unwrap_err();
        let Error::CircuitOpen(open) = &error else { panic!("{error}") };
        assert!(open.cause.contains("connecting to server"), "{error}");
        assert_eq!(error.class(), Class::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(1), "nobody waits, and nobody tries again");
    until("it probes", async || guarded.status().probes >= 2).await;
    proxy.heal();
    until("it has closed", async || guarded.status().state == BreakerState::Closed).await;
    assert_eq!(read_seven(&guarded, &once).await.unwrap(), 7);
    let status = guarded.status();
    assert_eq!((status.opened, status.calls, status.failed), (1, 1, 0));
    assert!(status.refused >= 1_000);
    let changes = changes.lock().unwrap();
    assert_eq!(changes[..1], [BreakerState::Open]);
    assert_eq!(changes[changes.len() - 2..], [BreakerState::HalfOpen, BreakerState::Closed]);
}

/// Hands out connections that were opened while all was well, then new ones.
fn idle_first(idle: Vec<AsyncPgConnection>, direct: Source) -> Source {
    let idle = Mutex::new(idle);
    Source::new(move |site| {
        let (kept, direct) = (idle.lock().unwrap().pop(), direct.clone());
        async move {
            match kept {
                Some(conn) => Ok(Box::new(conn)),
                None => direct.acquire_at(site).await,
            }
        }
    })
}

#[tokio::test]
async fn a_server_that_has_stopped_opens_it_and_one_that_goes_on_closes_it() {
    let cluster = Cluster::builder().start().await.unwrap();
    let direct = Source::opening(cluster.primary_url());
    let mut idle = Vec::new();
    for _ in 0..3 {
        idle.push(*direct.acquire().await.unwrap());
    }
    let config = BreakerConfig { probe_timeout: Duration::from_millis(300), ..config() };
    let guarded = Guarded::new(idle_first(idle, direct), config);
    let limit = Some(Duration::from_millis(100));
    let once = Retry::new(RetryConfig { read_timeout: limit, ..RetryConfig::never() });
    cluster.pause(0).await.unwrap();
    for _ in 0..3 {
        let error = read_seven(&guarded, &once).await.unwrap_err();
        assert!(matches!(error, Error::DeadlineExceeded { .. }), "{error}");
    }
    assert_ne!(guarded.status().state, BreakerState::Closed);
    until("a probe is under way", async || guarded.status().state == BreakerState::HalfOpen).await;
    assert!(matches!(read_seven(&guarded, &once).await, Err(Error::CircuitOpen(_))), "no user's call is one");
    cluster.resume(0).await.unwrap();
    until("it has closed", async || guarded.status().state == BreakerState::Closed).await;
}

#[tokio::test]
async fn what_says_nothing_about_the_server_does_not_open_it() {
    let (_database, direct, _observer) = ledger().await;
    let faulty = Faulty::new(direct);
    let guarded = Guarded::new(faulty.clone(), config());
    let once = Retry::new(RetryConfig::never());
    for _ in 0..20 {
        let violated: Result<()> = once
            .transaction(&guarded, Begin::default(), &(), async |conn| {
                insert(conn, 1).await?;
                insert(conn, 1).await
            })
            .await;
        violated.unwrap_err();
    }
    faulty.fail_from(1, || Error::QueueFull {
        endpoint: db_core::Endpoint::new("db", 5432),
        waiting: 9,
        limit: 9,
    });
    for _ in 0..20 {
        assert!(matches!(read_seven(&guarded, &once).await, Err(Error::QueueFull { .. })));
    }
    let status = guarded.status();
    assert_eq!((status.state, status.calls, status.failed), (BreakerState::Closed, 20, 0));
}

/// Never answers the first five who ask, and fails the others at once. Counts them in `asked`.
fn dead(asked: Arc<AtomicU32>) -> Source {
    Source::new(move |_| {
        let before = asked.fetch_add(1, Ordering::Relaxed);
        async move {
            match before {
                0..5 => std::future::pending().await,
                _ => Err(Error::ConnectionLost { reason: "planted".to_owned() }),
            }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_when_it_opens_are_turned_away_too() {
    let guarded = Guarded::new(dead(Arc::default()), config());
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let guarded = guarded.clone();
        waiting.spawn(async move { guarded.acquire().await.map(drop) });
    }
    tokio::task::yield_now().await;
    for _ in 0..3 {
        guarded.acquire().await.map(drop).unwrap_err();
    }
    let started = tokio::time::Instant::now();
    for result in waiting.join_all().await {
        assert!(matches!(result, Err(Error::CircuitOpen(_))), "{result:?}");
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn one_probe_at_a_time_at_most_a_quarter_of_a_second_apart() {
    let asked = Arc::new(AtomicU32::new(5));
    let guarded = Guarded::new(dead(Arc::clone(&asked)), config());
    for _ in 0..3 {
        guarded.acquire().await.map(drop).unwrap_err();
    }
    let before = AtomicU32::load(&asked, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let probes = u64::from(AtomicU32::load(&asked, Ordering::Relaxed) - before);
    assert_eq!(guarded.status().probes, probes, "nobody else asks");
    assert!((40..=90).contains(&probes), "{probes} in ten seconds");
    drop(guarded);
    let last = AtomicU32::load(&asked, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(AtomicU32::load(&asked, Ordering::Relaxed), last, "it ends with its breaker");
}

#[tokio::test]
async fn a_guarded_source_hides_nothing_of_what_it_wraps() {
    let database = TestDatabase::empty().await.unwrap();
    assert_passes_on(database.url(), |source| Guarded::new(source, config())).await;
}

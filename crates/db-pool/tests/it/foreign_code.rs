//! Observers and password sources are code of others: where they panic or block the pool goes on, and says
//! whose fault it was.

use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use db_core::{Class, Classify, DatabaseUrl, Error, LinkEvent, Observe, QueryEvent};
use db_pool::{ConnectConfig, Connector, Pool, PoolConfig};
use db_testkit::{Proxy, TestDatabase, until};
use diesel_async::SimpleAsyncConnection;

use crate::{backend, pool_config};

/// An observer that does the same with every event of links.
struct OnLink<F>(F);

impl<F: Fn(&LinkEvent<'_>) + Send + Sync> Observe for OnLink<F> {
    fn on_link(&self, event: &LinkEvent<'_>) {
        (self.0)(event);
    }

    fn on_query(&self, _: &QueryEvent<'_>) {}
}

fn connector(url: &str) -> (Connector, db_core::Endpoint) {
    let url: DatabaseUrl = url.parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    (Connector::new(url, ConnectConfig::default()), endpoint)
}

fn observed(url: &str, observer: impl Observe + 'static, config: PoolConfig) -> Pool {
    let (connector, endpoint) = connector(url);
    Pool::open(connector.observed_by([Arc::new(observer) as Arc<dyn Observe>]), endpoint, config)
}

#[tokio::test]
async fn an_observer_that_panics_costs_no_connection() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = observed(database.url(), OnLink(|_: &LinkEvent<'_>| panic!("on purpose")), pool_config(2));
    for _ in 0..3 {
        pool.get().await.unwrap();
    }
    assert_eq!((pool.status().creates(), pool.status().connect_errors), (1, 0));
}

#[tokio::test]
async fn an_observer_that_panics_at_a_stall_does_not_end_the_upkeep() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    let panics = |event: &LinkEvent<'_>| assert!(!matches!(event, LinkEvent::Stalled { .. }), "on purpose");
    let pool = observed(&proxy.through(database.url()).unwrap(), OnLink(panics), pool_config(2));
    let mut conn = pool.get().await.unwrap();
    proxy.stall();
    let asking = tokio::spawn(async move { conn.batch_execute("SELECT 1").await });
    until("it is noticed", async || pool.status().stalled).await;
    proxy.heal();
    asking.await.unwrap().unwrap();
    until("a new connection is opened", async || pool.get().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_an_observer_that_blocks() {
    let database = TestDatabase::empty().await.unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let blocks = move |_: &LinkEvent<'_>| {
        let _ = blocked.lock().unwrap().recv();
    };
    let pool = observed(database.url(), OnLink(blocks), pool_config(2));
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(pool.status().creates(), 2);
    drop((one, two, release));
}

fn asking<F>(url: &str, ask: impl Fn() -> F + Send + Sync + 'static, timeout: Duration) -> Pool
where
    F: Future<Output = Result<String, db_pool::PasswordError>> + Send + 'static,
{
    let (connector, endpoint) = connector(url);
    let config = PoolConfig { acquire_timeout: Some(timeout), ..pool_config(2) };
    Pool::open(connector.with_password(ask), endpoint, config)
}

/// The error of a caller, which must not wait longer than it is willing to.
#[track_caller]
fn check(error: &Error, begun: Instant, timeout: Duration, words: &str) {
    assert!(begun.elapsed() < timeout + Duration::from_millis(100), "{:?}", begun.elapsed());
    let text = error.to_string();
    assert!(text.contains(words) && text.contains("with_password"), "{text}");
    assert_eq!(error.class(), Class::Unavailable, "it may answer the next time");
}

#[tokio::test]
async fn a_password_source_that_panics_is_named_and_asked_at_most_ten_times_a_second() {
    let database = TestDatabase::empty().await.unwrap();
    let timeout = Duration::from_millis(500);
    let pool = asking(database.url(), || -> std::future::Pending<_> { panic!("on purpose") }, timeout);
    let begun = Instant::now();
    check(&pool.get().await.unwrap_err(), begun, timeout, "the password source panicked");
    let tried = pool.status().connect_errors;
    assert!((1..=6).contains(&tried), "{tried} attempts in half a second");
}

#[tokio::test]
async fn a_password_source_that_does_not_answer_is_named() {
    let database = TestDatabase::empty().await.unwrap();
    let timeout = Duration::from_millis(200);
    let pool = asking(database.url(), std::future::pending, timeout);
    let begun = Instant::now();
    check(&pool.get().await.unwrap_err(), begun, timeout, "the password source has not answered for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_source_that_blocks_holds_no_caller_up() {
    let database = TestDatabase::empty().await.unwrap();
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Arc::new(Mutex::new(blocked));
    let ask = move || {
        let blocked = Arc::clone(&blocked);
        async move {
            {
                let _ = blocked.lock().unwrap().recv();
            };
            Err::<String, _>("at last".into())
        }
    };
    let timeout = Duration::from_millis(300);
    let pool = asking(database.url(), ask, timeout);
    let begun = Instant::now();
    check(&pool.get().await.unwrap_err(), begun, timeout, "the password source has not answered for");
    drop(release);
}

#[tokio::test]
async fn a_password_source_that_refuses_for_a_moment_is_asked_again() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let password =
        String::from_utf8(url.postgres_config(&url.hosts()[0]).get_password().unwrap().to_vec()).unwrap();
    let asked = std::sync::atomic::AtomicU64::new(0);
    let ask = move || {
        let first = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0;
        let answer = if first { Err("the vault is sealed".into()) } else { Ok(password.clone()) };
        async move { answer }
    };
    let pool = asking(database.url(), ask, Duration::from_secs(5));
    pool.get().await.unwrap();
    assert_eq!(pool.status().connect_errors, 1);
}

#[tokio::test]
async fn durations_without_end_are_never() {
    let database = TestDatabase::empty().await.unwrap();
    for endless in [None, Some(Duration::MAX)] {
        let config = PoolConfig {
            acquire_timeout: endless,
            idle_timeout: endless,
            max_lifetime: endless,
            check_after: endless,
            keepalive: endless,
            leak_threshold: endless,
            salvage_timeout: Duration::MAX,
            ..pool_config(1)
        };
        let url: DatabaseUrl = database.url().parse().unwrap();
        let endpoint = url.hosts()[0].clone();
        let connect = ConnectConfig {
            connect_timeout: Duration::MAX,
            socket_timeout: endless,
            statement_timeout: endless,
            lock_timeout: endless,
            idle_in_transaction_timeout: endless,
            ..ConnectConfig::default()
        };
        let pool = Pool::open(Connector::new(url, connect), endpoint, config);
        let mut held = pool.get().await.unwrap();
        let first = backend(&mut held).await;
        let waiting = tokio::spawn({
            let pool = pool.clone();
            async move { backend(&mut pool.get().await.unwrap()).await }
        });
        until("it waits", async || pool.status().waiting == 1).await;
        held.batch_execute("BEGIN").await.unwrap();
        drop(held);
        assert_eq!(waiting.await.unwrap(), first, "{endless:?}");
    }
}

//! What operators do to a pool and see of it: classes, suspending, resizing, leaks, statements.

use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{Class, Classify, Error};
use db_pool::PoolConfig;
use db_testkit::{TestDatabase, until};
use diesel::sql_types::Integer;
use diesel::{IntoSql, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::{Log, backend, number, open, pool, pool_config, word};

#[tokio::test]
async fn background_work_leaves_connections_to_those_who_wait() {
    let database = TestDatabase::empty().await.unwrap();
    let pool = open(database.url(), PoolConfig { background: Some(2.try_into().unwrap()), ..pool_config(3) });
    let background = pool.background();
    let held = (background.get().await.unwrap(), background.get().await.unwrap());
    let mut more: Vec<_> = (0..10)
        .map(|_| {
            let background = background.clone();
            tokio::spawn(async move { background.get().await.map(drop) })
        })
        .collect();
    until("background callers wait", async || pool.status().waiting == 10).await;
    assert_eq!(pool.status().open, 2, "nothing is opened for those who may not have it");
    drop(pool.get().await.unwrap());
    assert!(more.iter().all(|caller| !caller.is_finished()), "a third one got through");
    drop(held);
    for caller in more.drain(..) {
        caller.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn background_work_is_not_starved_by_those_who_wait() {
    let (_database, pool) = pool(1).await;
    let held = pool.get().await.unwrap();
    let background = pool.background();
    let waiting = tokio::spawn(async move { background.get().await.map(drop) });
    until("it waits", async || pool.status().waiting == 1).await;
    let later: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut conn = pool.get().await.unwrap();
                conn.batch_execute("SELECT pg_sleep(0.01)").await.unwrap();
            })
        })
        .collect();
    until("they wait", async || pool.status().waiting == 21).await;
    drop(held);
    waiting.await.unwrap().unwrap();
    assert!(later.iter().filter(|caller| caller.is_finished()).count() <= 1, "it came first");
    for caller in later {
        caller.await.unwrap();
    }
}

#[tokio::test]
async fn a_suspended_pool_lets_callers_wait_and_then_serves_them() {
    let (_database, pool) = pool(2).await;
    drop(pool.get().await.unwrap());
    pool.suspend();
    let caller = tokio::spawn({
        let pool = pool.clone();
        async move { backend(&mut pool.get().await.unwrap()).await }
    });
    until("the caller waits", async || pool.status().waiting == 1).await;
    assert_eq!(pool.status().idle, 1, "although a connection is idle");
    pool.resume();
    caller.await.unwrap();
}

#[tokio::test]
async fn whoever_waited_already_waits_on_while_a_pool_is_suspended() {
    let (_database, pool) = pool(1).await;
    let held = pool.get().await.unwrap();
    let caller = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    until("the caller waits", async || pool.status().waiting == 1).await;
    pool.suspend();
    drop(held);
    until("the connection is back", async || pool.status().idle == 1 && pool.status().waiting == 1).await;
    assert!(!caller.is_finished() && pool.status().acquires == 1);
    pool.resume();
    caller.await.unwrap().unwrap();
}

/// A caller that waits has been handed a connection and has not run yet when the pool is suspended.
#[tokio::test]
async fn a_connection_handed_over_in_the_instant_of_a_suspension_goes_back() {
    for background in [false, true] {
        let (_database, pool) = pool(2).await;
        let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
        let caller = tokio::spawn({
            let pool = if background { pool.background() } else { pool.clone() };
            async move { pool.get().await.map(drop) }
        });
        until("the caller waits", async || pool.status().waiting == 1).await;
        // No await between the two: this test's one thread runs the caller after both.
        drop(held);
        pool.suspend();
        // The caller runs now, and what it does takes no time.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        until("both are back", async || pool.status().idle == 2 && pool.status().waiting == 1).await;
        assert_eq!((caller.is_finished(), pool.status().acquires), (false, 2), "background: {background}");
        pool.resume();
        caller.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_suspension_ends_the_wait_at_the_callers_deadline_or_with_the_pool() {
    let database = TestDatabase::empty().await.unwrap();
    let config = PoolConfig { acquire_timeout: Some(Duration::from_millis(50)), ..pool_config(1) };
    let hasty = open(database.url(), config);
    hasty.suspend();
    assert!(matches!(hasty.get().await, Err(Error::PoolTimeout { .. })));
    let patient = open(database.url(), pool_config(1));
    patient.suspend();
    let (closed, drained) = tokio::join!(patient.get(), async {
        until("the caller waits", async || patient.status().waiting == 1).await;
        patient.shutdown(Duration::from_secs(5)).await
    });
    assert!(matches!(closed, Err(Error::PoolClosed { .. })) && drained.is_clean());
    patient.resume();
    assert!(matches!(patient.get().await, Err(Error::PoolClosed { .. })), "what is closed stays closed");
}

#[tokio::test]
async fn a_pool_grows_and_shrinks_and_never_exceeds_what_it_was_told() {
    let (_database, pool) = pool(2).await;
    for round in 0..10 {
        let (few, many) = (3 + round % 2, 8);
        pool.resize(few.try_into().unwrap());
        let mut held = Vec::new();
        for _ in 0..few {
            held.push(pool.get().await.unwrap());
        }
        assert_eq!((pool.status().open, pool.status().max), (few, few));
        pool.resize(many.try_into().unwrap());
        for _ in few..many {
            held.push(pool.get().await.unwrap());
        }
        assert_eq!(pool.status().open, many);
        pool.resize(few.try_into().unwrap());
        assert_eq!(pool.status().open, many, "those in use stay");
        drop(held);
        until("the surplus is closed", async || pool.status().open <= few).await;
    }
}

#[tokio::test]
async fn whoever_waits_in_vain_learns_who_holds_the_oldest() {
    let database = TestDatabase::empty().await.unwrap();
    let config = PoolConfig { acquire_timeout: Some(Duration::from_millis(100)), ..pool_config(2) };
    let pool = open(database.url(), config);
    let mut oldest = pool.get().await.unwrap();
    let line = line!() - 1;
    word(&mut oldest, "SELECT 'hunter2' AS word").await;
    let _younger = pool.get().await.unwrap();
    let error = pool.get().await.unwrap_err();
    assert_eq!(error.class(), Class::Overloaded);
    let text = error.to_string();
    assert!(text.contains("2 open, 0 idle, 0 waiting, at most 2"), "{text}");
    assert!(
        text.contains(&format!("tests/it/operating.rs:{line}, last statement: SELECT ? AS word")),
        "{text}"
    );
    let Error::PoolTimeout { oldest: Some(holder), .. } = error else { panic!("{error}") };
    assert_eq!(holder.site.line(), line);
    assert_eq!(pool.holders().len(), 2);
}

#[test]
fn a_leak_is_reported_once_with_its_site_its_span_and_its_statement_and_again_when_it_ends() {
    let log = Log::default();
    let _guard = log.listen();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let threshold = Some(Duration::from_millis(150));
        let pool = open(database.url(), PoolConfig { leak_threshold: threshold, ..pool_config(2) });
        drop(pool.get().await.unwrap());
        let span = tracing::info_span!("checkout_basket", basket = 7);
        let mut leaked = tracing::Instrument::instrument(pool.get(), span).await.unwrap();
        let line = line!() - 1;
        sql_query("SELECT 'hunter2'").execute(&mut leaked).await.unwrap();
        until("it is reported", async || pool.status().leaks == 1).await;
        let [report] = &log.lines_with("held for longer")[..] else { panic!("one report") };
        for part in ["WARN", "checkout_basket{basket=7}", "SELECT ?", &format!("operating.rs:{line}")] {
            assert!(report.contains(part), "{part} in {report}");
        }
        assert!(!report.contains("hunter2"), "{report}");
        // Many rounds of upkeep later it is still one report.
        let until_then = Instant::now() + Duration::from_millis(500);
        until("time has passed", async || Instant::now() > until_then).await;
        assert_eq!((pool.status().leaks, log.lines_with("held for longer").len()), (1, 1));
        drop(leaked);
        assert_eq!(log.lines_with("returned after all").len(), 1);
    });
}

#[tokio::test]
async fn prepared_statements_are_listed_with_their_uses() {
    let (_database, pool) = pool(2).await;
    let (mut one, mut two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    for (conn, times) in [(&mut one, 2), (&mut two, 1)] {
        for _ in 0..times {
            assert_eq!(diesel::select(7.into_sql::<Integer>()).get_result::<i32>(conn).await.unwrap(), 7);
        }
    }
    let statements = pool.statements();
    let [seven] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!((&*seven.text, seven.connections, seven.uses), ("SELECT $1", 2, 3));
    assert!(
        seven.busy > Duration::ZERO
            && seven.mean() <= seven.busy
            && seven.unused_for < Duration::from_secs(60)
    );
}

#[tokio::test]
async fn what_a_pool_did_is_counted() {
    let (_database, pool) = pool(1).await;
    let held = pool.get().await.unwrap();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    until("it waits", async || pool.status().waiting == 1).await;
    drop(held);
    waiter.await.unwrap().unwrap();
    drop(pool.get().await.unwrap());
    let status = pool.status();
    assert_eq!((status.acquires, status.releases(), status.creates()), (3, 3, 1));
    assert_eq!((status.wait_times.count(), status.hold_times.count()), (3, 3));
    assert!(status.wait_times.quantile(1.0) > Duration::ZERO && status.create_times.mean() > Duration::ZERO);
}

#[tokio::test]
async fn an_idle_connection_is_kept_alive_and_one_that_does_not_answer_is_replaced() {
    let database = TestDatabase::empty().await.unwrap();
    let config = PoolConfig { min: 1, keepalive: Some(Duration::from_millis(200)), ..pool_config(1) };
    let pool = open(database.url(), config);
    let mut observer = database.connect().await.unwrap();
    // An empty statement is all that it sends; the server notes when it came.
    let asked = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() \
                 AND pid <> pg_backend_pid() AND state = 'idle' AND query = '' AND state_change > backend_start + interval '150 ms'";
    until("it was asked", async || number(&mut observer, asked).await == 1).await;
    assert_eq!(pool.status().creates(), 1);
}

#[tokio::test]
async fn an_observer_that_panics_takes_no_connection_with_it() {
    struct Panics;
    impl db_core::Observe for Panics {
        fn on_query(&self, _: &db_core::QueryEvent<'_>) {
            panic!("on purpose");
        }
    }
    let database = TestDatabase::empty().await.unwrap();
    let url: db_core::DatabaseUrl = database.url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let observer: Arc<dyn db_core::Observe> = Arc::new(Panics);
    let connector = db_pool::Connector::new(url, Default::default()).observed_by([observer]);
    let pool = db_pool::Pool::open(connector, endpoint, pool_config(1));
    for _ in 0..3 {
        number(&mut pool.get().await.unwrap(), "SELECT 7::bigint AS n").await;
    }
    assert_eq!(pool.status().creates(), 1);
}

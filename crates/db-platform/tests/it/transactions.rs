//! Transactions through the whole stack: what the server said, markers, timeouts, and who is named in
//! reports.

use std::sync::atomic::{AtomicU32, Ordering};

use db_platform::retry::marker;
use db_platform::{Class, Classify, Error, RetryConfig};
use diesel_async::SimpleAsyncConnection;

use super::*;

/// A service's own error, which says of none of its causes what to do.
#[derive(Debug)]
struct Coarse;

impl From<Error> for Coarse {
    fn from(_: Error) -> Self {
        Coarse
    }
}

impl Classify for Coarse {
    fn class(&self) -> Class {
        Class::Permanent
    }
}

const PROVOKE: &str = "DO $$ BEGIN RAISE EXCEPTION 'no luck' USING ERRCODE = '40001'; END $$";

#[tokio::test]
async fn a_conflict_is_run_again_whatever_the_callers_own_error_makes_of_it() {
    let cluster = Cluster::builder().start().await.unwrap();
    let db = db(&cluster).await;
    let runs = AtomicU32::new(0);
    db.transaction::<_, Coarse>(async |conn| {
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            conn.batch_execute(PROVOKE).await.map_err(Error::from)?;
        }
        Ok(())
    })
    .await
    .unwrap();
    // Swallowed, it is what the transaction failed with all the same.
    runs.store(0, Ordering::Relaxed);
    db.transaction::<_, Coarse>(async |conn| {
        if runs.fetch_add(1, Ordering::Relaxed) == 0 {
            let _ = conn.batch_execute(PROVOKE).await;
        }
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!((AtomicU32::load(&runs, Ordering::Relaxed), db.retries().of(Class::Conflict)), (2, 2));
}

#[tokio::test]
async fn a_marked_transaction_leaves_its_marker_and_a_failed_one_leaves_none() {
    let cluster = Cluster::builder().start().await.unwrap();
    let db = db(&cluster).await;
    let mut conn = cluster.connect(0).await.unwrap();
    let work = async |conn: &mut AsyncPgConnection| Ok::<_, Error>(conn.batch_execute("SELECT 1").await?);
    let error = db.build_transaction().marked().run(work).await.unwrap_err();
    assert_eq!(error.sqlstate().unwrap().as_str(), "42P01", "there is no table yet: {error}");
    marker::apply(&mut conn).await.unwrap();
    db.build_transaction().marked().run(work).await.unwrap();
    db.build_transaction().marked().read_only().run(work).await.unwrap();
    let failed = db.build_transaction().marked().run(async |_| Err::<(), _>(Error::NotFound)).await;
    assert!(matches!(failed, Err(Error::NotFound)));
    let markers = sql_query("SELECT count(*) AS n FROM db_platform_commits WHERE NOT fenced");
    assert_eq!(markers.get_result::<Number>(&mut conn).await.unwrap().n, 1);
}

#[tokio::test]
async fn a_transaction_may_have_a_timeout_and_retries_of_its_own() {
    let cluster = Cluster::builder().start().await.unwrap();
    let db = db(&cluster).await;
    let runs = AtomicU32::new(0);
    let limit = Duration::from_millis(200);
    let slow = db.build_transaction().timeout(limit).run(async |conn| {
        runs.fetch_add(1, Ordering::Relaxed);
        conn.batch_execute("SELECT pg_sleep(60)").await?;
        Ok::<_, Error>(())
    });
    assert!(matches!(slow.await, Err(Error::DeadlineExceeded { .. })));
    assert_eq!(AtomicU32::load(&runs, Ordering::Relaxed), 1, "what was too slow is too slow again");
    runs.store(0, Ordering::Relaxed);
    let config = RetryConfig { attempts: 7.try_into().unwrap(), ..RetryConfig::transaction() };
    let unlucky = db.build_transaction().retry(config).run(async |conn| {
        runs.fetch_add(1, Ordering::Relaxed);
        conn.batch_execute(PROVOKE).await?;
        Ok::<_, Error>(())
    });
    assert!(matches!(unlucky.await, Err(Error::SerializationFailure(_))));
    assert_eq!(AtomicU32::load(&runs, Ordering::Relaxed), 7);
}

#[tokio::test]
async fn whoever_holds_the_pools_last_connection_is_named_by_its_own_line() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut config = config(&cluster);
    config.pool.max = 1.try_into().unwrap();
    // Long enough for a busy machine to log in.
    config.pool.acquire_timeout = Some(Duration::from_secs(2));
    let db = Db::connect(config).await.unwrap();
    let other = db.clone();
    let line = line!() + 1;
    let holding = db.transaction(async |_| {
        let error = other.primary().await.map(drop).unwrap_err();
        Ok::<_, Error>(error)
    });
    let error = holding.await.unwrap().to_string();
    assert!(error.contains(&format!("{}:{line}", file!())), "{error}");
}

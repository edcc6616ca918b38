//! Whoever keeps a connection is named: by the line of the service's own code, and by what it last asked.

use std::time::Duration;

use db_platform::Error;
use db_testkit::{TestDatabase, until};
use diesel_async::SimpleAsyncConnection;
use futures_util::StreamExt;

use crate::alone;
use crate::log::Log;

/// One thread, so that the log of this thread is the log of everything.
#[tokio::test]
async fn whoever_keeps_a_connection_is_reported_with_the_line_that_took_it_and_again_when_it_comes_back() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let database = TestDatabase::empty().await.unwrap();
    let db = alone(&database, |config| {
        for pool in [&mut config.pool, &mut config.read_pool] {
            pool.leak_threshold = Some(Duration::from_millis(50));
        }
    })
    .await;
    let reported = async |line: u32, statement: &str| {
        let site = format!("site={}:{line}:", file!());
        until("it is reported", async || {
            log.line(&["WARN", "held for longer than leak_threshold", &site, statement]).is_some()
        })
        .await;
        site
    };
    let returned = async |site: &str| {
        until("it is reported again", async || log.line(&["INFO", "returned after all", site]).is_some())
            .await;
    };

    let line = line!() + 1;
    let reading = db.read(async |conn| {
        conn.batch_execute("SELECT 41 AS secret").await?;
        std::future::pending::<Result<(), Error>>().await
    });
    let site = tokio::select! {
        _ = reading => unreachable!("it never ends"),
        site = reported(line, "SELECT ? AS secret") => site,
    };
    returned(&site).await;

    let line = line!() + 1;
    let writing = db.transaction::<(), Error>(async |conn| {
        conn.batch_execute("SELECT 42 AS hidden").await?;
        std::future::pending().await
    });
    let site = tokio::select! {
        _ = writing => unreachable!("it never ends"),
        site = reported(line, "SELECT ? AS hidden") => site,
    };
    returned(&site).await;

    let line = line!() + 1;
    let held = db.primary().await.unwrap();
    let site = reported(line, "").await;
    drop(held);
    returned(&site).await;

    let line = line!() + 1;
    let mut rows = db.stream::<i32>(
        diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("generate_series(1, 1000)")),
        10,
    );
    assert_eq!(rows.next().await.unwrap().unwrap(), 1);
    let site = reported(line, "FETCH FORWARD").await;
    drop(rows);
    returned(&site).await;
    assert!(log.line(&["SELECT 4"]).is_none(), "no constant is logged");
    assert_eq!(db.pools().iter().map(|pool| pool.leaks).sum::<u64>(), 4);
}

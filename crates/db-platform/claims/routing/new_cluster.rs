//! routing-11: the writer's name leads to another cluster.

use std::time::{Duration, Instant};

use db_platform::replica_routing::Policy;
use db_platform::{Db, Error};
use db_testkit::{Balancer, Cluster};
use diesel_async::AsyncPgConnection;
use serde_json::json;

use crate::routing::log::Log;
use crate::routing::{block_on, config, endpoint, number, within};
use crate::{Figure, Size};

const MOST_LINES: f64 = 10.0;

/// Fails where the router's monitor.rs forgets a trouble although nothing was answered (`if answered`, in
/// `note`).
pub(crate) fn measure(size: Size) -> Figure {
    let lasts = Duration::from_secs(if size == Size::Nightly { 300 } else { 60 });
    block_on(run(lasts, &Log::open()))
}

async fn run(lasts: Duration, log: &Log) -> Figure {
    let old = Cluster::builder().start().await.unwrap();
    let other = Cluster::builder().another_system().start().await.unwrap();
    let new = endpoint(&other.primary_url());
    let balancer = Balancer::start([old.address_of(0).unwrap()]).unwrap();
    let mut settings = config(&[balancer.through(&old.primary_url()).unwrap()]);
    settings.router.writer_wait = Duration::from_millis(500);
    let refuses = Db::connect(settings.clone()).await.unwrap();
    settings.router.new_cluster = Policy::Follow;
    let follows = Db::connect(settings).await.unwrap();
    write(&refuses).await.unwrap();
    write(&follows).await.unwrap();

    balancer.lead_to([format!("{new}").parse().unwrap()]);
    balancer.cut();
    let followed = within(Duration::from_secs(30), async || write(&follows).await == Ok(new.port().into()));
    let followed = followed.await;
    let _ = follows.shutdown(Duration::from_secs(1)).await;
    let (before, started) = (log.count(|_| true), Instant::now());
    let (mut writes, mut said) = (0_u64, 0_u64);
    while started.elapsed() < lasts {
        match write(&refuses).await {
            Ok(_) => writes += 1,
            Err(error) => {
                said += u64::from(error.contains("another cluster") && error.contains("new_cluster"))
            }
        }
    }
    let a_minute = (log.count(|_| true) - before) as f64 / lasts.as_secs_f64() * 60.0;
    Figure {
        value: a_minute,
        unit: "log lines a minute",
        holds: a_minute <= MOST_LINES && writes == 0 && said > 0 && followed.is_some(),
        detail: json!({
            "writes_to_the_other_cluster": writes,
            "errors_that_said_so": said,
            "followed_where_that_was_wanted_ms": followed.map(|took| took.as_millis()),
            "seconds": lasts.as_secs(),
        }),
    }
}

/// Writes, and says to which port.
async fn write(db: &Db) -> Result<i64, String> {
    let work = async |conn: &mut AsyncPgConnection| {
        Ok::<_, Error>(
            number(conn, "SELECT current_setting('port')::int8 AS n FROM pg_current_xact_id()").await?,
        )
    };
    db.transaction(work).await.map_err(|error| error.to_string())
}

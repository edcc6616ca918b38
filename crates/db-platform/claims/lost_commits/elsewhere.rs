//! The answer to COMMIT is lost, and another cluster answers under the same name.

use std::sync::Arc;
use std::time::Duration;

use db_platform::{Config, Db, Environment, Error, Resolve};
use db_testkit::{Cluster, CommitCut, Proxy, at_commit};
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::Number;

/// How many of so many transactions, with a marker row and without, ended otherwise than unknown, or are not
/// on the first cluster once and nowhere else.
pub(super) async fn count_wrong(rounds: u32) -> u32 {
    let first = with_ledger(Cluster::builder().start().await.unwrap()).await;
    let other = with_ledger(Cluster::builder().another_system().start().await.unwrap()).await;
    let mut wrong = 0;
    for round in 0..rounds {
        for resolve in [Resolve::ByTransactionId, Resolve::ByMarker] {
            let before = (count(&first).await, count(&other).await);
            let unknown = lose(&first, &other, resolve).await;
            let after = (count(&first).await, count(&other).await);
            if !unknown || after != (before.0 + 1, before.1) {
                wrong += 1;
                eprintln!("round {round}, {resolve:?}: unknown {unknown}, {before:?} became {after:?}");
            }
        }
    }
    wrong
}

async fn with_ledger(cluster: Cluster) -> Cluster {
    let mut conn = cluster.connect(0).await.unwrap();
    conn.batch_execute("CREATE TABLE ledger (n int NOT NULL)").await.unwrap();
    db_platform::retry::marker::apply(&mut conn).await.unwrap();
    cluster
}

/// Loses the answer to one COMMIT; says whether its caller was told that nobody knows.
async fn lose(first: &Cluster, other: &Cluster, resolve: Resolve) -> bool {
    let proxy = Arc::new(Proxy::start(first.address_of(0).unwrap()).unwrap());
    let (moved, to) = (Arc::clone(&proxy), other.address_of(0).unwrap());
    // The connection that carries the COMMIT stays where it is.
    let part = at_commit(move || moved.redirect(to).unwrap());
    let url = proxy.through(&first.primary_url()).unwrap();
    let mut config = Config::new(Environment::Test, url.parse().unwrap());
    // What asks for the outcome is opened after the name has moved.
    config.pool.max = std::num::NonZeroUsize::MIN;
    config.retry.resolve_timeout = Duration::from_millis(500);
    let db = Db::connect_with(config, [part]).await.unwrap();
    proxy.cut_commits(1, CommitCut::Answered);
    let told = db
        .build_transaction()
        .resolve(resolve)
        .run(async |conn| conn.batch_execute("INSERT INTO ledger VALUES (1)").await.map_err(Error::from))
        .await;
    matches!(told, Err(Error::CommitUnknown(_)))
}

async fn count(cluster: &Cluster) -> i64 {
    let mut conn = cluster.connect(0).await.unwrap();
    let rows = sql_query("SELECT count(*) AS n FROM ledger");
    RunQueryDsl::get_result::<Number>(rows, &mut conn).await.unwrap().n
}

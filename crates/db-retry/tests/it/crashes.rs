//! A lost COMMIT when its server has crashed since, or another one has taken over.

use db_core::{Facts, ServerId};
use db_retry::{CommitCounts, Resolve, marker};
use db_testkit::{Cluster, CommitCut, Proxy};

use super::*;

/// Loses the answer to a COMMIT, lets `then` happen before anybody can ask, and says how often the work ran.
async fn lose<F>(
    cluster: &Cluster,
    cut: CommitCut,
    begin: Begin,
    then: impl Fn(Cluster) -> F + Send + Sync + 'static,
) -> (Result<()>, CommitCounts)
where
    F: Future<Output = String> + Send + 'static,
{
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    conn.batch_execute("CREATE TABLE IF NOT EXISTS ledger (n int PRIMARY KEY)").await.unwrap();
    marker::apply(&mut conn).await.unwrap();
    conn.batch_execute("CHECKPOINT").await.unwrap();
    let proxy = Proxy::start(cluster.address_of(cluster.primary()).unwrap()).unwrap();
    proxy.cut_commits(1, cut);
    let through = proxy.through(&cluster.primary_url()).unwrap();
    let (of, then) = (cluster.clone(), Arc::new(then));
    let pool = steered(move |nth| {
        let (of, then, through) = (of.clone(), Arc::clone(&then), through.clone());
        async move {
            match nth {
                0 => through,
                1 => then(of).await,
                _ => of.primary_url(),
            }
        }
    });
    // Every server here is of one cluster, and its source knows that.
    let pool = pool
        .knowing(|_| Facts { server: Some(ServerId { system: Some(1), started: None }), ..Facts::UNKNOWN });
    let config =
        RetryConfig { resolve_timeout: Duration::from_secs(60), deadline: None, ..retry().config().clone() };
    let retry = retry().with(config);
    let result = retry.transaction(&pool, begin, &(), async |conn| insert(conn, 1).await).await;
    (result, retry.commits())
}

fn resolved(resolve: Resolve) -> Begin {
    Begin { resolve, ..Begin::default() }
}

async fn rows(cluster: &Cluster) -> i64 {
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    number(&mut conn, "SELECT count(*) AS n FROM ledger").await
}

/// Crashes the server, and gives the lost transaction's id to others until one of them has committed.
async fn crash_and_reuse(cluster: Cluster) -> String {
    cluster.kill(0).await.unwrap();
    cluster.start(0).await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    for _ in 0..20 {
        number(&mut conn, "SELECT pg_current_xact_id()::text::bigint AS n").await;
    }
    cluster.primary_url()
}

#[tokio::test]
async fn an_id_that_was_given_again_after_a_crash_is_no_proof() {
    // Nothing of a transaction reaches the disk before its COMMIT does.
    let cluster = Cluster::builder().setting("wal_writer_delay", "10s").start().await.unwrap();
    let (result, commits) =
        lose(&cluster, CommitCut::Withheld, resolved(Resolve::ByTransactionId), crash_and_reuse).await;
    let error = result.unwrap_err();
    assert_eq!((error.class(), commits.unknown), (Class::Unknown, 1), "{error}");
    let Error::CommitUnknown(unknown) = &error else { panic!("{error}") };
    let mut conn = cluster.connect(0).await.unwrap();
    let given_again = format!(
        "SELECT count(*) AS n FROM pg_xact_status('{}'::xid8) AS status WHERE status = 'committed'",
        unknown.transaction.unwrap()
    );
    assert_eq!(number(&mut conn, &given_again).await, 1, "the id belongs to another transaction now");
    assert_eq!(rows(&cluster).await, 0);

    let (result, commits) =
        lose(&cluster, CommitCut::Withheld, resolved(Resolve::ByMarker), crash_and_reuse).await;
    result.unwrap();
    assert_eq!((commits.rolled_back, rows(&cluster).await), (1, 1), "the marker tells");
}

async fn fail_over(cluster: Cluster) -> String {
    cluster.wait_until_caught_up(1).await.unwrap();
    cluster.kill(0).await.unwrap();
    cluster.promote(1).await.unwrap();
    cluster.primary_url()
}

#[tokio::test]
async fn across_a_failover_only_the_marker_tells() {
    for (cut, resolve, expected) in [
        (CommitCut::Answered, Resolve::ByMarker, CommitCounts { committed: 1, ..CommitCounts::default() }),
        (CommitCut::Withheld, Resolve::ByMarker, CommitCounts { rolled_back: 1, ..CommitCounts::default() }),
        (
            CommitCut::Answered,
            Resolve::ByTransactionId,
            CommitCounts { unknown: 1, ..CommitCounts::default() },
        ),
    ] {
        let cluster = Cluster::builder().standbys(1).start().await.unwrap();
        let (result, commits) = lose(&cluster, cut, resolved(resolve), fail_over).await;
        assert_eq!(commits, expected, "{cut:?} {resolve:?} {result:?}");
        assert_eq!(result.is_ok(), resolve == Resolve::ByMarker);
        assert_eq!(rows(&cluster).await, 1, "{cut:?} {resolve:?}");
    }
}

#[tokio::test]
async fn what_may_be_applied_twice_runs_again_across_a_failover() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let begin = Begin { idempotent: true, ..Begin::default() };
    let (result, commits) = lose(&cluster, CommitCut::Withheld, begin, fail_over).await;
    result.unwrap();
    assert_eq!((commits.unknown, rows(&cluster).await), (1, 1));
}

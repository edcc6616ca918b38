//! A COMMIT whose answer was lost is resolved, and costs no round trip where it was not.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Mutex;
use std::time::Instant;

use db_core::{AroundCommit, CommitOutcome};
use db_retry::{CommitCounts, Resolve, marker};
use db_testkit::{AtCommit, CommitCut, Direction};

use super::*;

const BEGINS: [Begin; 2] = [
    Begin {
        isolation: None,
        read_only: false,
        deferrable: false,
        resolve: Resolve::ByTransactionId,
        idempotent: false,
        batch: None,
    },
    Begin {
        isolation: None,
        read_only: false,
        deferrable: false,
        resolve: Resolve::ByMarker,
        idempotent: false,
        batch: None,
    },
];

/// Loses the answer to one COMMIT, and says how often the work ran.
async fn lose_one(cut: CommitCut, begin: Begin) -> (u32, CommitCounts) {
    let (database, _, mut observer) = ledger().await;
    marker::apply(&mut observer).await.unwrap();
    let (proxy, url) = proxied(&database);
    proxy.cut_commits(1, cut);
    let (retry, runs) = (retry(), AtomicU32::new(0));
    retry
        .transaction::<_, (), Error>(&Source::opening(url), begin, &(), async |conn| {
            insert(conn, runs.fetch_add(1, Ordering::Relaxed).try_into().unwrap()).await
        })
        .await
        .unwrap();
    assert_eq!(proxy.counters().commits_cut, 1);
    assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM ledger").await, 1, "{cut:?} {begin:?}");
    (AtomicU32::load(&runs, Ordering::Relaxed), retry.commits())
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_happens_once() {
    for begin in BEGINS {
        let (runs, commits) = lose_one(CommitCut::Answered, begin).await;
        assert_eq!((runs, commits), (1, CommitCounts { committed: 1, ..CommitCounts::default() }));
        let (runs, commits) = lose_one(CommitCut::Withheld, begin).await;
        assert_eq!((runs, commits), (2, CommitCounts { rolled_back: 1, ..CommitCounts::default() }));
        // Whether the server comes to it before it notices that nobody is there is a race of its own.
        let (_, commits) = lose_one(CommitCut::Forwarded, begin).await;
        assert_eq!((commits.lost(), commits.unknown), (1, 0));
    }
}

#[tokio::test]
async fn a_commit_that_nothing_identifies_is_unknown_and_not_run_again() {
    let (database, _, mut observer) = ledger().await;
    let (proxy, url) = proxied(&database);
    proxy.cut_commits(1, CommitCut::Answered);
    let (retry, runs) = (retry().retry_if(|_: &Error| true), AtomicU32::new(0));
    let begin = Begin { resolve: Resolve::Never, ..Begin::default() };
    let result: Result<()> = retry
        .transaction(&Source::opening(url), begin, &(), async |conn| {
            runs.fetch_add(1, Ordering::Relaxed);
            insert(conn, 1).await
        })
        .await;
    let error = result.unwrap_err();
    assert_eq!(error.class(), Class::Unknown, "{error}");
    assert_eq!((AtomicU32::load(&runs, Ordering::Relaxed), retry.commits().unknown), (1, 1));
    assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM ledger").await, 1, "it had committed");
}

/// COMMIT vanishes on the way, and the server does not notice that its client has.
#[tokio::test]
async fn a_transaction_that_is_still_open_is_ended_before_it_runs_again() {
    let (database, _, mut observer) = ledger().await;
    let (proxy, through) = proxied(&database);
    let direct = database.url().to_owned();
    let pool = steered(move |nth| {
        let url = if nth == 0 { through.clone() } else { direct.clone() };
        async move { url }
    });
    let vanishes = AtCommit(move || proxy.blackhole());
    let limit = Some(Duration::from_millis(300));
    let retry = retry().with(RetryConfig { transaction_timeout: limit, ..retry().config().clone() });
    retry
        .transaction::<_, (), Error>(&pool, Begin::default(), &vanishes, async |conn| insert(conn, 1).await)
        .await
        .unwrap();
    assert_eq!(retry.commits(), CommitCounts { rolled_back: 1, ..CommitCounts::default() });
    assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM ledger").await, 1);
}

#[tokio::test]
async fn the_identity_and_the_marker_cost_no_round_trip() {
    let (database, _, mut observer) = ledger().await;
    marker::apply(&mut observer).await.unwrap();
    let (proxy, url) = proxied(&database);
    let pool = lending(Source::opening(url).acquire().await.unwrap());
    // The table of the markers is looked for once.
    let retry = retry();
    let run = async |begin, n: i32| {
        let work = async move |conn: &mut AsyncPgConnection| insert(conn, n).await;
        retry.transaction::<_, (), Error>(&pool, begin, &(), work).await.unwrap();
    };
    // Prepares the statements.
    run(BEGINS[1], 0).await;
    let one_way = Duration::from_millis(100);
    proxy.delay(Direction::ToServer, one_way, Duration::ZERO);
    let mut n = 0;
    for begin in [Begin { resolve: Resolve::Never, ..Begin::default() }, BEGINS[0], BEGINS[1]] {
        let mut least = f64::INFINITY;
        // A busy machine may add to it, and nothing takes away from it.
        for _ in 0..10 {
            n += 1;
            let started = Instant::now();
            run(begin, n).await;
            least = least.min(started.elapsed().as_secs_f64() / one_way.as_secs_f64());
            if least < 5.0 {
                break;
            }
        }
        // BEGIN, the insert (two: it is never cached), COMMIT.
        assert!((4.0..5.0).contains(&least), "{begin:?}: {least} round trips");
    }
}

/// A connection that goes back to where it was lent.
struct Loan(Option<Box<AsyncPgConnection>>, Arc<Mutex<Option<Box<AsyncPgConnection>>>>);

/// Hands out one connection again and again.
fn lending(conn: Box<AsyncPgConnection>) -> Source<Loan> {
    let kept = Arc::new(Mutex::new(Some(conn)));
    Source::new(move |_| {
        let kept = Arc::clone(&kept);
        async move {
            let conn = kept.lock().unwrap().take();
            Ok(Loan(Some(conn.unwrap()), kept))
        }
    })
}

impl Drop for Loan {
    fn drop(&mut self) {
        *self.1.lock().unwrap() = self.0.take();
    }
}

impl std::ops::Deref for Loan {
    type Target = AsyncPgConnection;

    fn deref(&self) -> &AsyncPgConnection {
        self.0.as_ref().unwrap()
    }
}

impl std::ops::DerefMut for Loan {
    fn deref_mut(&mut self) -> &mut AsyncPgConnection {
        self.0.as_mut().unwrap()
    }
}

/// Counts what others have put into the ledger, right behind COMMIT, and notes what it was told of the
/// outcome.
#[derive(Default)]
struct Behind {
    outcomes: Mutex<Vec<CommitOutcome>>,
}

impl AroundCommit for Behind {
    fn alongside<'a>(
        &'a self,
        mut conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        Some(Box::pin(async move {
            let sql = "INSERT INTO seen SELECT count(*) FROM ledger WHERE xmin <> pg_current_xact_id()::xid";
            let _ = conn.batch_execute(sql).await;
        }))
    }

    fn after<'a>(
        &'a self,
        conn: Option<&'a mut AsyncPgConnection>,
        outcome: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        self.outcomes.lock().unwrap().push(outcome);
        Box::pin(async move {
            if let Some(conn) = conn {
                assert_eq!(number(conn, "SELECT 7::bigint AS n").await, 7, "the connection can be used");
            }
        })
    }

    fn before<'a>(
        &'a self,
        _: &'a mut AsyncPgConnection,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async { Ok(()) })
    }

    fn sql(&self) -> Option<Cow<'_, str>> {
        None
    }
}

#[tokio::test]
async fn what_runs_alongside_sees_what_was_committed() {
    let (_database, direct, mut observer) = ledger().await;
    observer.batch_execute("CREATE TABLE seen (n bigint)").await.unwrap();
    let behind = Behind::default();
    let write = async |n: i32| {
        let work = async move |conn: &mut AsyncPgConnection| insert(conn, n).await;
        retry().transaction::<_, (), Error>(&direct, Begin::default(), &behind, work).await
    };
    write(1).await.unwrap();
    write(1).await.unwrap_err();
    write(2).await.unwrap();
    let seen = sql_query("SELECT n FROM seen ORDER BY n").get_results::<Number>(&mut observer).await.unwrap();
    assert_eq!(seen.iter().map(|row| row.n).collect::<Vec<_>>(), [1, 2], "its own row is another's by then");
    let expected = [CommitOutcome::Committed, CommitOutcome::RolledBack, CommitOutcome::Committed];
    assert_eq!(*behind.outcomes.lock().unwrap(), expected);
}

#[tokio::test]
async fn whoever_wraps_a_commit_learns_what_became_of_it() {
    let (database, _, _observer) = ledger().await;
    let (proxy, url) = proxied(&database);
    for (n, cut, expected) in [
        (1, CommitCut::Answered, &[CommitOutcome::Committed][..]),
        (2, CommitCut::Withheld, &[CommitOutcome::RolledBack, CommitOutcome::Committed]),
    ] {
        proxy.cut_commits(1, cut);
        let behind = Behind::default();
        retry()
            .transaction::<_, (), Error>(
                &Source::opening(url.clone()),
                Begin::default(),
                &behind,
                async |conn| insert(conn, n).await,
            )
            .await
            .unwrap();
        assert_eq!(*behind.outcomes.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn old_markers_are_forgotten_a_few_at_a_time() {
    let (_database, direct, mut observer) = ledger().await;
    marker::apply(&mut observer).await.unwrap();
    marker::apply(&mut observer).await.unwrap();
    for n in 0..5 {
        retry()
            .transaction::<_, (), Error>(&direct, BEGINS[1], &(), async |conn| insert(conn, n).await)
            .await
            .unwrap();
    }
    let hour = Duration::from_secs(3_600);
    assert_eq!(marker::forget(&mut observer, hour, 100).await.unwrap(), 0, "none is that old");
    assert_eq!(marker::forget(&mut observer, Duration::ZERO, 3).await.unwrap(), 3);
    assert_eq!(marker::forget(&mut observer, Duration::ZERO, 3).await.unwrap(), 2);
}

#[tokio::test]
async fn a_session_that_cannot_write_is_told_so_by_its_own_write() {
    let (_database, direct, mut observer) = ledger().await;
    let read_only = "DO $$ BEGIN EXECUTE format(
        'ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$";
    observer.batch_execute(read_only).await.unwrap();
    let result: Result<()> = Retry::new(RetryConfig::never())
        .transaction(&direct, Begin::default(), &(), async |conn| insert(conn, 1).await)
        .await;
    assert_eq!(result.unwrap_err().sqlstate().unwrap().as_str(), "25006");
}

//! A server that is known to be gone, and whose connections never notice.

use std::borrow::Cow;

use db_core::{AroundCommit, CommitOutcome};
use db_testkit::{AtCommit, until};
use tokio::sync::Notify;

use super::*;

/// A server that is declared gone, by the second value, while its connections stay open.
fn going(database: &TestDatabase) -> (Source, Arc<Notify>) {
    let gone = Arc::new(Notify::new());
    let told = Arc::clone(&gone);
    (Source::opening(database.url()).down(move || Arc::clone(&told).notified_owned()), gone)
}

#[tokio::test]
async fn a_transaction_leaves_a_server_that_is_gone_and_runs_again() {
    let (database, _, mut observer) = ledger().await;
    let ((going, gone), retry, attempts) = (going(&database), retry(), AtomicU32::new(0));
    let done: Result<u32> = retry
        .transaction(&going, Begin::default(), &(), async |conn| {
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            insert(conn, i32::try_from(attempt).unwrap()).await?;
            if attempt == 0 {
                gone.notify_waiters();
                conn.batch_execute("SELECT pg_sleep(3600)").await?;
            }
            Ok(attempt)
        })
        .await;
    assert_eq!(done.unwrap(), 1);
    assert_eq!(number(&mut observer, "SELECT sum(n) AS n FROM ledger").await, 1);
    assert_eq!((retry.counts().of(Class::Unavailable), retry.commits().lost()), (1, 0));
}

/// COMMIT takes an hour there, so the transaction is still open when it is asked for.
#[tokio::test]
async fn a_commit_that_was_sent_to_a_server_that_is_gone_is_looked_into() {
    let (database, _, mut observer) = ledger().await;
    observer
        .batch_execute(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.n = 0 THEN PERFORM pg_sleep(3600); END IF; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    let ((going, gone), retry, attempts) = (going(&database), retry(), AtomicU32::new(0));
    // The server is declared gone right before COMMIT is sent.
    let around = AtCommit(move || gone.notify_waiters());
    let done: Result<u32> = retry
        .transaction_once(&going, Begin::default(), &around, async |conn: &mut AsyncPgConnection| {
            insert(conn, 0).await?;
            Ok(attempts.fetch_add(1, Ordering::Relaxed))
        })
        .await;
    assert_eq!(done.unwrap_err().class(), Class::Unavailable);
    assert_eq!((retry.commits().rolled_back, retry.commits().lost()), (1, 1));
    assert_eq!(number(&mut observer, "SELECT count(*) AS n FROM ledger").await, 0);

    let done: Result<()> = retry
        .transaction_once(&going, Begin::default(), &around, async |conn: &mut AsyncPgConnection| {
            insert(conn, 1).await
        })
        .await;
    let kept = number(&mut observer, "SELECT count(*) AS n FROM ledger").await;
    assert_eq!(kept, i64::from(done.is_ok()), "what is said to have committed has, and nothing else");
    assert_eq!((retry.commits().unknown, retry.commits().lost()), (0, 2));
}

/// Asks something behind COMMIT that takes an hour.
struct AsksBehind;

impl AroundCommit for AsksBehind {
    fn alongside<'a>(
        &'a self,
        mut conn: &'a AsyncPgConnection,
    ) -> Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>> {
        Some(Box::pin(async move {
            let _ = conn.batch_execute("SELECT pg_sleep(3600)").await;
        }))
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

    fn after<'a>(
        &'a self,
        _: Option<&'a mut AsyncPgConnection>,
        _: CommitOutcome,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(async {})
    }
}

#[tokio::test]
async fn a_commit_that_was_answered_is_known_whatever_becomes_of_what_was_asked_behind_it() {
    let (database, _, mut observer) = ledger().await;
    let ((going, gone), retry) = (going(&database), retry());
    let mut goes = async |n: i64| {
        let committed = format!("SELECT count(*) AS n FROM ledger WHERE n = {n}");
        until("it has committed", async || number(&mut observer, &committed).await == 1).await;
        if n == 1 {
            gone.notify_waiters();
        }
    };
    let write = async |n: i32| {
        let work = async move |conn: &mut AsyncPgConnection| insert(conn, n).await;
        retry.transaction_once::<_, (), Error>(&going, Begin::default(), &AsksBehind, work).await
    };
    // The first server goes; the second one takes its time.
    for n in [1, 2] {
        let (wrote, ()) = tokio::join!(write(n), goes(n.into()));
        wrote.unwrap();
    }
    assert_eq!(retry.commits().lost(), 0);
}

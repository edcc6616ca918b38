//! What reads see that say nothing, where the service has chosen it by `DB_READ_CONSISTENCY`.

use std::time::Duration;

use db_platform::replica_routing::ReadConsistency;
use db_platform::{Db, Error, Freshness, Lsn, Session, Token, Written};
use db_testkit::{Cluster, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::{Number, config, port, port_of};

/// One standby that answers, and then replays nothing more.
async fn behind(consistency: ReadConsistency) -> (Cluster, Db) {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut settings = config(&cluster);
    settings.router.max_lag = Duration::from_secs(3_600);
    settings.router.consistency = consistency;
    let db = Db::connect(settings).await.unwrap();
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("CREATE TABLE notes (n int8)").await?))
        .await
        .unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let standby = port_of(&cluster.standby_urls()[0]);
    let from_any = async || db.read_within(Freshness::Any, port).await.unwrap();
    until("the standby answers", async || from_any().await == standby).await;
    cluster.pause_replay(1).await.unwrap();
    (cluster, db)
}

async fn insert(db: &Db) {
    let insert = "INSERT INTO notes VALUES (1)";
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(insert).await?)).await.unwrap();
}

async fn notes(db: &Db) -> i64 {
    let count = async |conn: &mut AsyncPgConnection| {
        sql_query("SELECT count(*) AS n FROM notes").get_result::<Number>(conn).await
    };
    db.read(count).await.unwrap().n
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_lag_a_read_outside_of_sessions_may_miss_the_write_before_it() {
    let (_cluster, db) = behind(ReadConsistency::Lag).await;
    insert(&db).await;
    assert_eq!(notes(&db).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_process_every_read_sees_what_the_process_has_committed_whoever_did() {
    let (cluster, db) = behind(ReadConsistency::Process).await;
    // Nothing was written since: the standby has all of it.
    let standby = port_of(&cluster.standby_urls()[0]);
    assert_eq!(db.read(port).await.unwrap(), standby);
    insert(&db).await;
    assert_eq!(notes(&db).await, 1);
    // A request's session writes: the others see it, and so does a request that has written nothing.
    insert(&db.in_session(&Session::new())).await;
    assert_eq!(notes(&db).await, 2);
    assert_eq!(notes(&db.in_session(&Session::new())).await, 2);
    Session::new().scope(async { insert(&db).await }).await;
    assert_eq!(notes(&db).await, 3);
    // As does a task that is in no scope, and a batch.
    let spawned = db.clone();
    tokio::spawn(async move { insert(&spawned).await }).await.unwrap();
    assert_eq!(notes(&db).await, 4);
    // What a caller asks for by name is what is meant.
    assert_eq!(db.read_within(Freshness::Any, port).await.unwrap(), standby);
}

/// A client may write anything into its cookie.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_process_a_forged_token_delays_only_the_request_that_brought_it() {
    let (cluster, db) = behind(ReadConsistency::Process).await;
    cluster.resume_replay(1).await.unwrap();
    let honest = Session::new();
    insert(&db.in_session(&honest)).await;
    let token = Token { position: Lsn(u64::MAX), ..honest.token().unwrap() };
    let forged = Session::resume(Written::UpTo(token));
    insert(&db.in_session(&forged)).await;
    let primary = port_of(&cluster.primary_url());
    assert_eq!(db.in_session(&forged).read(port).await.unwrap(), primary);
    let standby = port_of(&cluster.standby_urls()[0]);
    until("the others have the standby", async || db.read(port).await.unwrap() == standby).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_primary_standbys_answer_only_who_asks_for_less() {
    let (cluster, db) = behind(ReadConsistency::Primary).await;
    assert_eq!(db.read(port).await.unwrap(), port_of(&cluster.primary_url()));
    assert_eq!(db.in_session(&Session::new()).read(port).await.unwrap(), port_of(&cluster.primary_url()));
    let standby = port_of(&cluster.standby_urls()[0]);
    assert_eq!(db.read_within(Freshness::Any, port).await.unwrap(), standby);
}

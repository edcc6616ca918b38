//! What a session has written waits in Redis for the next one.

use std::time::{Duration, Instant, SystemTime};

use db_core::{AroundCommit, CommitOutcome, Lsn};
use db_replica_routing::{Freshness, Session, SessionStore, Token, Written};
use db_testkit::{Cluster, Redis, skip, until};
use redis::AsyncCommands;
use redis::aio::ConnectionManager;

async fn connect(redis: &Redis) -> ConnectionManager {
    redis::Client::open(redis.url()).unwrap().get_connection_manager().await.unwrap()
}

fn token(timeline: u32, position: u64) -> Written {
    Written::UpTo(Token { system: 7, timeline, position: Lsn(position) })
}

/// A session that has written this since it began.
fn wrote(written: Written) -> Session {
    let session = Session::new();
    match written {
        Written::UpTo(token) => session.merge(Written::UpTo(token)),
        Written::Before(_) => session.forget(),
    }
    session
}

#[tokio::test]
async fn sessions_of_one_name_go_on_from_the_greatest_position_whoever_saved_last() {
    let Some(redis) = skip::without(Redis::start().await) else { return };
    let store = SessionStore::new(connect(&redis).await);
    assert_eq!(store.resume("ann").await.unwrap().written(), None);
    // Positions beyond what a double can tell apart, and such whose texts sort otherwise than their numbers.
    for (saved, kept) in [
        (token(1, 0xff), token(1, 0xff)),
        (token(1, 0x100), token(1, 0x100)),
        (token(1, 0xfe), token(1, 0x100)),
        (token(2, 0x10), token(2, 0x10)),
        (token(1, 0x1000), token(2, 0x10)),
        (token(2, u64::MAX), token(2, u64::MAX)),
        (token(2, u64::MAX - 1), token(2, u64::MAX)),
    ] {
        store.save("ann", &wrote(saved)).await.unwrap();
        assert_eq!(store.resume("ann").await.unwrap().written(), Some(kept), "after {saved}");
    }
    assert_eq!(store.resume("bob").await.unwrap().written(), None, "nobody else's");
    let elsewhere = Token { system: 8, timeline: 1, position: Lsn(1) };
    store.save("ann", &wrote(Written::UpTo(elsewhere))).await.unwrap();
    assert_eq!(
        store.resume("ann").await.unwrap().token(),
        Some(elsewhere),
        "the database is another one now"
    );
}

/// Goes on with ann's session, and writes.
async fn write_on(store: &SessionStore<ConnectionManager>) -> Option<Token> {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    let session = store.resume("ann").await.unwrap();
    session.commit().after(Some(&mut conn), CommitOutcome::Committed).await;
    store.save("ann", &session).await.unwrap();
    session.token()
}

#[tokio::test]
async fn what_no_token_tells_is_kept_as_a_moment() {
    let Some(redis) = skip::without(Redis::start().await) else { return };
    let mut connection = connect(&redis).await;
    let store = SessionStore::new(connection.clone()).with_prefix("here:");
    let before = SystemTime::now();
    store.save("ann", &wrote(Written::Before(before))).await.unwrap();
    let Some(Written::Before(moment)) = store.resume("ann").await.unwrap().written() else { panic!() };
    assert!(moment >= before && moment <= SystemTime::now() + Duration::from_millis(1));
    let later = moment + Duration::from_secs(1);
    let () = connection.set("here:ann", Written::Before(later).to_string()).await.unwrap();
    store.save("ann", &wrote(Written::Before(moment))).await.unwrap();
    let Some(Written::Before(kept)) = store.resume("ann").await.unwrap().written() else { panic!() };
    assert!(kept >= later - Duration::from_millis(1), "the later one stays");
    store.save("ann", &wrote(token(1, 10))).await.unwrap();
    let Some(Written::Before(both)) = store.resume("ann").await.unwrap().written() else { panic!() };
    assert!(both >= moment, "a position and a moment do not compare");
    let token = write_on(&store).await;
    assert_eq!(store.resume("ann").await.unwrap().token(), token, "this one comes after that moment");

    let () = connection.set("here:ann", "2.of.another.version").await.unwrap();
    assert!(matches!(store.resume("ann").await.unwrap().freshness(), Freshness::Since(_)));
}

#[tokio::test]
async fn only_news_are_saved_and_they_are_forgotten_in_time() {
    let Some(redis) = skip::without(Redis::start().await) else { return };
    let mut connection = connect(&redis).await;
    let store = SessionStore::new(connection.clone()).with_lifetime(Duration::from_secs(2));
    store.save("ann", &wrote(token(1, 10))).await.unwrap();
    let resumed = store.resume("ann").await.unwrap();
    let left: i64 = connection.pttl("db:session:ann").await.unwrap();
    assert!((1..=2_000).contains(&left), "{left}");
    until("it is forgotten", async || store.resume("ann").await.unwrap().written().is_none()).await;
    store.save("ann", &resumed).await.unwrap();
    store.save("ann", &Session::new()).await.unwrap();
    assert_eq!(store.resume("ann").await.unwrap().written(), None, "it had written nothing new");
}

/// Fails, and soon.
async fn is_refused<T: std::fmt::Debug>(call: impl Future<Output = redis::RedisResult<T>>) {
    let started = Instant::now();
    call.await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_redis_that_is_gone_is_an_error_and_no_wait() {
    let Some(redis) = skip::without(Redis::start().await) else { return };
    let store = SessionStore::new(connect(&redis).await);
    let session = wrote(token(1, 10));
    redis.pause().await.unwrap();
    is_refused(store.resume("ann")).await;
    is_refused(store.save("ann", &session)).await;
    redis.resume().await.unwrap();
    redis.kill().await.unwrap();
    is_refused(store.resume("ann")).await;
    is_refused(store.save("ann", &session)).await;
    redis.restart().await.unwrap();
    until("it is found again", async || store.resume("ann").await.is_ok()).await;
}

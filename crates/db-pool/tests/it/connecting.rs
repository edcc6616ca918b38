//! Connections that cannot be opened: each ends in time, with a message that a person can act on.

use std::time::{Duration, Instant};

use db_core::{Class, Classify, Connect, ConnectFailure, DatabaseUrl, Error};
use db_pool::{ConnectConfig, Connector, PoolConfig};
use db_testkit::{Proxy, TestDatabase};
use diesel_async::SimpleAsyncConnection;

use crate::{number, open, pool_config, word};

async fn connect_error(url: &str) -> Error {
    let url: DatabaseUrl = url.parse().unwrap();
    let config = ConnectConfig { connect_timeout: Duration::from_millis(500), ..ConnectConfig::default() };
    let endpoint = url.hosts()[0].clone();
    let started = Instant::now();
    let error = Connector::new(url, config).connect(&endpoint).await.map(|_| ()).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(5), "took {:?}", started.elapsed());
    error
}

#[track_caller]
fn check(error: &Error, failure: ConnectFailure, advice: &str) {
    let Error::Connect(connect) = error else { panic!("{error:?}") };
    assert_eq!(connect.failure, failure, "{error}");
    let text = format!("{error} {error:?}");
    assert!(text.contains(advice), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

/// The same URL with another password.
fn with_password(url: &str) -> String {
    let (head, tail) = url.split_once('@').unwrap();
    let user = head.rsplit_once(':').unwrap().0;
    format!("{user}:hunter2@{tail}")
}

#[tokio::test]
async fn each_way_to_fail_says_what_to_do() {
    let database = TestDatabase::empty().await.unwrap();
    let url = database.url();

    check(&connect_error(&with_password(url)).await, ConnectFailure::Login, "check user");
    let (server, _) = url.rsplit_once('/').unwrap();
    let unknown = connect_error(&format!("{server}/nowhere")).await;
    check(&unknown, ConnectFailure::UnknownDatabase, "create database \"nowhere\"");
    assert_eq!(unknown.class(), Class::Permanent);

    let refused = connect_error("postgres://ann:hunter2@127.0.0.1:1/app").await;
    check(&refused, ConnectFailure::Refused, "is PostgreSQL running there");
    assert_eq!(refused.class(), Class::Unavailable);
    check(
        &connect_error("postgres://ann:hunter2@no.such.host.invalid/app?sslmode=disable").await,
        ConnectFailure::UnknownHost,
        "host",
    );
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up_in_time() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let proxy = Proxy::start((url.hosts()[0].host(), url.hosts()[0].port())).unwrap();
    proxy.stall();
    let error = connect_error(&proxy.through(database.url()).unwrap()).await;
    check(&error, ConnectFailure::TimedOut, "no answer within 500ms");
}

#[tokio::test]
async fn callers_of_a_pool_with_a_wrong_password_are_told_at_once() {
    let database = TestDatabase::empty().await.unwrap();
    let patient = PoolConfig { acquire_timeout: Duration::from_secs(60), ..pool_config(2) };
    let started = Instant::now();
    let error = open(&with_password(database.url()), patient).get().await.unwrap_err();
    check(&error, ConnectFailure::Login, "password");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn callers_of_a_pool_of_a_dead_server_get_the_reason_when_their_time_is_up() {
    let short = PoolConfig { acquire_timeout: Duration::from_millis(300), ..pool_config(2) };
    let pool = open("postgres://ann@127.0.0.1:1/app", short);
    check(&pool.get().await.unwrap_err(), ConnectFailure::Refused, "refused");
    assert!(pool.status().connect_errors <= 5, "{:?}", pool.status());
}

#[tokio::test]
async fn the_session_baseline_survives_reset_all() {
    let database = TestDatabase::empty().await.unwrap();
    let url: DatabaseUrl = database.url().parse().unwrap();
    let config = ConnectConfig {
        application_name: Some("till".to_owned()),
        lock_timeout: Some(Duration::from_millis(1234)),
        ..ConnectConfig::default()
    };
    let connector = Connector::new(url.clone(), config).read_only();
    let mut conn = connector.connect(&url.hosts()[0]).await.unwrap();
    conn.batch_execute("SET lock_timeout = 0; SET default_transaction_read_only = off; RESET ALL")
        .await
        .unwrap();
    let show = async |conn: &mut _, name: &str| {
        word(conn, &format!("SELECT current_setting('{name}') AS word")).await
    };
    assert_eq!(show(&mut conn, "lock_timeout").await, "1234ms");
    assert_eq!(show(&mut conn, "TimeZone").await, "UTC");
    assert_eq!(show(&mut conn, "application_name").await, "till");
    let refused = conn.batch_execute("CREATE TABLE t ()").await.map_err(Error::from).unwrap_err();
    assert!(matches!(refused, Error::ReadOnly(_)), "{refused:?}");
    assert_eq!(number(&mut conn, "SELECT 7::bigint AS n").await, 7);
}

//! Connections that cannot be opened: each ends in time, with a message that a person can act on.

use std::time::{Duration, Instant};

use db_core::{Class, Classify, Connect, ConnectFailure, DatabaseUrl, Error};
use db_pool::{ConnectConfig, Connector, PoolConfig};
use db_testkit::{Cluster, PgBouncer, PoolMode, Proxy, TestDatabase};
use diesel_async::SimpleAsyncConnection;

use crate::{Log, number, open, pool_config, word};

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
    let patient = PoolConfig { acquire_timeout: Some(Duration::from_secs(60)), ..pool_config(2) };
    let started = Instant::now();
    let error = open(&with_password(database.url()), patient).get().await.unwrap_err();
    check(&error, ConnectFailure::Login, "password");
    assert!(started.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn callers_of_a_pool_of_a_dead_server_get_the_reason_when_their_time_is_up() {
    let short = PoolConfig { acquire_timeout: Some(Duration::from_millis(300)), ..pool_config(2) };
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

/// The server that a new connection of a pool leads to.
async fn server(pool: &db_pool::Pool) -> db_core::ServerId {
    pool.get().await.unwrap().facts().server.unwrap()
}

#[tokio::test]
async fn a_connection_knows_which_server_it_leads_to() {
    let cluster = Cluster::builder().start().await.unwrap();
    let pool = open(&cluster.primary_url(), pool_config(2));
    let before = server(&pool).await;
    let asked = "SELECT system_identifier AS n FROM pg_control_system()";
    let system = number(&mut pool.get().await.unwrap(), asked).await;
    assert_eq!(before.system, Some(system.cast_unsigned()));
    assert!(before.started.is_some());
    cluster.restart(0).await.unwrap();
    pool.evict_all();
    let after = server(&pool).await;
    assert_eq!(after.system, before.system);
    assert!(after.started > before.started, "{after:?} {before:?}");

    let untapped = ConnectConfig { wire_tap: false, ..ConnectConfig::default() };
    let url: DatabaseUrl = cluster.primary_url().parse().unwrap();
    let endpoint = url.hosts()[0].clone();
    let pool = db_pool::Pool::open(Connector::new(url, untapped), endpoint, pool_config(1));
    assert_eq!(server(&pool).await, after, "without the wire tap too");
}

#[tokio::test]
async fn a_role_that_may_not_ask_for_all_of_it_knows_the_rest() {
    let cluster = Cluster::builder().start().await.unwrap();
    let mut owner = cluster.connect(0).await.unwrap();
    owner
        .batch_execute(
            "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE clerk LOGIN PASSWORD 'hunter2'",
        )
        .await
        .unwrap();
    let url = with_password(&cluster.primary_url()).replace("postgres:hunter2", "clerk:hunter2");
    let server = server(&open(&url, pool_config(1))).await;
    assert!(server.system.is_none() && server.started.is_some(), "{server:?}");
}

#[tokio::test]
async fn options_that_a_pooler_ignores_are_missed_once() {
    let database = TestDatabase::empty().await.unwrap();
    let pooler = PgBouncer::start(database.url(), PoolMode::Session, &[]).await.unwrap();
    let log = Log::default();
    let _guard = log.listen();
    let direct = open(database.url(), pool_config(1));
    direct.get().await.unwrap();
    assert_eq!(log.lines_with("do not take effect").len(), 0);
    let pool = open(pooler.url(), pool_config(2));
    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    let said = log.lines_with("do not take effect");
    assert!(said.len() == 1 && said[0].contains("statement_timeout=30000ms"), "{said:?}");
}

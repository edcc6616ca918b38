//! A COMMIT whose answer never comes.

use crate::proxies::{Through, through};
use crate::{LIMIT, connect, one, until};
use db_testkit::{CommitCut, Proxy, TestDatabase};
use tokio::time::timeout;
use tokio_postgres::{Client, Error};

/// Ways in which a client may send its COMMIT.
const WAYS: [&str; 4] = ["simple", "prepared", "in one query", "pipelined"];

async fn commit(client: &Client, way: &str) -> Result<(), Error> {
    match way {
        "simple" => client.batch_execute("cOmMiT").await,
        "prepared" => client.execute("COMMIT", &[]).await.map(drop),
        "in one query" => client.batch_execute("/* ; */ INSERT INTO t VALUES (2); COMMIT").await,
        _ => {
            // The answer to the first may be lost with the second's.
            let insert = client.batch_execute("INSERT INTO t VALUES (2)");
            tokio::join!(insert, client.batch_execute("COMMIT")).1
        }
    }
}

async fn check(cut: CommitCut, is_committed: bool) {
    let Through { database, proxy, url } = through().await;
    let direct = connect(database.url()).await.unwrap();
    direct.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    for way in WAYS {
        direct.batch_execute("TRUNCATE t").await.unwrap();
        let before = proxy.counters();
        proxy.cut_commits(1, cut);
        let client = connect(&url).await.unwrap();
        client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
        let error = timeout(LIMIT, commit(&client, way)).await.unwrap().unwrap_err();
        assert!(error.as_db_error().is_none(), "{way}: the server's answer got through: {error:?}");
        let after = proxy.counters();
        assert_eq!(
            (after.commits_seen, after.commits_cut),
            (before.commits_seen + 1, before.commits_cut + 1),
            "{way}"
        );
        let is_there = async || one::<bool>(&direct, "SELECT EXISTS (SELECT FROM t WHERE n = 1)").await;
        match cut {
            CommitCut::Answered => {
                assert!(is_there().await, "{way}: it was committed before the client's error")
            }
            CommitCut::Forwarded => until(way, is_there).await,
            CommitCut::Withheld => {
                // The table is free again once the server has rolled back.
                direct.batch_execute("BEGIN; LOCK TABLE t; COMMIT").await.unwrap();
                assert!(!is_there().await, "{way}");
            }
            _ => panic!("the client is answered, or waits"),
        }
        assert_eq!(is_there().await, is_committed, "{way}");
        let next = connect(&url).await.unwrap();
        next.batch_execute("BEGIN; INSERT INTO t VALUES (3)").await.unwrap();
        commit(&next, way).await.unwrap();
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_cut_off_is_committed_though_the_client_saw_an_error() {
    check(CommitCut::Answered, true).await;
}

#[tokio::test]
async fn a_commit_that_was_only_forwarded_is_committed_in_the_end() {
    check(CommitCut::Forwarded, true).await;
}

#[tokio::test]
async fn a_commit_that_was_withheld_is_rolled_back() {
    check(CommitCut::Withheld, false).await;
}

#[tokio::test]
async fn a_rollback_and_a_commit_in_a_string_are_left_alone() {
    let Through { proxy, url, database: _database } = through().await;
    proxy.cut_commits(1, CommitCut::Answered);
    let client = connect(&url).await.unwrap();
    client.batch_execute("BEGIN; SELECT '; COMMIT'; ROLLBACK").await.unwrap();
    assert_eq!(one::<String>(&client, "SELECT 'COMMIT'").await, "COMMIT");
    assert_eq!((proxy.counters().commits_seen, proxy.counters().commits_cut), (0, 0));
    assert!(client.batch_execute("BEGIN; END").await.is_err(), "END is a COMMIT");
}

#[tokio::test]
async fn a_commit_in_small_pieces_is_seen() {
    let Through { proxy, url, database: _database } = through().await;
    let client = connect(&url).await.unwrap();
    client.batch_execute("BEGIN").await.unwrap();
    proxy.cut_commits(1, CommitCut::Answered);
    // A million bytes before it: the message spans many segments.
    let long = format!("SELECT length('{}'); COMMIT", "x;".repeat(500_000));
    assert!(timeout(LIMIT, client.batch_execute(&long)).await.unwrap().is_err());
    assert_eq!(proxy.counters().commits_cut, 1);
}

#[tokio::test]
async fn a_commit_that_the_server_refuses_is_cut_too() {
    let Through { database, proxy, url } = through().await;
    let direct = connect(database.url()).await.unwrap();
    direct.batch_execute("CREATE TABLE t (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await.unwrap();
    proxy.cut_commits(1, CommitCut::Answered);
    let client = connect(&url).await.unwrap();
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1), (1)").await.unwrap();
    let error = timeout(LIMIT, client.batch_execute("COMMIT")).await.unwrap().unwrap_err();
    assert!(error.as_db_error().is_none(), "{error:?}");
    assert_eq!(one::<i64>(&direct, "SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn a_falsified_answer_hides_what_the_server_did_and_the_connection_goes_on() {
    let database = TestDatabase::empty().await.unwrap();
    let port = database.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().parse::<u16>().unwrap();
    let proxy = Proxy::start(("127.0.0.1", port)).unwrap();
    let client = connect(&proxy.through(database.url()).unwrap()).await.unwrap();
    client.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    for (n, cut, kept) in [(1, CommitCut::Falsified(*b"08006"), 1), (2, CommitCut::Refused(*b"57P01"), 1)] {
        proxy.cut_commits(1, cut);
        client.batch_execute(&format!("BEGIN; INSERT INTO t VALUES ({n})")).await.unwrap();
        let refused = client.batch_execute("SELECT 1; COMMIT").await.unwrap_err();
        let code = refused.code().unwrap().code().to_owned();
        assert!(
            matches!(cut, CommitCut::Falsified(said) | CommitCut::Refused(said) if said == code.as_bytes())
        );
        assert_eq!(one::<i64>(&client, "SELECT count(*) FROM t").await, kept, "{cut:?}");
    }
    // What stands before the COMMIT in the same flush is answered all the same.
    proxy.cut_commits(1, CommitCut::Refused(*b"57P01"));
    client.batch_execute("BEGIN; INSERT INTO t VALUES (3)").await.unwrap();
    let both = async { tokio::join!(client.batch_execute("SELECT 1"), client.batch_execute("COMMIT")) };
    let (before, refused) = timeout(LIMIT, both).await.unwrap();
    before.unwrap();
    assert_eq!(refused.unwrap_err().code().unwrap().code(), "57P01");
    assert_eq!(one::<i64>(&client, "SELECT count(*) FROM t").await, 1, "rolled back");
}

/// The client waits for as long as its connection lasts, and others see what the server did.
#[tokio::test]
async fn what_is_held_back_at_a_commit_never_comes() {
    let Through { database, proxy, url } = through().await;
    let direct = connect(database.url()).await.unwrap();
    direct.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    for (cut, is_committed) in [(CommitCut::HeldBack, false), (CommitCut::Unanswered, true)] {
        for way in ["simple", "in one query", "pipelined"] {
            direct.batch_execute("TRUNCATE t").await.unwrap();
            let cut_before = proxy.counters().commits_cut;
            proxy.cut_commits(1, cut);
            let client = connect(&url).await.unwrap();
            client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
            let committing = tokio::spawn(async move {
                let error = commit(&client, way).await.unwrap_err();
                assert!(error.as_db_error().is_none(), "{way}: {error:?}");
            });
            until(way, async || proxy.counters().commits_cut == cut_before + 1).await;
            let other = connect(&url).await.unwrap();
            let there = one::<bool>(&other, "SELECT EXISTS (SELECT FROM t WHERE n = 1)").await;
            assert_eq!(there, is_committed, "{cut:?} {way}");
            assert!(!committing.is_finished(), "{cut:?} {way}: nothing was closed");
            proxy.cut();
            timeout(LIMIT, committing).await.unwrap().unwrap();
        }
    }
}

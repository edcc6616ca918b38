//! What is read of real servers, and what is not when something is in the way.

use db_core::Endpoint;
use db_monitoring::server::{DatabaseSnapshot, Round, ServerSession, Snapshot};
use db_testkit::{Cluster, skip};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) async fn session(url: &str) -> ServerSession {
    let conn = AsyncPgConnection::establish(url).await.unwrap();
    ServerSession::open(conn, Endpoint::new("here", 5432)).await.unwrap()
}

/// Everything, in all rounds.
async fn everything(session: &ServerSession) -> (Snapshot, DatabaseSnapshot) {
    let (mut snapshot, mut database) = (Snapshot::default(), DatabaseSnapshot::default());
    for round in [Round::Sizes, Round::Activity, Round::Counters, Round::Statements, Round::Hourly] {
        snapshot.collect(session, round).await;
        database.collect(session, round).await;
    }
    (snapshot, database)
}

async fn check_version(major: u16) -> Tested {
    let cluster = Cluster::builder().version(major).standbys(0).start().await;
    let Some(cluster) = skip::without(cluster) else { return Ok(()) };
    let mut setup = cluster.connect(0).await?;
    setup.batch_execute("CREATE TABLE \"odd \"\"name\n\\\" (id serial PRIMARY KEY)").await?;
    let (snapshot, database) = everything(&session(&cluster.primary_url()).await).await;
    let json = serde_json::to_value(&snapshot)?;
    let mut skipped: Vec<_> = json
        .as_object()
        .unwrap()
        .iter()
        .filter_map(|(name, section)| {
            Some((name.clone(), section.get("skipped")?["reason"].as_str()?.to_owned()))
        })
        .collect();
    skipped.sort();
    let mut expected = vec![];
    if major < 16 {
        expected.push(("io".to_owned(), "missing".to_owned()));
    }
    if major < 19 {
        expected.push(("lock_stats".to_owned(), "missing".to_owned()));
    }
    expected.push(("receiver".to_owned(), "not_applicable".to_owned()));
    expected.push(("statements".to_owned(), "missing".to_owned()));
    expected.push(("statements_info".to_owned(), "missing".to_owned()));
    assert_eq!(skipped, expected, "{json:#}");
    assert_eq!(database.tables.get().map(Vec::len), Ok(1));
    assert_eq!(database.indexes.get().map(Vec::len), Ok(1));
    assert_eq!(database.sequences.get().map(Vec::len), Ok(1));
    assert!(database.extensions.get().is_ok_and(|all| all.iter().any(|one| one.extname == "plpgsql")));
    assert!(snapshot.checkpointer.get().is_ok_and(|it| it.num_timed.is_some()));
    assert!(snapshot.server.get().is_ok_and(|it| it.timeline == Some(1) && it.system_identifier.is_some()));
    Ok(())
}

#[tokio::test]
async fn a_snapshot_is_whole_on_every_major() -> Tested {
    for major in [15, 16, 17, 18] {
        check_version(major).await?;
    }
    Ok(())
}

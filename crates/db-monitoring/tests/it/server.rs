//! What is read of real servers, and what is not when something is in the way.

use db_core::Endpoint;
use db_monitoring::server::{DatabaseSnapshot, LagState, Round, ServerSession, SkipReason, Snapshot};

use crate::collecting::collector;
use db_testkit::{Cluster, skip};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) async fn session(url: &str) -> ServerSession {
    let conn = AsyncPgConnection::establish(url).await.unwrap();
    ServerSession::open(conn, Endpoint::new("here", 5432)).await.unwrap()
}

/// Everything, in all rounds.
pub(crate) async fn everything(session: &ServerSession) -> (Snapshot, DatabaseSnapshot) {
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
    expected.push(("lag".to_owned(), "too_soon".to_owned()));
    expected.push(("receiver".to_owned(), "not_applicable".to_owned()));
    expected.push(("statements".to_owned(), "missing".to_owned()));
    expected.push(("statements_info".to_owned(), "missing".to_owned()));
    expected.sort();
    assert_eq!(skipped, expected);
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

#[tokio::test]
async fn a_locked_table_blinds_nobody_and_nothing_of_ours_queues() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    setup
        .batch_execute(
            "CREATE TABLE one (id serial PRIMARY KEY); CREATE TABLE two (id serial PRIMARY KEY); \
        INSERT INTO one DEFAULT VALUES; INSERT INTO two DEFAULT VALUES",
        )
        .await?;
    let mut holder = cluster.connect(0).await?;
    holder
        .batch_execute(
            "BEGIN; LOCK TABLE one IN ACCESS EXCLUSIVE MODE; ALTER SEQUENCE one_id_seq CACHE \
        2; DROP TABLE two",
        )
        .await?;
    let session = session(&cluster.primary_url()).await;
    let started = std::time::Instant::now();
    let (snapshot, database) = everything(&session).await;
    let tables: Vec<_> = database.tables.get().unwrap().iter().map(|table| &*table.relname).collect();
    assert_eq!(tables, ["one", "two"], "a table that is being dropped is there until it is");
    let sequences = database.sequences.get().unwrap();
    let of = |name: &str| sequences.iter().find(|one| one.sequencename == name).unwrap();
    assert_eq!((of("one_id_seq").locked, of("one_id_seq").last_value), (true, None));
    assert!(snapshot.lock_waits.get().is_ok_and(Vec::is_empty), "nobody waited");
    assert!(started.elapsed() < std::time::Duration::from_secs(3), "{:?}", started.elapsed());
    holder.batch_execute("COMMIT").await?;
    let (_, database) = everything(&session).await;
    let sequences = database.sequences.get().unwrap();
    assert_eq!((sequences.len(), sequences[0].locked, sequences[0].last_value), (1, false, Some(1)));
    Ok(())
}

#[tokio::test]
async fn a_role_without_rights_is_told_what_it_does_not_see() -> Tested {
    let cluster = Cluster::builder().standbys(0).setting("logging_collector", "off").start().await?;
    let mut setup = cluster.connect(0).await?;
    setup
        .batch_execute(
            "CREATE ROLE nobody LOGIN PASSWORD 'nobody'; CREATE ROLE watcher LOGIN PASSWORD 'watcher'; \
        GRANT pg_monitor TO watcher; CREATE TABLE t (id serial PRIMARY KEY)",
        )
        .await?;
    for (role, sees) in [("nobody", false), ("watcher", true)] {
        let url = with_user(&cluster.primary_url(), role);
        let (snapshot, database) = everything(&session(&url).await).await;
        let skipped = |outcome: Option<SkipReason>| {
            if sees { outcome.is_none() } else { outcome == Some(SkipReason::NoPermission) }
        };
        assert!(
            skipped(snapshot.activity.get().err().map(|it| it.reason)),
            "{role}: {:?}",
            snapshot.activity
        );
        assert!(skipped(snapshot.senders.get().err().map(|it| it.reason)), "{role}: {:?}", snapshot.senders);
        assert!(
            skipped(snapshot.progress.get().err().map(|it| it.reason)),
            "{role}: {:?}",
            snapshot.progress
        );
        assert!(database.tables.get().is_ok() && snapshot.databases.get().is_ok(), "{role}");
    }
    Ok(())
}

fn with_user(url: &str, role: &str) -> String {
    let (_, server) = url.split_once('@').unwrap();
    format!("postgres://{role}:{role}@{server}")
}

#[tokio::test]
async fn lag_is_measured_by_positions_and_a_dead_receiver_is_not_in_time() -> Tested {
    let cluster = Cluster::builder().standbys(1).start().await?;
    cluster.wait_until_caught_up(1).await?;
    let standby = collector(&cluster.standby_urls()[0]);
    let primary = collector(&cluster.primary_url());
    let own = || standby.0.latest().lag.get().ok().and_then(|lag| lag.own.clone());
    let seen = || primary.0.latest().lag.get().ok().and_then(|lag| lag.standbys.first().cloned());
    db_testkit::until("an idle primary makes no lag", async || {
        own().is_some_and(|lag| lag.state == LagState::CaughtUp && lag.seconds == Some(0.0))
            && seen().is_some_and(|lag| lag.state == LagState::CaughtUp && lag.seconds == Some(0.0))
    })
    .await;
    cluster.pause_replay(1).await?;
    cluster.connect(0).await?.batch_execute("CREATE TABLE t AS SELECT generate_series(1, 10000)").await?;
    db_testkit::until("a paused standby grows late on both sides", async || {
        own().is_some_and(|lag| {
            lag.state == LagState::Paused && lag.seconds > Some(1.0) && lag.bytes > Some(0)
        }) && seen().is_some_and(|lag| lag.seconds > Some(1.0) && lag.bytes > Some(0))
    })
    .await;
    cluster.resume_replay(1).await?;
    db_testkit::until("it catches up", async || own().is_some_and(|lag| lag.state == LagState::CaughtUp))
        .await;
    cluster.kill(0).await?;
    db_testkit::until("a receiver that is dead is late", async || {
        own().is_some_and(|lag| lag.state == LagState::NoReceiver && lag.at_least && lag.seconds > Some(0.5))
    })
    .await;
    assert!(primary.0.latest().lag.get().is_err(), "the dead server tells nothing");
    Ok(())
}

#[tokio::test]
async fn a_column_that_a_major_renames_or_drops_is_unknown_and_no_error() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    // As a major that nobody has seen yet might: an optional column and one that a row is nothing without.
    setup
        .batch_execute(
            "SET allow_system_table_mods = on; \
             ALTER VIEW pg_stat_database RENAME COLUMN deadlocks TO dead_locks; \
             ALTER VIEW pg_stat_archiver RENAME COLUMN failed_count TO failures; \
             ALTER VIEW pg_prepared_xacts RENAME COLUMN gid TO global_id; \
             DROP VIEW pg_stat_wal",
        )
        .await?;
    let (snapshot, _) = everything(&session(&cluster.primary_url()).await).await;
    let databases = snapshot.databases.get().unwrap();
    assert!(databases.iter().all(|row| row.deadlocks.is_none()), "unknown, not zero");
    assert!(
        snapshot.archiver.get().is_ok_and(|row| row.failed_count.is_none() && row.archived_count.is_some())
    );
    let missing = |skipped: &db_monitoring::server::Skipped| skipped.reason == SkipReason::Missing;
    assert!(snapshot.prepared.get().is_err_and(missing), "{:?}", snapshot.prepared);
    assert!(snapshot.wal.get().is_err_and(missing), "{:?}", snapshot.wal);
    let is_log = |path: &std::path::PathBuf| path.extension().is_some_and(|end| end == "log");
    let files = std::fs::read_dir(cluster.dir())?.flatten().map(|file| file.path()).filter(is_log);
    let log: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    assert!(log.contains("ready to accept connections") && !log.contains("ERROR"), "{log}");
    Ok(())
}

#[tokio::test]
async fn tables_that_come_and_go_blind_nobody() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    setup.batch_execute("CREATE TABLE stays (id serial PRIMARY KEY)").await?;
    let session = session(&cluster.primary_url()).await;
    let comes_and_goes = tokio::spawn(async move {
        loop {
            let text = "CREATE TABLE goes (id serial PRIMARY KEY, note text); CREATE INDEX ON goes (note); DROP TABLE goes";
            if setup.batch_execute(text).await.is_err() {
                return;
            }
        }
    });
    for _ in 0..50 {
        let (_, database) = everything(&session).await;
        assert!(database.tables.get().is_ok_and(|all| all.iter().any(|table| table.relname == "stays")));
        assert!(
            database.indexes.get().is_ok() && database.sequences.get().is_ok(),
            "{:?}",
            database.sequences
        );
        let schema = database.schema.get().unwrap();
        assert!(schema.bloat().is_ok(), "{:?}", schema.bloat());
    }
    comes_and_goes.abort();
    Ok(())
}

/// What our session ran last.
async fn asked_last(conn: &mut AsyncPgConnection) -> Result<String, diesel::result::Error> {
    #[derive(diesel::QueryableByName)]
    struct Query {
        #[diesel(sql_type = diesel::sql_types::Text)]
        query: String,
    }
    let sql = "SELECT query FROM pg_stat_activity WHERE application_name = 'db-platform monitoring'";
    let found: Query = diesel_async::RunQueryDsl::get_result(diesel::sql_query(sql), conn).await?;
    Ok(found.query)
}

#[tokio::test]
async fn the_size_of_a_database_is_asked_again_only_when_something_was_written() -> Tested {
    let cluster = Cluster::builder().standbys(0).setting("autovacuum", "off").start().await?;
    let mut writer = cluster.connect(0).await?;
    let session = session(&cluster.primary_url()).await;
    let mut snapshot = Snapshot::default();
    let size = |snapshot: &Snapshot| {
        let sizes = snapshot.database_sizes.get().map(Vec::as_slice).unwrap_or_default();
        sizes.iter().find(|one| one.datname == session.database()).and_then(|one| one.bytes)
    };
    snapshot.collect(&session, Round::Statements).await;
    let before = size(&snapshot).ok_or("the size is known")?;
    assert!(asked_last(&mut writer).await?.contains("pg_database_size"));
    snapshot.collect(&session, Round::Statements).await;
    assert_eq!(size(&snapshot), Some(before));
    assert!(!asked_last(&mut writer).await?.contains("pg_database_size"), "nothing was written");
    // A transaction that is open has written already, and its rows are counted later.
    writer
        .batch_execute("BEGIN; CREATE TABLE t AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)")
        .await?;
    snapshot.collect(&session, Round::Statements).await;
    let meanwhile = size(&snapshot).ok_or("the size is known")?;
    assert!(meanwhile > before + 1_000_000, "{before} to {meanwhile}");
    for statement in ["COMMIT", "DELETE FROM t", "VACUUM t"] {
        writer.batch_execute(statement).await?;
    }
    let mut looker = cluster.connect(0).await?;
    db_testkit::until("the counters say so, and the size is asked again", async || {
        snapshot.collect(&session, Round::Statements).await;
        size(&snapshot).is_some_and(|now| now < meanwhile)
            || asked_last(&mut looker).await.is_ok_and(|sql| sql.contains("pg_database_size"))
    })
    .await;
    Ok(())
}

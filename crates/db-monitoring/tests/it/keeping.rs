//! History in the database: it survives a restart, keeps its bounds from the first run on, and touches
//! nothing of others.

use db_monitoring::server::{Collector, CollectorConfig, HistoryConfig, Resolution};
use db_testkit::{Cluster, until};
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::collecting::{Runs, open, quick};

type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

async fn tables(conn: &mut AsyncPgConnection) -> Vec<String> {
    let question =
        "SELECT relname::text AS name FROM pg_class WHERE relnamespace = to_regnamespace('dbp') ORDER BY 1";
    let rows: Vec<Name> = sql_query(question).load(conn).await.unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

fn keeping(url: &str, history: HistoryConfig) -> Runs {
    Runs::start(open(url, None), CollectorConfig { history: Some(history), ..quick() })
}

fn kept(collector: &Collector) -> Vec<f64> {
    collector.history(Resolution::Minute).iter().map(|point| point.active_sessions()).collect()
}

const POINT: &str = r#"{"at": 0, "seconds": 60, "server": "s", "figures": {"connections": 3}, "load": [
    {"wait": "CPU", "query_id": 7, "sessions": 2.5}], "later": "a field that a later version adds"}"#;

#[tokio::test]
async fn history_survives_a_restart_and_is_pruned_before_it_is_written() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    let first = keeping(&cluster.primary_url(), HistoryConfig::default());
    until("the tables are there", async || tables(&mut setup).await.len() >= 3).await;
    drop(first);
    setup
        .batch_execute(&format!("INSERT INTO dbp.history SELECT now() - interval '1 s', 60, 's', '{POINT}'"))
        .await?;
    // What is too old, and what is not ours though it looks like it.
    setup
        .batch_execute(
            "CREATE TABLE dbp.history_20200101 PARTITION OF dbp.history FOR VALUES FROM ('2020-01-01 \
            00:00:00+00') TO ('2020-01-02 00:00:00+00'); \
         CREATE TABLE dbp.history_mine PARTITION OF dbp.history FOR VALUES FROM ('2020-02-01 00:00:00+00') \
         TO ('2020-02-02 00:00:00+00'); \
         CREATE TABLE dbp.history_20200301 (mine int)",
        )
        .await?;
    let second =
        keeping(&cluster.primary_url(), HistoryConfig { retention_days: 1, ..HistoryConfig::default() });
    until("what was kept is read", async || kept(&second.0) == [2.5]).await;
    let names = tables(&mut setup).await;
    let has = |name: &str| names.iter().any(|one| one == name);
    assert!(!has("history_20200101"), "too old: {names:?}");
    assert!(has("history_mine") && has("history_20200301"), "not ours: {names:?}");
    Ok(())
}

#[tokio::test]
async fn history_is_bounded_in_rows_and_bytes() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    let first = keeping(&cluster.primary_url(), HistoryConfig::default());
    until("the tables are there", async || tables(&mut setup).await.len() >= 3).await;
    drop(first);
    for day in ["20250101", "20250102"] {
        let (from, to) = (&format!("2025-01-{}", &day[6..]), day[6..].parse::<u32>()? + 1);
        setup
            .batch_execute(&format!(
                "CREATE TABLE dbp.history_{day} PARTITION OF dbp.history FOR VALUES FROM ('{from} \
                00:00:00+00') TO ('2025-01-0{to} 00:00:00+00'); \
             INSERT INTO dbp.history SELECT '{from} 12:00:00+00', 60, 's', '{POINT}' FROM \
             generate_series(1, 600); ANALYZE dbp.history_{day}"
            ))
            .await?;
    }
    let all = HistoryConfig { retention_days: 3_650, ..HistoryConfig::default() };
    let second = keeping(&cluster.primary_url(), HistoryConfig { most_rows: 1_000, ..all });
    until("the oldest day is gone", async || {
        !tables(&mut setup).await.contains(&"history_20250101".to_owned())
    })
    .await;
    assert!(tables(&mut setup).await.contains(&"history_20250102".to_owned()), "there is room for it");
    drop(second);
    let _third = keeping(&cluster.primary_url(), HistoryConfig { most_bytes: 10_000, ..all });
    until("the other one too", async || !tables(&mut setup).await.contains(&"history_20250102".to_owned()))
        .await;
    Ok(())
}

#[tokio::test]
async fn a_table_of_another_role_is_not_written_to() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    setup.batch_execute(
        "CREATE ROLE other; CREATE SCHEMA dbp; CREATE TABLE dbp.history (at timestamptz, every int, server \
            text, point text) \
         PARTITION BY RANGE (at); ALTER TABLE dbp.history OWNER TO other",
    )
    .await?;
    let collecting = keeping(&cluster.primary_url(), HistoryConfig::default());
    until("it leads and collects", async || {
        collecting.0.is_leader() && collecting.0.latest().databases.get().is_ok()
    })
    .await;
    until("ten seconds are seen", async || !collecting.0.history(Resolution::TenSeconds).is_empty()).await;
    assert_eq!(tables(&mut setup).await, ["history"], "no partition was made");
    Ok(())
}

#[tokio::test]
async fn history_is_not_written_where_the_disk_has_too_little_room() -> Tested {
    let cluster = Cluster::builder().standbys(0).start().await?;
    let mut setup = cluster.connect(0).await?;
    let none =
        keeping(&cluster.primary_url(), HistoryConfig { least_free: u64::MAX, ..HistoryConfig::default() });
    until("the table is there", async || tables(&mut setup).await.contains(&"history".to_owned())).await;
    until("ten seconds are seen", async || !none.0.history(Resolution::TenSeconds).is_empty()).await;
    assert_eq!(tables(&mut setup).await, ["history"], "no partition was made");
    Ok(())
}

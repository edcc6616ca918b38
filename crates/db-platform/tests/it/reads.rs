//! Where reads go: to standbys that are alive and fresh, else to the primary, and never to an error.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use db_platform::{Config, DatabaseUrl, Db, Error, Freshness};
use db_testkit::{Cluster, Stop, TestDatabase, until};
use diesel::sql_query;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::task::JoinSet;

use crate::{Number, config, db, port, port_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_to_both_standbys_and_writes_to_the_primary() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let db = db(&cluster).await;
    let mut answered = BTreeSet::new();
    until("both standbys answered", async || {
        answered.insert(db.read(async |conn| port(conn).await).await.unwrap());
        answered.len() == 2
    })
    .await;
    let standbys: BTreeSet<_> = cluster.standby_urls().iter().map(|url| port_of(url)).collect();
    assert_eq!(answered, standbys);
    let writer: String = db.transaction::<_, Error>(async |conn| Ok(port(conn).await?)).await.unwrap();
    assert_eq!(writer, port_of(&cluster.primary_url()));
    let fresh = db.read_within(Freshness::Primary, async |conn| port(conn).await).await.unwrap();
    assert_eq!(fresh, writer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_in_a_read_fails_in_the_same_way_wherever_it_lands() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    for freshness in [Freshness::Any, Freshness::Primary] {
        let written =
            db.read_within(freshness, async |conn| conn.batch_execute("CREATE TABLE t ()").await).await;
        let error = written.unwrap_err();
        assert_eq!(error.sqlstate().unwrap().as_str(), "25006", "{freshness:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_killed_under_load_costs_no_failed_read_and_is_used_again_when_it_is_back() {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let db = db(&cluster).await;
    let (stop, mut readers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for _ in 0..8 {
        let (db, stop) = (db.clone(), Arc::clone(&stop));
        readers.spawn(async move {
            let mut reads = 0_u32;
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                db.read(async |conn| port(conn).await).await.unwrap();
                reads += 1;
            }
            reads
        });
    }
    let reads_of = |db: &Db, index: usize| db.topology().nodes[index].reads.total();
    until("the second standby answers", async || reads_of(&db, 2) > 100).await;
    cluster.kill(2).await.unwrap();
    until("it is seen down", async || !db.topology().nodes[2].is_up()).await;
    let (first, second) = (reads_of(&db, 1), reads_of(&db, 2));
    until("the first goes on", async || reads_of(&db, 1) > first + 200).await;
    assert!(reads_of(&db, 2) <= second + 8, "only reads that had already chosen it still count");

    cluster.start(2).await.unwrap();
    let second = reads_of(&db, 2);
    until("reads return to it", async || reads_of(&db, 2) > second + 100).await;
    stop.store(true, Ordering::Relaxed);
    while let Some(reader) = readers.join_next().await {
        assert!(reader.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_fresh_standby_the_primary_answers() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut settings = config(&cluster);
    settings.router.max_lag = Duration::from_millis(500);
    let db = Db::connect(settings).await.unwrap();
    let primary = port_of(&cluster.primary_url());
    let answered = async || db.read(async |conn| port(conn).await).await.unwrap();
    until("the standby answers", async || answered().await != primary).await;

    cluster.pause_replay(1).await.unwrap();
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute("CREATE TABLE late ()").await?))
        .await
        .unwrap();
    until("the primary answers in its place", async || answered().await == primary).await;
    cluster.resume_replay(1).await.unwrap();
    until("the standby answers again", async || answered().await != primary).await;

    cluster.stop(1, Stop::Immediate).await.unwrap();
    for _ in 0..20 {
        assert_eq!(answered().await, primary, "all standbys are gone");
    }
}

/// Nothing was written for longer than the lag allowed: that is no lag.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_primary_does_not_look_like_lag() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut settings = config(&cluster);
    settings.router.max_lag = Duration::from_millis(200);
    let db = Db::connect(settings).await.unwrap();
    cluster.wait_until_caught_up(1).await.unwrap();
    let idle = Instant::now();
    until("nothing was written for long", async || idle.elapsed() > Duration::from_millis(400)).await;
    until("the standby answers", async || {
        db.read(async |conn| port(conn).await).await.unwrap() == port_of(&cluster.standby_urls()[0])
    })
    .await;
    assert_eq!(db.topology().nodes[1].lag, Some(Duration::ZERO));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_hosts_the_primary_is_found() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (standby, primary) = (port_of(&cluster.standby_urls()[0]), port_of(&cluster.primary_url()));
    let hosts = format!("127.0.0.1:1,127.0.0.1:{standby},127.0.0.1:{primary}");
    let url = format!("postgres://postgres:{}@{hosts}/app", db_testkit::password());
    let url: DatabaseUrl = url.parse().unwrap();
    let db = Db::connect(Config::new(db_platform::Environment::Test, url)).await.unwrap();
    assert_eq!(db.transaction::<_, Error>(async |conn| Ok(port(conn).await?)).await.unwrap(), primary);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_alone_answers_everything() {
    let database = TestDatabase::empty().await.unwrap();
    let db = Db::connect(Config::new(db_platform::Environment::Test, database.url().parse().unwrap()))
        .await
        .unwrap();
    let n = db
        .read(async |conn| sql_query("SELECT 7::bigint AS n").get_result::<Number>(conn).await)
        .await
        .unwrap()
        .n;
    assert_eq!(n, 7);
}

/// The closures that the design promises to accept: captured references, spawned tasks, function items.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_may_capture_references_and_run_in_a_spawned_task() {
    let database = TestDatabase::empty().await.unwrap();
    let db = Db::connect(Config::new(db_platform::Environment::Test, database.url().parse().unwrap()))
        .await
        .unwrap();
    let spawned = tokio::spawn({
        let db = db.clone();
        async move {
            let text = String::from("SELECT 9::bigint AS n");
            let captured = &text;
            db.transaction::<_, Error>(async |conn| {
                Ok(sql_query(captured).get_result::<Number>(conn).await?.n)
            })
            .await
        }
    });
    assert_eq!(spawned.await.unwrap().unwrap(), 9);
    assert!(db.read(port).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_in_any_order_the_roles_are_found_out() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (standby, primary) = (cluster.standby_urls()[0].clone(), cluster.primary_url());
    let nodes = format!("{standby},{primary}");
    let lookup = |name: &str| match name {
        "APP_ENV" => Some("test".to_owned()),
        "DATABASE_NODES" => Some(nodes.clone()),
        _ => None,
    };
    let db = Db::connect(Config::from_lookup(&lookup).unwrap()).await.unwrap();
    let wrote: String = db.transaction::<_, Error>(async |conn| Ok(port(conn).await?)).await.unwrap();
    assert_eq!(wrote, port_of(&primary));
    until("the standby answers reads", async || db.read(port).await.unwrap() == port_of(&standby)).await;
}

/// The configuration still names the old primary, which is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_starts_while_only_standbys_are_up_and_writes_once_one_is_promoted() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let standby = cluster.url_of(1).unwrap();
    cluster.kill(0).await.unwrap();
    let db = db(&cluster).await;
    assert_eq!(db.read(port).await.unwrap(), port_of(&standby));
    let write = async |conn: &mut AsyncPgConnection| Ok(conn.batch_execute("CREATE TABLE t ()").await?);
    let (written, promoted) =
        tokio::join!(db.transaction::<_, Error>(write), async { cluster.promote(1).await });
    promoted.unwrap();
    written.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_refuses_the_login_is_an_error_whoever_else_answers() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let mut wrong = config(&cluster);
    wrong.url = cluster.primary_url().replace("postgres://postgres:", "postgres://nobody:").parse().unwrap();
    let refused = Db::connect(wrong).await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_known_of_the_servers_is_json_and_a_line_each() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let db = db(&cluster).await;
    let is_caught_up = async || db.topology().nodes[1].lag == Some(Duration::ZERO);
    until("the standby is up to date", is_caught_up).await;
    let topology = db.topology();
    let json = serde_json::to_value(&topology).unwrap();
    assert_eq!(json["writer"], topology.writer.as_ref().unwrap().to_string());
    let (primary, standby) = (&json["nodes"][0], &json["nodes"][1]);
    assert_eq!((&primary["role"], &standby["role"]), (&"primary".into(), &"standby".into()), "{json}");
    assert_eq!((&standby["lag_seconds"], &standby["up"]), (&0.0.into(), &true.into()), "{json}");
    assert!(primary["latency_seconds"].is_f64() && json["last_failover_seconds"].is_null(), "{json}");
    let text = topology.to_string();
    assert!(text.contains("standby, up to date, 0 reads"), "{text}");
}

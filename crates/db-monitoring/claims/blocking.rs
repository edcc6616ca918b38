//! The blocking tree: exact for a chain, a star, a prepared transaction and a queue, and shown soon.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use db_core::Endpoint;
use db_monitoring::checks::BlockingLook;
use db_monitoring::server::ServerSession;
use db_monitoring::{BlockingNode, LockOwner};
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel::sql_types::Integer;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::runtime;

#[derive(QueryableByName)]
struct Pid {
    #[diesel(sql_type = Integer)]
    pid: i32,
}

/// Sessions by name, of which each may be in the middle of a statement.
struct Sessions {
    url: String,
    names: BTreeMap<i32, String>,
    waiting: Vec<tokio::task::JoinHandle<()>>,
}

impl Sessions {
    async fn open(&mut self, name: impl Into<String>) -> AsyncPgConnection {
        let mut conn = AsyncPgConnection::establish(&self.url).await.unwrap();
        let pid: Pid = sql_query("SELECT pg_backend_pid() AS pid").get_result(&mut conn).await.unwrap();
        self.names.insert(pid.pid, name.into());
        conn.batch_execute("BEGIN").await.unwrap();
        conn
    }

    /// Runs a statement that will wait.
    fn wait(&mut self, mut conn: AsyncPgConnection, sql: &str) {
        let sql = sql.to_owned();
        self.waiting.push(tokio::spawn(async move {
            let _ = conn.batch_execute(&sql).await;
            // Locks are kept until the session ends.
            let _ = conn.batch_execute("COMMIT").await;
        }));
    }

    fn shape(&self, nodes: &[BlockingNode]) -> String {
        let one = |node: &BlockingNode| {
            let name = match &node.owner {
                LockOwner::Pid(pid) => self.names.get(pid).cloned().unwrap_or_else(|| pid.to_string()),
                LockOwner::PreparedTransaction(name) => name.clone(),
            };
            if node.blocks.is_empty() { name } else { format!("{name}({})", self.shape(&node.blocks)) }
        };
        let mut all: Vec<_> = nodes.iter().map(one).collect();
        all.sort();
        all.join(" ")
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let majors: &[u16] = match size {
        Size::Ci => &[15, 18],
        Size::Nightly => &[15, 16, 17, 18],
    };
    runtime().block_on(async {
        let (mut slowest, mut wrong, mut detail) = (0.0_f64, Vec::new(), serde_json::Map::new());
        for major in majors {
            for (case, expected) in cases() {
                let (shown, shape) = of_case(*major, case, &expected).await;
                slowest = slowest.max(shown);
                detail.insert(format!("{major} {case}"), json!({ "shown_after_s": shown, "tree": shape }));
                if shape != expected {
                    wrong.push(format!("{major} {case}: {shape}"));
                }
            }
        }
        detail.insert("wrong".to_owned(), json!(wrong));
        let holds = wrong.is_empty() && slowest <= 1.5;
        Figure { value: slowest, unit: "s until the tree is shown exactly", holds, detail: detail.into() }
    })
}

fn cases() -> Vec<(&'static str, String)> {
    let mut star: Vec<String> = (1..=20).map(|number| format!("w{number}")).collect();
    star.sort();
    vec![
        ("chain of five", "s1(s2(s3(s4(s5))))".to_owned()),
        ("star of twenty", format!("root({})", star.join(" "))),
        ("prepared transaction", "gone(w)".to_owned()),
        ("queue behind a change", "reader(change(late))".to_owned()),
    ]
}

async fn of_case(major: u16, case: &str, expected: &str) -> (f64, String) {
    let builder = Cluster::builder().version(major).standbys(0);
    let builder = builder.setting("max_prepared_transactions", "5").setting("deadlock_timeout", "60s");
    let cluster = builder.start().await.unwrap();
    let mut setup = cluster.connect(0).await.unwrap();
    setup
        .batch_execute("CREATE TABLE a (n int); CREATE TABLE b (n int); CREATE TABLE c (n int)")
        .await
        .unwrap();
    setup.batch_execute("CREATE TABLE d (n int); CREATE TABLE e (n int)").await.unwrap();
    let watching = AsyncPgConnection::establish(&cluster.primary_url()).await.unwrap();
    let session = ServerSession::open(watching, Endpoint::new("here", 5432)).await.unwrap();
    let mut sessions = Sessions { url: cluster.primary_url(), names: BTreeMap::new(), waiting: Vec::new() };
    let mut kept = Vec::new();
    match case {
        "chain of five" => {
            let tables = ["a", "b", "c", "d", "e"];
            let mut holders = Vec::new();
            for (place, table) in tables.iter().enumerate() {
                let mut conn = sessions.open(format!("s{}", place + 1)).await;
                conn.batch_execute(&format!("LOCK TABLE {table}")).await.unwrap();
                holders.push(conn);
            }
            for (place, conn) in holders.into_iter().enumerate() {
                match place {
                    0 => kept.push(conn),
                    place => sessions.wait(conn, &format!("LOCK TABLE {}", tables[place - 1])),
                }
            }
        }
        "star of twenty" => {
            let mut root = sessions.open("root").await;
            root.batch_execute("LOCK TABLE a").await.unwrap();
            kept.push(root);
            for number in 1..=20 {
                let conn = sessions.open(format!("w{number}")).await;
                sessions.wait(conn, "LOCK TABLE a");
            }
        }
        "prepared transaction" => {
            let mut root = sessions.open("unused").await;
            root.batch_execute("LOCK TABLE a").await.unwrap();
            root.batch_execute("PREPARE TRANSACTION 'gone'").await.unwrap();
            kept.push(root);
            let conn = sessions.open("w").await;
            sessions.wait(conn, "LOCK TABLE a IN SHARE MODE");
        }
        _ => {
            let mut reader = sessions.open("reader").await;
            reader.batch_execute("SELECT * FROM a").await.unwrap();
            kept.push(reader);
            let conn = sessions.open("change").await;
            sessions.wait(conn, "ALTER TABLE a ADD COLUMN m int");
            // The next one must come behind it in the queue.
            let ahead = Instant::now();
            while sessions.shape(&tree(&session).await) != "reader(change)"
                && ahead.elapsed() < Duration::from_secs(10)
            {}
            let conn = sessions.open("late").await;
            sessions.wait(conn, "SELECT * FROM a");
        }
    }
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    // The collector looks once a second.
    let shown = loop {
        ticks.tick().await;
        let shape = sessions.shape(&tree(&session).await);
        if shape == expected || begun.elapsed() > Duration::from_secs(10) {
            break (begun.elapsed().as_secs_f64(), shape);
        }
    };
    let _ = setup.batch_execute("ROLLBACK PREPARED 'gone'").await;
    drop(kept);
    for waiting in sessions.waiting {
        waiting.await.unwrap();
    }
    shown
}

async fn tree(session: &ServerSession) -> Vec<BlockingNode> {
    BlockingLook::read(session, true).await.tree().unwrap().roots.clone()
}

//! The reference migrations on every server version that we support.

use db_migrations::MigrationError;
use db_migrations::check::{CheckConfig, CheckReport, Databases, Fingerprint, check};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::boot_storm::{Storm, boot_all};
use crate::fixture::{migrator, number, reference, runtime};
use crate::{Figure, Size};

const MAJORS: [u16; 5] = [14, 15, 16, 17, 18];

/// What came of one version.
struct Run {
    major: u16,
    server: i64,
    /// Whether up, down and up lead to the same schema, or why one of them failed.
    same: Result<bool, String>,
    /// Boots that failed, and migrations of the storm that did not run exactly once.
    storm: Vec<String>,
    report: CheckReport,
}

pub(crate) fn measure(_: Size) -> Figure {
    let runs: Vec<Run> = MAJORS.into_iter().map(|major| runtime().block_on(one(major))).collect();
    let right = |run: &&Run| {
        run.same == Ok(true)
            && run.storm.is_empty()
            && run.report.summary.passes
            && run.server == i64::from(run.major)
    };
    let held = runs.iter().filter(right).count();
    let shown: Vec<Value> = runs.iter().map(|run| shown(run, right(&run))).collect();
    Figure { value: held as f64, unit: "versions", holds: held == MAJORS.len(), detail: json!(shown) }
}

fn shown(run: &Run, right: bool) -> Value {
    let wrong = run.report.migrations.iter().filter(|one| !one.passes());
    json!({
        "pg": run.major,
        "right": right,
        "up_down_up_is_the_same": run.same,
        "storm": run.storm,
        "check": run.report.summary,
        "wrong": wrong.map(|one| json!({ "name": one.name, "lost": one.lost, "error": one.error })).collect::<Vec<_>>(),
    })
}

async fn one(major: u16) -> Run {
    eprintln!("migrations-8: PostgreSQL {major}");
    let cluster = Cluster::builder().version(major).start().await.unwrap();
    let server = Server(cluster.primary_url());
    let same = up_down_up(&database(&server, "trip").await).await.map_err(|error| error.to_string());
    let mut storm = Storm::default();
    let ran = boot_all(&mut storm, &database(&server, "storm").await, migrator(reference())).await;
    if ran != reference().iter().count() {
        storm.failed.push(format!("{ran} migrations ran"));
    }
    let report = check(&server, &reference(), &CheckConfig::default(), |_| ()).await.unwrap();
    let mut conn = AsyncPgConnection::establish(&server.0).await.unwrap();
    let version = "SELECT current_setting('server_version_num')::bigint / 10000 AS n";
    Run { major, server: number(&mut conn, version).await, same, storm: storm.failed, report }
}

async fn up_down_up(url: &str) -> Result<bool, MigrationError> {
    let mut conn = AsyncPgConnection::establish(url).await.unwrap();
    let migrator = migrator(reference());
    let all = migrator.apply(&mut conn, |_| ()).await?.len();
    let first = Fingerprint::of(&mut conn).await.unwrap();
    migrator.undo(&mut conn, all, |_| ()).await?;
    migrator.apply(&mut conn, |_| ()).await?;
    let second = Fingerprint::of(&mut conn).await.unwrap();
    Ok(first.len() > all && first.diff(&second).is_empty())
}

async fn database(server: &Server, name: &str) -> String {
    let mut conn = AsyncPgConnection::establish(&server.0).await.unwrap();
    conn.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    server.url(name)
}

/// A server by the URL of one of its databases.
struct Server(String);

impl Server {
    fn url(&self, database: &str) -> String {
        let (server, _) = self.0.rsplit_once('/').unwrap();
        format!("{server}/{database}")
    }
}

impl Databases for Server {
    async fn connect(&self, database: &str) -> db_core::Result<AsyncPgConnection> {
        let connected = AsyncPgConnection::establish(&self.url(database)).await;
        connected.map_err(|error| db_core::Error::ConnectionLost { reason: error.to_string() })
    }
}

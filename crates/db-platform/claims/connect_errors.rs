//! Databases that cannot be reached, each in its own way.
//!
//! The line to remove: `; check user {user:?}` and its like in `ConnectError`'s `Display` of db-core's
//! connect_error.rs.

use std::time::{Duration, Instant};

use db_platform::{Config, Db};
use db_testkit::{Proxy, TestDatabase};
use serde_json::json;

use crate::{Figure, Size};

const PASSWORD: &str = "hunter2-very-secret";

/// What the settings ask for, and what a loaded machine may add.
const TIMEOUT: Duration = Duration::from_secs(2);
const SLACK: Duration = Duration::from_millis(500);

pub(crate) fn measure(_: Size) -> Figure {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let at = database.url().rsplit_once('@').unwrap().1.to_owned();
        let (server, name) = at.split_once('/').unwrap();
        let stalled = Proxy::start(server).unwrap();
        stalled.stall();
        let user = format!("postgres://postgres:{PASSWORD}");
        let right = database.url().rsplit_once('/').unwrap().0;
        let own_password = right.split_once('@').unwrap().0.rsplit_once(':').unwrap().1.to_owned();
        let cases = [
            ("absent", None, "write postgres://"),
            ("wrong port", Some(format!("{user}@127.0.0.1:1/{name}")), "is PostgreSQL running there"),
            ("wrong password", Some(format!("{user}@{at}")), "check user"),
            ("unknown database", Some(format!("{right}/nowhere")), "create database"),
            ("never answers", Some(format!("{user}@127.0.0.1:{}/{name}", stalled.port())), "no answer within"),
        ];
        let (mut right, mut seen) = (0, Vec::new());
        for (case, url, advice) in cases {
            let started = Instant::now();
            let error = connect(url).await;
            let elapsed = started.elapsed();
            let leaks = |error: &str| error.contains(PASSWORD) || error.contains(&own_password);
            let fine = error.as_ref().is_some_and(|error| error.contains(advice) && !leaks(error));
            let holds = fine && elapsed <= TIMEOUT + SLACK;
            right += u32::from(holds);
            seen.push(json!({ "case": case, "ms": elapsed.as_secs_f64() * 1_000.0, "message": error, "holds": holds }));
        }
        Figure { value: f64::from(right), unit: "of 5 cases", holds: right == 5, detail: json!(seen) }
    })
}

/// What a service would print; nothing where it could connect.
async fn connect(url: Option<String>) -> Option<String> {
    let lookup = |name: &str| match name {
        "DATABASE_URL" => url.clone(),
        "DB_CONNECT_TIMEOUT" => Some(format!("{}s", TIMEOUT.as_secs())),
        _ => None,
    };
    match Config::from_lookup(&lookup) {
        Err(error) => Some(error.to_string()),
        Ok(config) => Db::connect(config).await.err().map(|error| format!("{error} {error:?}")),
    }
}

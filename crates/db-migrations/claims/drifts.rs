//! Drift: clean after every lawful way to a schema, and complete in what was changed by hand.

use db_core::Environment;
use db_migrations::check::{DriftConfig, drift};
use db_migrations::{Migrations, Until};
use db_testkit::Cluster;
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::check_server::Server;
use crate::fixture::{migrations, migrator, runtime};
use crate::{Figure, Size};

const BASE: &str = include_str!("../tests/corpus/by_hand_base.sql");
const CHANGES: &str = include_str!("../tests/corpus/by_hand.sql");

/// What a repeatable migration makes.
const REPEATABLE: &str = "CREATE OR REPLACE VIEW far_people AS\nSELECT id\nFROM people;\nCREATE OR REPLACE FUNCTION twice(n int) RETURNS int\n\
     LANGUAGE plpgsql AS $$\nBEGIN\n    RETURN 2 * n;\nEND $$;\n";

const MORE: [(&str, &str); 2] = [
    ("2_more/up.sql", "ALTER TABLE people ADD since date; CREATE TABLE late (id int PRIMARY KEY)"),
    ("2_more/down.sql", "DROP TABLE late; ALTER TABLE people DROP COLUMN since"),
];

/// What `dbctl seed` keeps.
const SEEDS: &str = "CREATE TABLE db_seeds (name text PRIMARY KEY, rows bigint NOT NULL); \
    INSERT INTO teams SELECT n, 't' || n FROM generate_series(1, 100) n; SELECT setval('numbers', 77)";

/// Ways to a schema that change nothing by hand.
const WAYS: [&str; 9] = [
    "apply",
    "apply one by one",
    "redo",
    "reset and apply",
    "baseline",
    "seed",
    "partitions",
    "search_path",
    "crlf",
];

pub(crate) fn measure(_size: Size) -> Figure {
    let changes: Vec<&str> =
        CHANGES.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
    runtime().block_on(async {
        let cluster = Cluster::builder().version(15).start().await.unwrap();
        let place = Place { url: cluster.primary_url() };
        let mut told = Vec::new();
        for way in WAYS {
            let mut conn = place.made("lawful", "template0").await;
            let all = place.go(way, &mut conn).await;
            let found = place.drift(&mut conn, &all).await;
            told.extend((!found.is_empty()).then(|| json!({ "way": way, "told": found })));
        }
        let mut missed = Vec::new();
        let mut base = place.made("base", "template0").await;
        let all = set("\n");
        migrator(all.clone()).apply(&mut base, |_| ()).await.unwrap();
        drop(base);
        for change in &changes {
            let mut conn = place.made("copy", "base").await;
            conn.batch_execute(change).await.unwrap_or_else(|error| unreachable!("{change}: {error}"));
            if place.drift(&mut conn, &all).await.is_empty() {
                missed.push(*change);
            }
            if change.contains("SUBSCRIPTION") {
                // It would keep its database.
                conn.batch_execute("ALTER SUBSCRIPTION heard SET (slot_name = NONE)").await.unwrap();
                conn.batch_execute("DROP SUBSCRIPTION heard").await.unwrap();
            }
        }
        let wrong = told.len() + missed.len();
        let detail = json!({
            "lawful_ways": WAYS.len(), "not_clean": told, "changes_by_hand": changes.len(), "missed": missed,
        });
        let holds = wrong == 0 && changes.len() >= 60;
        Figure { value: wrong as f64, unit: "", holds, detail }
    })
}

fn set(line_end: &str) -> Migrations {
    let mut files = vec![("1_base/up.sql", BASE), ("R__view.sql", REPEATABLE)];
    files.extend(MORE);
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.replace('\n', line_end))).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    migrations(&files)
}

struct Place {
    url: String,
}

impl Place {
    async fn connect(&self, database: &str) -> AsyncPgConnection {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        AsyncPgConnection::establish(&format!("{server}/{database}")).await.unwrap()
    }

    async fn made(&self, name: &str, template: &str) -> AsyncPgConnection {
        let mut admin = self.connect("postgres").await;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        let started = std::time::Instant::now();
        // A session that has just ended may still count.
        while let Err(error) = admin.batch_execute(&create).await {
            assert!(started.elapsed() < std::time::Duration::from_secs(10), "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        self.connect(name).await
    }

    /// Goes one of the ways, and says with which migrations it is compared.
    async fn go(&self, way: &str, conn: &mut AsyncPgConnection) -> Migrations {
        let all = set("\n");
        let migrator = migrator(all.clone());
        match way {
            "apply one by one" => {
                while !migrator.apply_until(conn, &Until::Steps(1), |_| ()).await.unwrap().is_empty() {}
            }
            "baseline" => {
                let by_hand = [BASE, MORE[0].1].join(";\n");
                conn.batch_execute(&by_hand).await.unwrap();
                let newest = all.iter().last().unwrap().version.to_string();
                migrator.baseline(conn, &newest).await.unwrap();
                migrator.apply(conn, |_| ()).await.unwrap();
            }
            "search_path" => {
                conn.batch_execute(
                    "CREATE SCHEMA tenant; ALTER DATABASE lawful SET search_path = tenant, public",
                )
                .await
                .unwrap();
                *conn = self.connect("lawful").await;
                migrator.apply(conn, |_| ()).await.unwrap();
            }
            _ => drop(migrator.apply(conn, |_| ()).await.unwrap()),
        }
        match way {
            "redo" => drop(migrator.redo(conn, |_| ()).await.unwrap()),
            "reset and apply" => {
                migrator.reset(conn, Some(Environment::Test), |_| ()).await.unwrap();
                migrator.apply(conn, |_| ()).await.unwrap();
            }
            "seed" => conn.batch_execute(SEEDS).await.unwrap(),
            "partitions" => {
                let upkeep = "SELECT add_month('2026-09-01'), add_month('2026-10-01'); DROP TABLE logs_a";
                conn.batch_execute(upkeep).await.unwrap();
            }
            "crlf" => return set("\r\n"),
            _ => {}
        }
        all
    }

    async fn drift(&self, live: &mut AsyncPgConnection, all: &Migrations) -> Vec<String> {
        let found = drift(&Server::new(self.url.clone()), all, live, &DriftConfig::default()).await.unwrap();
        if found.is_none() {
            return Vec::new();
        }
        found.differences.iter().map(ToString::to_string).chain(found.unknown).collect()
    }
}

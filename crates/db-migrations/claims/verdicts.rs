//! Whether the check says no to what it must: each change of a corpus is made beside readers and writers, and
//! judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_migrations::check::{CheckConfig, check};
use db_testkit::Cluster;
use diesel::sql_query;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::check_server::Server;
use crate::fixture::{migrations, migrator, runtime};
use crate::{Figure, Size};

const CHANGES: &str = include_str!("../tests/corpus/changes.sql");

/// What is there before each change.
const BASE: &str = "CREATE TABLE teams (id int PRIMARY KEY, label text NOT NULL, kind int NOT NULL DEFAULT 1);
CREATE TABLE people (id bigint PRIMARY KEY, name varchar(20) DEFAULT 'x', email text, visits int NOT NULL DEFAULT 0,
    team int, born date, score numeric(8,2));
CREATE INDEX people_name_idx ON people (name);
CREATE TABLE notes (id int PRIMARY KEY, body text, person bigint);
CREATE TABLE logs (id int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE logs_a PARTITION OF logs FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE VIEW named AS SELECT email, team FROM people;
CREATE MATERIALIZED VIEW counted AS SELECT team AS part, count(*) AS n FROM people GROUP BY 1;
CREATE UNIQUE INDEX ON counted (part);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE SCHEMA billing;
CREATE TABLE billing.bills (id int PRIMARY KEY, total int);
CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION total(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
GRANT ALL ON ALL TABLES IN SCHEMA public, billing TO app_of_claims;
GRANT USAGE ON SCHEMA billing TO app_of_claims;";

fn rows(people: usize) -> String {
    format!(
        "INSERT INTO teams SELECT n, 't' || n FROM generate_series(1, 1000) n;
         INSERT INTO people SELECT n, 'n' || n % 1000, NULL, n % 90, n % 1000 + 1, '2001-02-03', n % 77
             FROM generate_series(1, {people}) n;
         INSERT INTO notes SELECT n, 'b' || n, n FROM generate_series(1, 1000) n;
         INSERT INTO logs SELECT n, '2026-02-03' FROM generate_series(1, 1000) n;
         INSERT INTO billing.bills SELECT n, n FROM generate_series(1, 1000) n;
         REFRESH MATERIALIZED VIEW counted"
    )
}

/// What the code that runs beside the change asks; each answer must stay what it was.
const ASKS: [&str; 11] = [
    "SELECT count(id), count(name), count(email), count(visits), count(team), count(born), count(score) FROM people",
    "SELECT count(*) FROM (SELECT DISTINCT * FROM people) p",
    "SELECT count(id), count(label), count(kind) FROM teams WHERE id > 0",
    "SELECT count(id), count(body), count(person) FROM notes WHERE id > 0",
    "SELECT count(*) FROM (SELECT DISTINCT * FROM notes WHERE id > 0) n",
    "SELECT count(id), count(at) FROM logs",
    "SELECT count(email), count(team) FROM named",
    "SELECT count(*) FROM counted",
    "SELECT count(id), count(total) FROM billing.bills",
    "SELECT 'sad'::mood::text",
    "SELECT total(1)",
];

/// What it writes.
const WRITES: [&str; 8] = [
    "INSERT INTO people (id, name, email, visits, team, born, score) VALUES (-1, 'a', 'b', 1, 1, '2000-01-01', 1)",
    "UPDATE people SET visits = 5, name = 'c' WHERE id = 1",
    "DELETE FROM people WHERE id = 2",
    "INSERT INTO teams (id, label) VALUES (-1001, 'x')",
    "INSERT INTO notes (id, body, person) VALUES (-1001, 'x', 1)",
    "UPDATE notes SET body = 'y' WHERE id = 1",
    "INSERT INTO logs (id, at) VALUES (1, '2026-03-04')",
    "INSERT INTO billing.bills (id, total) VALUES (-1001, 1)",
];

/// What the probes do while the change runs; `$` is a row.
const PROBES: [&str; 6] = [
    "SELECT visits FROM people WHERE id = $",
    "UPDATE people SET team = team WHERE id = $",
    "SELECT label FROM teams WHERE id = 5",
    "UPDATE teams SET label = label WHERE id = 5",
    "SELECT n FROM counted WHERE part = 5",
    "SELECT body FROM notes WHERE id = 5",
];

const FEW: usize = 2_000;
const MANY: usize = 1_500_000;

/// So long a statement of the code beside it waits at least where a change blocks it for as long as the table
/// is large.
const BLOCKED: Duration = Duration::from_millis(70);

pub(crate) fn measure(size: Size) -> Figure {
    let all: Vec<&str> = CHANGES.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
    // At CI size every other one.
    let step = if size == Size::Nightly { 1 } else { 2 };
    runtime().block_on(async {
        let cluster = Cluster::builder().version(15).start().await.unwrap();
        let place = Place { url: cluster.primary_url() };
        let mut admin = place.connect("postgres").await;
        admin.batch_execute("CREATE ROLE app_of_claims").await.unwrap();
        for (name, people) in [("few", FEW), ("many", MANY)] {
            admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
            let mut conn = place.connect(name).await;
            let fill = format!("{BASE};{};ANALYZE", rows(people));
            conn.batch_execute(&fill).await.unwrap();
        }
        let mut counts = [0_usize; 4];
        let mut wrong = Vec::new();
        for change in all.iter().step_by(step) {
            let truth = place.truth(&mut admin, change).await;
            let says_no = place.says_no(change).await;
            let is_unsafe = truth.is_some();
            counts[usize::from(is_unsafe) * 2 + usize::from(says_no)] += 1;
            if is_unsafe != says_no {
                wrong.push(json!({ "change": change, "truth": truth, "says_no": says_no }));
            }
        }
        let [right_yes, false_no, missed, right_no] = counts;
        let share = |part: usize, of: usize| 100.0 * part as f64 / of.max(1) as f64;
        let (precise, complete) = (share(right_no, right_no + false_no), share(right_no, right_no + missed));
        let enough = step == 2 || (right_no + missed >= 60 && right_yes + false_no >= 60);
        let detail = json!({
            "unsafe": right_no + missed, "safe": right_yes + false_no, "precise_percent": precise,
            "complete_percent": complete, "wrong": wrong,
        });
        let value = precise.min(complete);
        Figure { value, unit: "%", holds: value >= 97.0 && enough, detail }
    })
}

struct Place {
    url: String,
}

impl Place {
    async fn connect(&self, database: &str) -> AsyncPgConnection {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        AsyncPgConnection::establish(&format!("{server}/{database}")).await.unwrap()
    }

    async fn says_no(&self, change: &str) -> bool {
        let all = migrations(&[("1_base/up.sql", BASE), ("2_change/up.sql", change)]);
        let config = CheckConfig { only: vec!["2".to_owned()], ..CheckConfig::default() };
        let report = check(&Server::new(self.url.clone()), &all, &config, |_| ()).await.unwrap();
        assert_eq!(report.summary.up_errors, 0, "{change}: {:?}", report.migrations);
        !report.summary.passes
    }

    /// What is bad about a change, as it was measured; none where nothing is.
    async fn truth(&self, admin: &mut AsyncPgConnection, change: &str) -> Option<String> {
        if let Some(broken) = self.broken(admin, change).await {
            return Some(broken);
        }
        let worst = self.longest_wait(admin, change, "many", MANY).await;
        if worst < BLOCKED {
            return None;
        }
        // What waits as long on a small table does not wait for its size.
        let small = self.longest_wait(admin, change, "few", FEW).await;
        (worst > small * 3)
            .then(|| format!("a statement waited for {worst:?}, on a small table for {small:?}"))
    }

    /// Runs the change on a copy, and asks what the code beside it asks, before and after.
    async fn broken(&self, admin: &mut AsyncPgConnection, change: &str) -> Option<String> {
        copy(admin, "few").await;
        let mut conn = self.connect("copy").await;
        let mut app = self.connect("copy").await;
        app.batch_execute("SET ROLE app_of_claims").await.unwrap();
        let before = answers(&mut app).await;
        assert!(before.iter().all(|(_, answer)| answer.is_ok()), "{before:?}");
        let change = migrations(&[("1_change/up.sql", change)]);
        migrator(change).apply(&mut conn, |_| ()).await.unwrap();
        // Another session: nothing is kept of what was planned before.
        let mut app = self.connect("copy").await;
        app.batch_execute("SET ROLE app_of_claims").await.unwrap();
        let after = answers(&mut app).await;
        let other = before.iter().zip(&after).find(|(before, after)| before.1 != after.1);
        other.map(|((asked, was), (_, is))| format!("{asked}: was {was:?}, is {is:?}"))
    }

    /// The longest that a statement beside the change took.
    async fn longest_wait(
        &self,
        admin: &mut AsyncPgConnection,
        change: &str,
        of: &str,
        people: usize,
    ) -> Duration {
        copy(admin, of).await;
        let mut conn = self.connect("copy").await;
        let (over, worst) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut probes = Vec::new();
        for probe in PROBES {
            let mut one = self.connect("copy").await;
            let (over, worst) = (Arc::clone(&over), Arc::clone(&worst));
            probes.push(tokio::spawn(async move {
                let mut row = 1;
                while !AtomicBool::load(&over, Ordering::Relaxed) {
                    row = (row * 7_919 + 13) % people + 1;
                    let started = Instant::now();
                    // What the change took away is no wait.
                    let _ = one.batch_execute(&probe.replace('$', &row.to_string())).await;
                    let took = u64::try_from(started.elapsed().as_micros()).unwrap();
                    worst.fetch_max(took, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }));
        }
        let change = migrations(&[("1_change/up.sql", change)]);
        migrator(change).apply(&mut conn, |_| ()).await.unwrap();
        over.store(true, Ordering::Relaxed);
        for probe in probes {
            probe.await.unwrap();
        }
        Duration::from_micros(AtomicU64::load(&worst, Ordering::Relaxed))
    }
}

/// Makes the database `copy` anew from one of the two.
async fn copy(admin: &mut AsyncPgConnection, of: &str) {
    admin.batch_execute("DROP DATABASE IF EXISTS copy WITH (FORCE)").await.unwrap();
    let started = Instant::now();
    // A session that has just ended may still count.
    while let Err(error) = admin.batch_execute(&format!("CREATE DATABASE copy TEMPLATE {of}")).await {
        assert!(started.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[derive(diesel::QueryableByName)]
struct Answer {
    #[diesel(sql_type = diesel::sql_types::Text)]
    answer: String,
}

/// What each statement of the code answers, or that it fails.
async fn answers(app: &mut AsyncPgConnection) -> Vec<(&'static str, Result<String, ()>)> {
    let mut all = Vec::new();
    for ask in ASKS {
        let asked = sql_query(format!("SELECT (q)::text AS answer FROM ({ask}) AS q"));
        let answer = asked.get_result::<Answer>(app).await.map(|row| row.answer).map_err(|_| ());
        all.push((ask, answer));
    }
    for write in WRITES {
        let written = app.batch_execute(&format!("BEGIN; {write}")).await.map(|()| String::new());
        app.batch_execute("ROLLBACK").await.unwrap();
        all.push((write, written.map_err(|_| ())));
    }
    all
}

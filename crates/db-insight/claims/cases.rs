//! The plans that are made on real servers, and what is expected of each.

use std::collections::BTreeMap;

use db_insight::{Plan, Tip, tips, tips_on_text};
use db_testkit::Cluster;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

const SCHEMA: &str = include_str!("schema.sql");
const CASES: &str = include_str!("cases.sql");

/// One plan to make.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The codes that must be found; none of a healthy plan.
    pub(crate) expect: Vec<String>,
    settings: Vec<(String, String)>,
    before: Vec<String>,
    /// What mends it: statements, and the statement that takes the place of this one.
    fix: Vec<String>,
    after: Option<String>,
    /// The only version that makes the plan.
    only: Option<u16>,
    pub(crate) sql: String,
}

/// All cases of `cases.sql`.
pub(crate) fn all() -> Vec<Case> {
    CASES.split("\n-- case: ").skip(1).map(read).collect()
}

fn read(block: &str) -> Case {
    let mut lines = block.lines();
    let name = lines.next().unwrap_or_default().trim().to_owned();
    let (marks, sql): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("--"));
    let marks: BTreeMap<&str, &str> =
        marks.iter().filter_map(|mark| mark.strip_prefix("-- ")?.split_once(": ")).collect();
    let list = |name: &str, between: &str| -> Vec<String> {
        let text = marks.get(name).copied().unwrap_or_default();
        text.split(between).map(str::trim).filter(|one| !one.is_empty()).map(str::to_owned).collect()
    };
    let setting = |one: String| one.split_once(" = ").map(|(name, to)| (name.to_owned(), to.to_owned()));
    Case {
        name,
        expect: list("expect", ","),
        settings: list("set", ",").into_iter().filter_map(setting).collect(),
        before: list("before", ";"),
        fix: list("fix", ";"),
        after: marks.get("after").map(|after| (*after).to_owned()),
        only: marks.get("pg").and_then(|pg| pg.trim().parse().ok()),
        sql: sql.join("\n").trim().trim_end_matches(';').to_owned(),
    }
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
    plan: String,
}

/// A server of this version with the tables that the cases ask.
pub(crate) async fn server(major: u16) -> Cluster {
    let builder = Cluster::builder().version(major);
    let settings = [
        ("autovacuum", "off"),
        ("track_io_timing", "on"),
        ("shared_buffers", "64MB"),
        ("max_worker_processes", "8"),
        ("work_mem", "4MB"),
    ];
    let builder = settings.into_iter().fold(builder, |builder, (name, value)| builder.setting(name, value));
    let cluster = builder.start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    for statement in statements(SCHEMA) {
        conn.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    cluster
}

/// The statements of a text: VACUUM is refused where several are sent at once.
fn statements(text: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut in_body = false;
    for line in text.lines().filter(|line| !line.starts_with("--")) {
        if line.matches("$$").count() % 2 == 1 {
            in_body = !in_body;
        }
        if let Some(last) = statements.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
        if line.trim_end().ends_with(';') && !in_body {
            statements.push(String::new());
        }
    }
    statements.retain(|statement| !statement.trim().is_empty());
    statements
}

async fn explained(conn: &mut AsyncPgConnection, options: &str, sql: &str) -> String {
    let lines: Vec<Answer> = sql_query(format!("EXPLAIN ({options}) {sql}")).get_results(conn).await.unwrap();
    lines.into_iter().map(|line| line.plan).collect::<Vec<_>>().join("\n")
}

impl Case {
    /// Whether nothing may be said of it that is worse than info.
    pub(crate) fn is_healthy(&self) -> bool {
        self.expect.is_empty()
    }

    /// Whether this version makes the plan.
    pub(crate) fn is_of(&self, major: u16) -> bool {
        self.only.is_none_or(|only| only == major)
    }

    /// The plan as the server of the connection makes it, and undoes what it did.
    pub(crate) async fn plan(&self, conn: &mut AsyncPgConnection) -> Plan {
        self.answer(conn, "ANALYZE, BUFFERS, FORMAT JSON").await.parse().unwrap()
    }

    /// Whether it says what mends it.
    pub(crate) fn shows_a_way_out(&self) -> bool {
        self.after.is_some() || !self.fix.is_empty()
    }

    /// What mends it, as one text.
    pub(crate) fn way_out(&self) -> String {
        self.after.clone().unwrap_or_else(|| self.fix.join(";\n"))
    }

    /// What the plan and the text say.
    pub(crate) fn tips(&self, plan: &Plan) -> Vec<Tip> {
        let mut all = tips(plan);
        all.extend(tips_on_text(&self.sql));
        all
    }

    async fn begin(&self, conn: &mut AsyncPgConnection) {
        conn.batch_execute("BEGIN").await.unwrap();
        for (name, to) in &self.settings {
            conn.batch_execute(&format!("SET LOCAL {name} = '{to}'")).await.unwrap();
        }
    }

    /// The plans of the case and of what mends it, as text.
    pub(crate) async fn before_and_after(
        &self,
        conn: &mut AsyncPgConnection,
        options: &str,
    ) -> (String, String) {
        self.begin(conn).await;
        let before = explained(conn, options, &self.sql).await;
        conn.batch_execute("ROLLBACK").await.unwrap();
        // VACUUM runs outside transactions, and stays done.
        let (outside, inside): (Vec<&String>, Vec<&String>) =
            self.fix.iter().partition(|statement| statement.starts_with("VACUUM"));
        for statement in outside {
            conn.batch_execute(statement).await.unwrap();
        }
        self.begin(conn).await;
        for statement in inside {
            conn.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        let after = explained(conn, options, self.after.as_deref().unwrap_or(&self.sql)).await;
        conn.batch_execute("ROLLBACK").await.unwrap();
        (before, after)
    }

    /// What EXPLAIN with these options answers.
    pub(crate) async fn answer(&self, conn: &mut AsyncPgConnection, options: &str) -> String {
        self.begin(conn).await;
        for statement in &self.before {
            conn.batch_execute(statement).await.unwrap();
        }
        let explain = format!("EXPLAIN ({options}) {}", self.sql);
        let answer: Result<Answer, _> = sql_query(explain).get_result(conn).await;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {error}", self.name));
        conn.batch_execute("ROLLBACK").await.unwrap();
        if !self.before.is_empty() {
            conn.batch_execute("DEALLOCATE ALL").await.unwrap();
        }
        answer.plan
    }
}

//! Advice for a star schema against an exhaustive greedy search over really built indexes, at equal storage.

use std::collections::{BTreeMap, BTreeSet};

use db_insight::indexes::{AdviceConfig, Prove, Query, advise, read_workload};
use db_testkit::Cluster;
use diesel::sql_types::{BigInt, Json, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::Value;

/// Written by an author who had not read the advisor, and frozen before it ran.
const SCHEMA: &str = include_str!("star/schema.sql");
pub(crate) const WORKLOAD: &str = include_str!("star/workload.json");

/// How many keys an index of the search has at most, and how many one has that holds further columns.
const MOST_KEYS: usize = 3;
const MOST_KEYS_WITH_COLUMNS: usize = 2;

/// What both save of the workload's cost, in the planner's units a day.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(crate) before: f64,
    pub(crate) advised: f64,
    pub(crate) searched: f64,
    pub(crate) bytes: i64,
    pub(crate) advised_indexes: Vec<String>,
    pub(crate) searched_indexes: Vec<String>,
    /// By statement: its cost a day before, with the advice, and with what the search chose.
    pub(crate) statements: BTreeMap<String, [f64; 3]>,
    pub(crate) candidates: usize,
}

impl Compared {
    /// The advice's part of what the search saves.
    pub(crate) fn share(&self) -> f64 {
        self.advised / self.searched.max(1.0)
    }
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: Value,
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    table_name: String,
    #[diesel(sql_type = Text)]
    column_name: String,
}

#[derive(QueryableByName)]
struct Made {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// A statement with its values in it.
pub(crate) struct Statement {
    id: String,
    sql: String,
    calls: f64,
    words: BTreeSet<String>,
}

/// An index of the search, built and hidden from the planner but when it is looked at.
struct Candidate {
    definition: String,
    oid: i64,
    bytes: i64,
    /// The statements that name its first key.
    serves: Vec<usize>,
    /// What each of these costs with it and with all that is chosen.
    costs: BTreeMap<usize, f64>,
}

/// The star schema, in the session's search path.
pub(crate) async fn make(conn: &mut AsyncPgConnection) {
    for statements in
        ["DROP SCHEMA IF EXISTS star CASCADE", SCHEMA, "SET search_path = star", "VACUUM ANALYZE"]
    {
        conn.batch_execute(statements).await.unwrap();
    }
}

pub(crate) async fn compare(cluster: &Cluster, prove: Prove) -> Compared {
    let mut conn = cluster.connect(0).await.unwrap();
    make(&mut conn).await;
    let workload = read_workload(WORKLOAD).unwrap();
    let statements: Vec<Statement> = workload.iter().map(statement).collect();
    let advice =
        advise(&mut conn, &workload, &AdviceConfig { prove, ..AdviceConfig::default() }).await.unwrap();
    let steady = "SET max_parallel_workers_per_gather = 0; SET jit = off";
    conn.batch_execute(steady).await.unwrap();
    let before = costs(&mut conn, &statements).await;

    let advised: BTreeSet<&str> = advice.suggestions.iter().map(|one| one.create.as_str()).collect();
    let mut bytes = 0;
    let mut oids = Vec::new();
    for create in &advised {
        let made = build(&mut conn, &create.replace(" CONCURRENTLY", "")).await;
        bytes += made.bytes;
        oids.push(made.oid);
    }
    let with_advice = costs(&mut conn, &statements).await;
    for oid in oids {
        drop_index(&mut conn, oid).await;
    }

    let mut pool = candidates(&mut conn, &statements, &before).await;
    let candidates = pool.len();
    // The search takes the index that saves most, or that saves most for its room: the better of both counts.
    let by_saving = greedy(&mut conn, &statements, &before, &mut pool, bytes, false).await;
    let by_room = greedy(&mut conn, &statements, &before, &mut pool, bytes, true).await;
    let saved = |after: &[f64]| before.iter().zip(after).map(|(before, after)| before - after).sum::<f64>();
    let best = if saved(&by_saving.1) >= saved(&by_room.1) { by_saving } else { by_room };
    let of = |at: usize| [before[at], with_advice[at], best.1[at]].map(f64::round);
    Compared {
        before: before.iter().sum(),
        advised: saved(&with_advice),
        searched: saved(&best.1),
        bytes,
        advised_indexes: advised.iter().map(|one| (*one).to_owned()).collect(),
        searched_indexes: best.0,
        statements: statements.iter().enumerate().map(|(at, one)| (one.id.clone(), of(at))).collect(),
        candidates,
    }
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).map(str::to_owned).collect()
}

pub(crate) fn statement(query: &Query) -> Statement {
    let mut sql = query.sql.clone();
    for (at, value) in query.params.iter().enumerate().rev() {
        sql = sql.replace(&format!("${}", at + 1), value);
    }
    let id = query.id.as_str().unwrap().to_owned();
    Statement { id, calls: query.calls_per_day.unwrap(), words: words(&sql), sql }
}

async fn cost(conn: &mut AsyncPgConnection, statement: &Statement) -> f64 {
    let explain = format!("EXPLAIN (FORMAT JSON) {}", statement.sql);
    let answer: Answer = sql_query(explain).get_result(conn).await.unwrap();
    answer.plan[0]["Plan"]["Total Cost"].as_f64().unwrap() * statement.calls
}

pub(crate) async fn costs(conn: &mut AsyncPgConnection, statements: &[Statement]) -> Vec<f64> {
    let mut all = Vec::new();
    for one in statements {
        all.push(cost(conn, one).await);
    }
    all
}

async fn build(conn: &mut AsyncPgConnection, create: &str) -> Made {
    conn.batch_execute(create).await.unwrap_or_else(|error| panic!("{create}: {error}"));
    let newest = "SELECT indexrelid::int8 AS oid, pg_relation_size(indexrelid) AS bytes FROM pg_index \
                  ORDER BY indexrelid DESC LIMIT 1";
    sql_query(newest).get_result(conn).await.unwrap()
}

async fn drop_index(conn: &mut AsyncPgConnection, oid: i64) {
    let drop = format!("DO $$ BEGIN EXECUTE 'DROP INDEX ' || {oid}::oid::regclass; END $$");
    conn.batch_execute(&drop).await.unwrap();
}

/// The planner passes over an index that is not valid.
async fn show(conn: &mut AsyncPgConnection, oid: i64, is_shown: bool) {
    let update = format!("UPDATE pg_index SET indisvalid = {is_shown} WHERE indexrelid = {oid}");
    conn.batch_execute(&update).await.unwrap();
}

/// Every B-tree of up to three of the columns that a statement names behind FROM, in each order, also with
/// the other columns that it reads of the table; without those that change no statement's cost when they
/// are alone.
async fn candidates(
    conn: &mut AsyncPgConnection,
    statements: &[Statement],
    before: &[f64],
) -> Vec<Candidate> {
    let columns = "SELECT table_name::text, column_name::text FROM information_schema.columns \
                   WHERE table_schema = 'star'";
    let columns: Vec<Column> = sql_query(columns).get_results(conn).await.unwrap();
    let mut definitions: BTreeSet<(String, String)> = BTreeSet::new();
    for one in statements {
        let behind_from = words(one.sql.split_once(" FROM ").unwrap().1);
        let mut tables: BTreeMap<&str, (Vec<&str>, Vec<&str>)> = BTreeMap::new();
        for column in columns.iter().filter(|column| one.words.contains(&column.column_name)) {
            let (keys, all) = tables.entry(&column.table_name).or_default();
            all.push(&column.column_name);
            if behind_from.contains(&column.column_name) {
                keys.push(&column.column_name);
            }
        }
        for (table, (keys, all)) in tables {
            for keys in arranged(&keys) {
                let list = keys.join(", ");
                let rest: Vec<&str> = all.iter().filter(|name| !keys.contains(name)).copied().collect();
                if keys.len() <= MOST_KEYS_WITH_COLUMNS && !rest.is_empty() {
                    let with = format!("{table} ({list}) INCLUDE ({})", rest.join(", "));
                    definitions.insert((with, keys[0].to_owned()));
                }
                definitions.insert((format!("{table} ({list})"), keys[0].to_owned()));
            }
        }
    }
    let mut found = Vec::new();
    for (definition, first) in definitions {
        let made = build(conn, &format!("CREATE INDEX ON {definition}")).await;
        let serves: Vec<usize> =
            (0..statements.len()).filter(|at| statements[*at].words.contains(&first)).collect();
        let mut costs = BTreeMap::new();
        for at in &serves {
            costs.insert(*at, cost(conn, &statements[*at]).await);
        }
        if costs.iter().any(|(at, cost)| *cost < before[*at]) {
            show(conn, made.oid, false).await;
            found.push(Candidate { definition, oid: made.oid, bytes: made.bytes, serves, costs });
        } else {
            drop_index(conn, made.oid).await;
        }
    }
    found
}

/// All arrangements of one to three of these.
fn arranged<'a>(of: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut all: Vec<Vec<&str>> = vec![Vec::new()];
    let mut last = all.clone();
    for _ in 0..MOST_KEYS {
        let longer = last.iter().flat_map(|begun| {
            let rest = of.iter().filter(|name| !begun.contains(name));
            rest.map(|name| begun.iter().copied().chain([*name]).collect::<Vec<_>>()).collect::<Vec<_>>()
        });
        last = longer.collect();
        all.extend(last.clone());
    }
    all.retain(|keys| !keys.is_empty());
    all
}

/// Takes, of all that fits, the index that saves most with those that are taken, until none saves anything.
async fn greedy(
    conn: &mut AsyncPgConnection,
    statements: &[Statement],
    before: &[f64],
    pool: &mut [Candidate],
    room: i64,
    by_room: bool,
) -> (Vec<String>, Vec<f64>) {
    let (mut now, mut left) = (before.to_vec(), room);
    let mut taken: Vec<usize> = Vec::new();
    let alone: Vec<BTreeMap<usize, f64>> = pool.iter().map(|one| one.costs.clone()).collect();
    loop {
        let mut best: Option<(usize, f64)> = None;
        for (at, one) in pool.iter().enumerate() {
            if taken.contains(&at) || one.bytes > left {
                continue;
            }
            let saved: f64 = one.costs.iter().map(|(of, cost)| now[*of] - cost).sum();
            let worth = if by_room { saved / one.bytes as f64 } else { saved };
            if saved > 0.0 && best.is_none_or(|(_, most)| worth > most) {
                best = Some((at, worth));
            }
        }
        let Some((chosen, _)) = best else { break };
        show(conn, pool[chosen].oid, true).await;
        taken.push(chosen);
        left -= pool[chosen].bytes;
        let touched = pool[chosen].serves.clone();
        for of in &touched {
            now[*of] = cost(conn, &statements[*of]).await;
        }
        // What the others are worth beside it.
        for (at, one) in pool.iter_mut().enumerate() {
            let again: Vec<usize> = one.serves.iter().filter(|of| touched.contains(of)).copied().collect();
            if again.is_empty() || taken.contains(&at) {
                continue;
            }
            show(conn, one.oid, true).await;
            for of in again {
                let cost = cost(conn, &statements[of]).await;
                one.costs.insert(of, cost);
            }
            show(conn, one.oid, false).await;
        }
    }
    for at in &taken {
        show(conn, pool[*at].oid, false).await;
    }
    for (one, costs) in pool.iter_mut().zip(alone) {
        one.costs = costs;
    }
    (taken.iter().map(|at| pool[*at].definition.clone()).collect(), now)
}

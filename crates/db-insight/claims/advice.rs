//! Advice on indexes against statements whose answers are known; each suggestion is built and planned with.

use std::collections::BTreeMap;

use db_insight::indexes::{AdviceConfig, Prove, Query, Suggestion, advise};
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel::sql_types::Json;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::star::{self, Compared};

/// What the advice must save of what the search saves.
const LEAST_SHARE: f64 = 0.95;

/// Tables, statements on them, and the indexes that others hold already.
struct Set {
    name: &'static str,
    schema: &'static str,
    cases: &'static str,
    drops: &'static [&'static str],
}

const SETS: [Set; 2] = [
    Set {
        name: "shop",
        schema: include_str!("advice/shop.sql"),
        cases: include_str!("advice/shop_cases.sql"),
        drops: &["dup_a", "dup_a2", "dup_c_d", "dup_id"],
    },
    Set {
        name: "star",
        schema: include_str!("advice/star.sql"),
        cases: include_str!("advice/star_cases.sql"),
        drops: &[],
    },
];

/// A statement, and whether an index helps it.
struct Case {
    query: Query,
    /// What shows the gain where the statement's own plan does not.
    proof: Option<String>,
    /// The first version on which an index helps; none where none ever does.
    helped_from: Option<u16>,
}

#[derive(Debug, Default)]
struct Score {
    helped: usize,
    found: usize,
    suggested: usize,
    good: usize,
    controls: usize,
    faults: Vec<String>,
}

pub(crate) fn measure(size: Size) -> Figure {
    let versions: &[u16] = if size == Size::Nightly { &[15, 18] } else { &[15] };
    let mut score = Score::default();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stars = Vec::new();
    for version in versions {
        stars.push((*version, runtime.block_on(of_server(*version, &mut score))));
    }
    let is_as_good = stars.iter().all(|(_, star)| star.share() >= LEAST_SHARE);
    let star = |(version, star): &(u16, Compared)| {
        json!({
            "version": version, "share": star.share(), "cost_a_day": star.before, "advised_saves": star.advised,
            "search_saves": star.searched, "bytes": star.bytes, "candidates": star.candidates,
            "advised": star.advised_indexes, "searched": star.searched_indexes, "statements": star.statements,
        })
    };
    let recall = score.found as f64 / score.helped.max(1) as f64;
    let precision = score.good as f64 / score.suggested.max(1) as f64;
    let on_controls = score.faults.iter().filter(|fault| fault.starts_with("control")).count();
    let enough = score.helped >= 40 && score.controls >= 40;
    Figure {
        value: recall * 100.0,
        unit: "% of the statements that an index helps",
        holds: enough
            && recall >= 0.9
            && precision >= 0.95
            && on_controls == 0
            && drops_are_right(&score)
            && is_as_good,
        detail: json!({
            "helped": score.helped, "controls": score.controls, "suggested": score.suggested,
            "precision": precision, "on_controls": on_controls, "faults": score.faults,
            "frozen_star": stars.iter().map(star).collect::<Vec<_>>(),
        }),
    }
}

fn drops_are_right(score: &Score) -> bool {
    !score.faults.iter().any(|fault| fault.starts_with("drops"))
}

async fn of_server(version: u16, score: &mut Score) -> Compared {
    let cluster = Cluster::builder().version(version).start().await.unwrap();
    for set in SETS {
        let mut admin = cluster.connect(0).await.unwrap();
        let name = format!("insight_{}", set.name);
        sql_query(format!("CREATE DATABASE {name}")).execute(&mut admin).await.unwrap();
        let mut url: url::Url = cluster.primary_url().parse().unwrap();
        url.set_path(&name);
        let mut conn = AsyncPgConnection::establish(url.as_str()).await.unwrap();
        of_set(&mut conn, version, &set, score).await;
    }
    star::compare(&cluster, Prove::Model).await
}

async fn of_set(conn: &mut AsyncPgConnection, version: u16, set: &Set, score: &mut Score) {
    // VACUUM runs in no transaction, and a text of several statements is one.
    for statement in set.schema.split(";\n").filter(|statement| !statement.trim().is_empty()) {
        conn.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let cases: Vec<Case> = set.cases.split("\n-- case: ").skip(1).map(case).collect();
    let workload: Vec<Query> = cases.iter().map(|case| case.query.clone()).collect();
    let config = AdviceConfig { prove: Prove::Model, ..AdviceConfig::default() };
    let advice = advise(conn, &workload, &config).await.unwrap();
    for case in &cases {
        let found: Vec<&Suggestion> =
            advice.suggestions.iter().filter(|one| one.case == case.query.id).collect();
        score.suggested += found.len();
        if case.helped_from.is_none_or(|first| version < first) {
            score.controls += 1;
            score.faults.extend(
                found.iter().map(|one| format!("control {} on {version}: {}", case.query.id, one.index)),
            );
            continue;
        }
        score.helped += 1;
        if found.is_empty() {
            score.faults.push(format!("missed {} on {version}", case.query.id));
            continue;
        }
        let (before, after) = built(conn, case, &found).await;
        if after <= before * (1.0 - config.least_gain) {
            score.found += 1;
            score.good += found.len();
        } else {
            score.faults.push(format!("useless {} on {version}: {before} and then {after}", case.query.id));
        }
    }
    let mut dropped = advice.drop;
    dropped.sort();
    if dropped != set.drops {
        score.faults.push(format!("drops on {version}: {dropped:?} and not {:?}", set.drops));
    }
}

fn case(block: &str) -> Case {
    let mut lines = block.lines();
    let id = lines.next().unwrap_or_default().trim();
    let (marks, sql): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.starts_with("--"));
    let marks: BTreeMap<&str, &str> =
        marks.iter().filter_map(|mark| mark.strip_prefix("-- ")?.split_once(": ")).collect();
    let params = marks.get("params").map(|all| all.split(" | ").map(str::to_owned).collect());
    Case {
        query: Query {
            id: json!(id),
            sql: sql.join("\n").trim().trim_end_matches(';').to_owned(),
            params: params.unwrap_or_default(),
            calls_per_day: marks.get("calls").and_then(|calls| calls.parse().ok()),
        },
        proof: marks.get("proof").map(|proof| (*proof).to_owned()),
        helped_from: match marks.get("none") {
            None => Some(0),
            Some(until) => until.strip_prefix("before ").map(|first| first.parse().unwrap()),
        },
    }
}

/// What the statement costs by the planner before and after the indexes are really built.
async fn built(conn: &mut AsyncPgConnection, case: &Case, found: &[&Suggestion]) -> (f64, f64) {
    let before = cost(conn, case).await;
    conn.batch_execute("BEGIN").await.unwrap();
    for one in found {
        for statement in one.requires.iter().map(String::as_str).chain(one.create.split(";\n")) {
            let statement = statement.replace(" CONCURRENTLY", "");
            conn.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        // An expression has statistics of its own.
        if one.index.contains("((") || one.index.contains("(lower") || one.index.contains("(upper") {
            let table = one.index.split(" USING").next().unwrap();
            conn.batch_execute(&format!("ANALYZE {table}")).await.unwrap();
        }
    }
    let after = cost(conn, case).await;
    conn.batch_execute("ROLLBACK").await.unwrap();
    (before, after)
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Json, column_name = "QUERY PLAN")]
    plan: Value,
}

async fn cost(conn: &mut AsyncPgConnection, case: &Case) -> f64 {
    let sql = case.proof.as_ref().unwrap_or(&case.query.sql);
    let count = (1..).take_while(|number| sql.contains(&format!("${number}"))).count();
    let generic = case.query.params.is_empty() && count > 0;
    let values = if generic { vec!["NULL".to_owned(); count] } else { case.query.params.clone() };
    let list = if count == 0 { String::new() } else { format!("({})", values.join(", ")) };
    let mode = if generic { "force_generic_plan" } else { "force_custom_plan" };
    conn.batch_execute(&format!("SET plan_cache_mode = {mode}; PREPARE of_claim AS {sql}")).await.unwrap();
    let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE of_claim{list}");
    let answer: Answer = sql_query(explain).get_result(conn).await.unwrap();
    conn.batch_execute("DEALLOCATE of_claim; RESET plan_cache_mode").await.unwrap();
    answer.plan[0]["Plan"]["Total Cost"].as_f64().unwrap()
}

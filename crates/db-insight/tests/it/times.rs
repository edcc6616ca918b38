//! Exclusive times on real plans: never negative, together the whole, and hardly anything cut.

use db_insight::Plan;
use db_testkit::Cluster;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use crate::generated::{Random, SCHEMA, settings, statement};

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
    plan: String,
}

/// How many statements on each version.
const STATEMENTS: u64 = 150;

#[tokio::test]
async fn times_of_plans_made_at_random_add_up_and_are_never_negative() {
    for major in [15, 18] {
        let cluster = Cluster::builder().version(major).setting("autovacuum", "off").start().await.unwrap();
        let mut conn = cluster.connect(0).await.unwrap();
        for statement in SCHEMA {
            conn.batch_execute(statement).await.unwrap();
        }
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 1..=STATEMENTS {
            let mut random = Random::new(seed);
            let settings = settings(&mut random);
            let sql = statement(&mut random);
            conn.batch_execute("BEGIN").await.unwrap();
            for setting in &settings {
                conn.batch_execute(&format!("SET LOCAL {setting}")).await.unwrap();
            }
            let explain = format!("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}");
            let answer: Answer = sql_query(explain).get_result(&mut conn).await.unwrap();
            conn.batch_execute("ROLLBACK").await.unwrap();
            let plan: Plan = answer.plan.parse().unwrap();
            kinds.extend(plan.nodes.iter().map(|node| node.kind.clone()));
            adds_up(&plan, &format!("{major}, seed {seed}: {sql}\n{settings:?}"));
        }
        assert!(kinds.len() >= 18, "{major}: only {kinds:?}");
    }
}

fn adds_up(plan: &Plan, what: &str) {
    let times = plan.times();
    let own: Vec<f64> = (0..plan.nodes.len()).map(|at| times.own_ms(at)).collect();
    let tree = || plan.tree(&std::collections::BTreeMap::new());
    assert!(own.iter().all(|ms| *ms >= 0.0) && times.outside_ms >= 0.0, "{what}\n{}", tree());
    let sum = own.iter().sum::<f64>() + times.outside_ms;
    assert!(
        (sum - times.whole_ms).abs() <= 1e-6 * times.whole_ms.max(1.0),
        "{sum} of {}: {what}",
        times.whole_ms
    );
    // An average is rounded to a microsecond, and loops multiply that. Processes that ran at once wait for
    // each other.
    let rounding: f64 = plan.nodes.iter().map(|node| node.loops() * 0.0006).sum();
    // On a busy machine they wait as long as they like, so nothing is asked of plans with workers.
    let at_once = if plan.nodes.iter().any(|node| node.kind.starts_with("Gather")) { 1.0 } else { 0.05 };
    let most = rounding + at_once * times.whole_ms + 0.05;
    assert!(times.cut_ms <= most, "{} ms cut, at most {most}: {what}\n{}", times.cut_ms, tree());
}

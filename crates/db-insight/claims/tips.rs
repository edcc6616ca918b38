//! How many faults are found on real plans, how many healthy plans are warned of, and how long it takes.

use std::time::Instant;

use db_insight::{Plan, Severity, tips};
use db_testkit::claims::{Figure, Size};
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde_json::json;

use crate::cases;

const VERSIONS: [u16; 2] = [15, 18];

/// How long a plan of 200 nodes may take, in milliseconds.
const LONGEST_MS: f64 = 1.0;

pub(crate) fn measure(size: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async { measured(if size == Size::Nightly { 5 } else { 1 }).await })
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "QUERY PLAN")]
    plan: String,
}

async fn measured(rounds: usize) -> Figure {
    let (mut plans, mut healthy, mut expected, mut found) = (0_u32, 0_u32, 0_u32, 0_u32);
    let (mut missed, mut alarms) = (Vec::new(), Vec::new());
    let mut longest = 0.0_f64;
    let mut nodes = usize::MAX;
    for major in VERSIONS {
        let cluster = cases::server(major).await;
        let mut conn = cluster.connect(0).await.unwrap();
        for _ in 0..rounds {
            for case in cases::all().into_iter().filter(|case| case.is_of(major)) {
                let plan = case.plan(&mut conn).await;
                let tips = case.tips(&plan);
                plans += 1;
                healthy += u32::from(case.is_healthy());
                for code in &case.expect {
                    expected += 1;
                    if tips.iter().any(|tip| tip.code.as_str() == code) {
                        found += 1;
                    } else {
                        missed.push(format!("{major}: {}: {code}", case.name));
                    }
                }
                let worse = tips.iter().filter(|tip| tip.severity > Severity::Info);
                if case.is_healthy() {
                    alarms.extend(
                        worse.map(|tip| format!("{major}: {}: {}: {}", case.name, tip.code, tip.evidence)),
                    );
                }
            }
        }
        let sql = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM many WHERE v = 5 AND id < 19800";
        let answer: Answer = sql_query(sql).get_result(&mut conn).await.unwrap();
        let plan: Plan = answer.plan.parse().unwrap();
        nodes = nodes.min(plan.nodes.len());
        longest = longest.max(median_ms(&plan));
    }
    let recall = f64::from(found) / f64::from(expected.max(1)) * 100.0;
    let holds = recall >= 95.0
        && alarms.is_empty()
        && plans >= 40
        && healthy >= 14
        && nodes >= 190
        && longest <= LONGEST_MS;
    let detail = json!({
        "plans": plans, "healthy": healthy, "expected": expected, "found": found, "missed": missed,
        "alarms": alarms, "nodes": nodes, "ms_for_them": longest,
    });
    Figure { value: recall, unit: "% of the expected codes", holds, detail }
}

/// Milliseconds for the tips of a plan, the median of 301: what else the machine does stops few of them.
fn median_ms(plan: &Plan) -> f64 {
    let run = || {
        let start = Instant::now();
        std::hint::black_box(tips(std::hint::black_box(plan)));
        start.elapsed().as_secs_f64() * 1000.0
    };
    let mut all: Vec<f64> = (0..301).map(|_| run()).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

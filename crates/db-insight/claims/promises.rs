//! What advice promised against what came, and what introspection says against the catalogue.

use std::collections::BTreeMap;

use db_insight::indexes::{
    AdviceConfig, KEPT_WITHIN, Outcome, Prove, Query, Verdict, advise, compare, read_advice, read_workload,
};
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use serde_json::{Value, json};

use crate::introspected::{introspected, make_reference_schema};
use crate::star::{self, Statement};

pub(crate) fn measure(size: Size) -> Figure {
    let versions: &[u16] = if size == Size::Nightly { &[15, 16, 17, 18] } else { &[15, 18] };
    let (mut faults, mut verdicts): (Vec<String>, BTreeMap<String, usize>) = Default::default();
    let (mut promised, mut objects) = (0, 0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        for version in versions {
            let cluster = Cluster::builder().version(*version).start().await.unwrap();
            let mut conn = cluster.connect(0).await.unwrap();
            make_reference_schema(&mut conn).await;
            let (found, differences) = introspected(&mut conn).await;
            objects += found.tables.len() + found.relations.len();
            faults.extend(differences.into_iter().map(|one| format!("{version}: {one}")));
            for (outcome, real) in of_star(&mut conn).await {
                promised += 1;
                let word = serde_json::to_value(outcome.verdict).unwrap().as_str().unwrap().to_owned();
                *verdicts.entry(word).or_default() += 1;
                faults
                    .extend(fault(&outcome, real).map(|why| format!("{version}: {}: {why}", outcome.index)));
            }
        }
    });
    let kept = verdicts.get("kept").copied().unwrap_or(0);
    Figure {
        value: kept as f64 / f64::from(promised.max(1)) * 100.0,
        unit: "% of the promises kept within 20 %, and the others told",
        holds: faults.is_empty() && promised >= 20 && objects >= 40,
        detail: json!({ "promised": promised, "verdicts": verdicts, "faults": faults, "objects": objects }),
    }
}

/// Advice for the frozen star schema, made as its migrations say; and by how much each statement's cost
/// really went.
async fn of_star(conn: &mut AsyncPgConnection) -> Vec<(Outcome, f64)> {
    star::make(conn).await;
    let workload: Vec<Query> = read_workload(star::WORKLOAD).unwrap();
    let statements: Vec<Statement> = workload.iter().map(star::statement).collect();
    let config = AdviceConfig { prove: Prove::Model, ..AdviceConfig::default() };
    let advice = serde_json::to_string(&advise(conn, &workload, &config).await.unwrap()).unwrap();
    let promised = read_advice(&advice).unwrap();
    conn.batch_execute("SET max_parallel_workers_per_gather = 0; SET jit = off").await.unwrap();
    let before = star::costs(conn, &statements).await;
    let mut ups: Vec<&str> = promised.iter().map(|one| one.migration.up.as_str()).collect();
    ups.sort_unstable();
    ups.dedup();
    for up in ups {
        conn.batch_execute(up).await.unwrap_or_else(|error| panic!("{up}: {error}"));
    }
    let after = star::costs(conn, &statements).await;
    let outcomes = compare(conn, &promised, &workload).await.unwrap();
    let went = |case: &Value| {
        let at = workload.iter().position(|query| query.id == *case).unwrap();
        1.0 - after[at] / before[at]
    };
    outcomes.into_iter().map(|one| (went(&one.case), one)).map(|(went, one)| (one, went)).collect()
}

/// Where the comparison says another thing than came.
fn fault(outcome: &Outcome, real: f64) -> Option<String> {
    let [promised, built] = outcome.bytes.map(|bytes| bytes as f64);
    let says_size = outcome.notes.iter().any(|note| note.contains("were promised"));
    if says_size != ((built - promised).abs() > KEPT_WITHIN * promised) {
        return Some(format!("{built} bytes for {promised}, and that is told: {says_size}"));
    }
    let is_kept = (real - outcome.promised).abs() <= KEPT_WITHIN * outcome.promised;
    let is_right = match outcome.verdict {
        Verdict::Kept => is_kept,
        Verdict::More => !is_kept && real > outcome.promised,
        Verdict::Less => !is_kept && real < outcome.promised,
        Verdict::NotUsed => true,
        _ => false,
    };
    (!is_right).then(|| format!("{:?}, and really {real:.3} for {:.3}", outcome.verdict, outcome.promised))
}

//! Whether the lock trace sees what each statement of known effect does.

use db_testkit::Cluster;
use serde_json::json;

use crate::check_server::Server;
use crate::fixture::runtime;
use crate::judge;
use crate::{Figure, Size};

pub(crate) fn measure(size: Size) -> Figure {
    let majors: &[u16] = if size == Size::Nightly { &[14, 15, 16, 17, 18, 19] } else { &[15, 18, 19] };
    let (mut runs, mut absent) = (Vec::new(), Vec::new());
    for major in majors {
        eprintln!("migrations-5: PostgreSQL {major}");
        let judgement = runtime().block_on(async {
            let cluster = match Cluster::builder().version(*major).start().await {
                Err(error) if *major == 19 => return Err(error.to_string()),
                cluster => cluster.unwrap(),
            };
            Ok(judge::locks(&Server::new(cluster.primary_url())).await)
        });
        match judgement {
            Ok(judgement) => runs.push((major, judgement)),
            Err(why) => absent.push(json!({ "pg": major, "not_measured": why })),
        }
    }
    let cases: usize = runs.iter().map(|(_, run)| run.cases).sum();
    let wrong: usize = runs.iter().map(|(_, run)| run.wrong.len()).sum();
    let enough = runs.iter().all(|(_, run)| run.cases >= 120);
    let detail: Vec<_> = runs
        .iter()
        .map(|(major, run)| json!({ "pg": major, "statements": run.cases, "wrong": run.wrong }))
        .collect();
    let detail: Vec<_> = detail.into_iter().chain(absent).collect();
    let share = 100.0 * (cases - wrong) as f64 / cases as f64;
    Figure { value: share, unit: "%", holds: wrong == 0 && enough, detail: json!(detail) }
}

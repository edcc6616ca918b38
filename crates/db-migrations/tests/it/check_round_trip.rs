//! Every planted fault of the corpus is found, and nothing is found where there is none.

use db_migrations::check::{CheckConfig, CheckReport, Outcome, RoundTrip};

use crate::cases::{self, Case};
use crate::check_server::shared;

const FAULTS: &str = include_str!("../corpus/faults.sql");
const RIGHT: &str = include_str!("../corpus/right.sql");

async fn check(cases: &[Case]) -> CheckReport {
    let only = (0..cases.len()).map(cases::version).collect();
    let config = CheckConfig { only, ..CheckConfig::default() };
    db_migrations::check::check(&shared().await, &cases::migrations(cases), &config, |_| ()).await.unwrap()
}

#[tokio::test]
async fn every_planted_fault_is_found() {
    let cases = cases::read(FAULTS, "fault");
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let report = check(&cases).await;
    let mut missed = Vec::new();
    for (case, found) in cases.iter().zip(&report.migrations) {
        assert_eq!(found.up, Outcome::Ok, "{}: {found:#?}", case.name);
        let told = found.lost.iter().any(|line| line.contains(case.part("lost")));
        if found.round_trip != RoundTrip::Differs || !told {
            missed.push(format!(
                "{}: expected {:?} in {:?} {:?}",
                case.name,
                case.part("lost"),
                found.lost,
                found.error
            ));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert_eq!((report.summary.differ, report.summary.passes), (cases.len(), false));
}

#[tokio::test]
async fn what_is_right_is_not_reported() {
    let cases = cases::read(RIGHT, &format!("right_{}_", std::process::id()));
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let report = check(&cases).await;
    let wrong: Vec<String> = cases
        .iter()
        .zip(&report.migrations)
        .filter(|(_, found)| found.round_trip != RoundTrip::Same || found.down != Outcome::Ok)
        .map(|(case, found)| {
            format!("{}: {:?} {:?} {:?}", case.name, found.round_trip, found.lost, found.error)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(report.summary.differ, 0);
}

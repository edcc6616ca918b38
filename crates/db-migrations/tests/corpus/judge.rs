//! Runs a corpus through the check and says where the check is wrong.

use std::collections::{BTreeMap, BTreeSet};

use db_migrations::check::{
    CheckConfig, CheckReport, Databases, MigrationCheck, Mode, Outcome, RoundTrip, check,
};

use super::cases::{self, Case};

const FAULTS: &str = include_str!("faults.sql");
const RIGHT: &str = include_str!("right.sql");
const LOCKS: &str = include_str!("locks.sql");

/// How many cases there were, and those that were judged wrongly, in words.
#[derive(Debug)]
pub(crate) struct Judgement {
    pub(crate) cases: usize,
    pub(crate) wrong: Vec<String>,
}

/// Planted faults that are not found, or not said rightly.
pub(crate) async fn faults(server: &impl Databases) -> Judgement {
    judge(server, &cases::read(FAULTS, "fault"), |case, found, _| {
        let told = found.lost.iter().any(|line| line.contains(case.part("lost")));
        let right = found.up == Outcome::Ok && found.round_trip == RoundTrip::Differs && told;
        (!right).then(|| format!("expected {:?} in {:?} {:?}", case.part("lost"), found.lost, found.error))
    })
    .await
}

/// Right migrations that are reported.
pub(crate) async fn right(server: &impl Databases) -> Judgement {
    // One of them makes a role, which belongs to the whole server.
    let prefix = format!("right_{}_", std::process::id());
    judge(server, &cases::read(RIGHT, &prefix), |_, found, _| {
        let right =
            found.up == Outcome::Ok && found.down == Outcome::Ok && found.round_trip == RoundTrip::Same;
        (!right).then(|| format!("{:?} {:?} {:?}", found.round_trip, found.lost, found.error))
    })
    .await
}

/// Statements whose locks, rewrites, reads or index builds are not those expected.
pub(crate) async fn locks(server: &impl Databases) -> Judgement {
    judge(server, &cases::read(LOCKS, "locks"), |case, found, report| {
        let major = report.summary.server_version.split(|letter: char| !letter.is_ascii_digit()).next();
        let major = major.and_then(|major| major.parse().ok()).unwrap_or_default();
        let (expected, seen) = (expected(case, major), seen(case, found));
        let right = expected == seen && found.up == Outcome::Ok;
        (!right).then(|| format!("expected {expected}\n  found    {seen} {:?}", found.error))
    })
    .await
}

async fn judge(
    server: &impl Databases,
    cases: &[Case],
    wrong: impl Fn(&Case, &MigrationCheck, &CheckReport) -> Option<String>,
) -> Judgement {
    let only = (0..cases.len()).map(cases::version).collect();
    let config = CheckConfig { only, ..CheckConfig::default() };
    let report = check(server, &cases::migrations(cases), &config, |_| ()).await.unwrap();
    assert_eq!(report.migrations.len(), cases.len(), "what prepares a case must run");
    let pairs = cases.iter().zip(&report.migrations);
    let wrong =
        pairs.filter_map(|(case, found)| Some(format!("{}: {}", case.name, wrong(case, found, &report)?)));
    Judgement { cases: cases.len(), wrong: wrong.collect() }
}

/// What is known of a version; `locks 18` is of 18 and newer.
fn expected(case: &Case, major: u16) -> String {
    let list = |heading: &str| -> BTreeSet<String> {
        let own = (15..=major).rev().map(|major| format!("{heading} {major}")).find(|own| case.has(own));
        let heading = own.as_deref().unwrap_or(heading);
        case.part(heading).split(", ").filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    shown(["locks", "rewrites", "scans", "builds"].map(list))
}

fn seen(case: &Case, found: &MigrationCheck) -> String {
    let own = |relation: &String| relation.trim_start_matches(&format!("{}.", case.schema)).to_owned();
    let statements = || found.statements.iter();
    let mut strongest: BTreeMap<String, Mode> = BTreeMap::new();
    for lock in statements().flat_map(|statement| &statement.locks).filter(|lock| lock.existed_before) {
        let mode = strongest.entry(own(&lock.relation)).or_insert(lock.mode);
        *mode = lock.mode.max(*mode);
    }
    let mode = |mode: Mode| mode.pg_locks_name().trim_end_matches("Lock");
    shown([
        strongest.into_iter().map(|(relation, lock)| format!("{relation} {}", mode(lock))).collect(),
        statements().flat_map(|statement| &statement.rewrites).map(own).collect(),
        statements().flat_map(|statement| &statement.scans).map(|scan| own(&scan.relation)).collect(),
        statements().flat_map(|statement| &statement.blocking_index_build).map(own).collect(),
    ])
}

fn shown(lists: [BTreeSet<String>; 4]) -> String {
    let names = ["locks", "rewrites", "scans", "builds"];
    let line = |(name, list): (&str, BTreeSet<String>)| {
        format!("{name}: {}", list.into_iter().collect::<Vec<_>>().join(", "))
    };
    names.into_iter().zip(lists).map(line).collect::<Vec<_>>().join(" | ")
}

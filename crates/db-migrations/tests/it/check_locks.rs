//! What each statement of the corpus locks, rewrites and reads is what is known of it.

use std::collections::BTreeSet;

use db_migrations::check::{CheckConfig, MigrationCheck, Outcome};

use crate::cases::{self, Case};
use crate::check_server::{Server, shared};

const STATEMENTS: &str = include_str!("../corpus/locks.sql");

/// What a case expects or a check found, one line a kind of effect.
fn shown(lists: [BTreeSet<String>; 4]) -> String {
    let names = ["locks", "rewrites", "scans", "builds"];
    let line = |(name, list): (&str, BTreeSet<String>)| {
        format!("{name}: {}", list.into_iter().collect::<Vec<_>>().join(", "))
    };
    names.into_iter().zip(lists).map(line).collect::<Vec<_>>().join(" | ")
}

/// What is known of a version; `locks 18` is of 18 and newer.
fn expected(case: &Case, newest: bool) -> String {
    let list = |heading: &str| -> BTreeSet<String> {
        let own = if newest && case.has(&format!("{heading} 18")) { format!("{heading} 18") } else { heading.to_owned() };
        case.part(&own).split(", ").filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    shown(["locks", "rewrites", "scans", "builds"].map(list))
}

fn found(case: &Case, check: &MigrationCheck) -> String {
    let own = |relation: &str| relation.trim_start_matches(&format!("{}.", case.schema)).to_owned();
    let statements = || check.statements.iter();
    let locks = statements().flat_map(|statement| &statement.locks).filter(|lock| lock.existed_before);
    // Of two statements of one case, the stronger lock counts.
    let strongest = locks.fold(std::collections::BTreeMap::new(), |mut all, lock| {
        let mode = all.entry(own(&lock.relation)).or_insert(lock.mode);
        *mode = lock.mode.max(*mode);
        all
    });
    shown([
        strongest
            .into_iter()
            .map(|(relation, mode)| format!("{relation} {}", mode.pg_locks_name().trim_end_matches("Lock")))
            .collect(),
        statements().flat_map(|statement| &statement.rewrites).map(|relation| own(relation)).collect(),
        statements().flat_map(|statement| &statement.scans).map(|scan| own(&scan.relation)).collect(),
        statements()
            .flat_map(|statement| &statement.blocking_index_build)
            .map(|relation| own(relation))
            .collect(),
    ])
}

/// The cases whose effects are not those expected, in words.
pub(crate) async fn wrong_on(server: &Server) -> (usize, Vec<String>) {
    let cases = cases::read(STATEMENTS, "locks");
    let only = (0..cases.len()).map(cases::version).collect();
    let config = CheckConfig { only, ..CheckConfig::default() };
    let report =
        db_migrations::check::check(server, &cases::migrations(&cases), &config, |_| ()).await.unwrap();
    let newest = report.summary.server_version.starts_with("18");
    let wrong = cases.iter().zip(&report.migrations).filter_map(|(case, check)| {
        let (expected, found) = (expected(case, newest), found(case, check));
        let right = expected == found && check.up == Outcome::Ok;
        (!right)
            .then(|| format!("{}\n  expected {expected}\n  found    {found} {:?}", case.name, check.error))
    });
    (cases.len(), wrong.collect())
}

#[tokio::test]
async fn locks_rewrites_and_scans_are_seen_as_they_are() {
    let (count, wrong) = wrong_on(&shared().await).await;
    assert!(count >= 60, "{count} statements");
    assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

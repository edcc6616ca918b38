//! What is how bad.

use super::*;
use crate::Subject;

fn found(id: &'static str, status: CheckStatus, subject: Option<Subject>) -> CheckResult {
    let result = CheckResult::new(id, id, status).of_server("db1").saying("said");
    match subject {
        Some(subject) => result.about(subject),
        None => result,
    }
}

fn table(name: &str) -> Option<Subject> {
    Some(Subject::new(SubjectKind::Table, name))
}

#[track_caller]
fn level_of(readings: &[Reading], key: &str) -> Level {
    readings
        .iter()
        .find(|reading| reading.key == key)
        .map_or_else(|| panic!("no {key}"), |reading| reading.level)
}

#[test]
fn figures_are_bad_from_their_mark_on_and_fine_well_below_it() {
    let config = AlertConfig::default();
    let pool = |in_use, waiting| {
        let load = PoolLoad { name: "db1".to_owned(), in_use, max: 100, waiting };
        level_of(&Readings { pools: vec![load], ..Readings::default() }.of(&config), "db1/pool-usage")
    };
    for (in_use, waiting, expected) in [
        (71, 9, Level::Fine),
        (72, 0, Level::Between),
        (80, 0, Level::Warning),
        (100, 0, Level::Warning),
        (100, 1, Level::Critical),
    ] {
        assert_eq!(pool(in_use, waiting), expected, "{in_use} {waiting}");
    }
    let errors = |failed, statements| {
        level_of(&Readings { failed, statements, ..Readings::default() }.of(&config), "error-rate")
    };
    assert_eq!((errors(0, 0), errors(3, 5), errors(5, 100)), (Level::Fine, Level::Between, Level::Warning));
    let cache = |asked, answered| {
        let readings = Readings { cache: Some((asked, answered)), ..Readings::default() };
        level_of(&readings.of(&config), "cache-hit-rate")
    };
    assert_eq!(
        (cache(100, 69), cache(100, 72), cache(100, 74)),
        (Level::Warning, Level::Between, Level::Fine)
    );
}

#[test]
fn lag_that_nobody_knows_is_unknown_and_a_missing_primary_is_critical() {
    let readings = Readings {
        lag: vec![("s1".to_owned(), None), ("s2".to_owned(), Some(Duration::from_secs(11)))],
        servers: vec![("p".to_owned(), false)],
        ..Readings::default()
    };
    let all = readings.of(&AlertConfig::default());
    assert_eq!(level_of(&all, "s1/replication-lag"), Level::Unknown);
    assert_eq!(level_of(&all, "s2/replication-lag"), Level::Warning);
    assert_eq!((level_of(&all, "no-primary"), level_of(&all, "p/down")), (Level::Critical, Level::Warning));
}

#[test]
fn sessions_of_one_check_are_one_condition_and_tables_are_many() {
    let results = [
        found("blocking", CheckStatus::Warn, Some(Subject::session(1))),
        found("blocking", CheckStatus::Critical, Some(Subject::session(2))),
        found("bloat", CheckStatus::Warn, table("a")),
        found("bloat", CheckStatus::Ok, table("b")),
        found("archiver", CheckStatus::Skipped("no permission".to_owned()), None),
    ];
    let all = of_checks(&results);
    assert_eq!(all.len(), 4);
    assert_eq!(level_of(&all, "db1/blocking"), Level::Critical);
    assert_eq!(level_of(&all, "db1/bloat/table:a"), Level::Warning);
    assert_eq!(level_of(&all, "db1/bloat/table:b"), Level::Fine);
    assert_eq!(level_of(&all, "db1/archiver"), Level::Unknown);
}

#[test]
fn what_a_check_finds_no_more_is_over_unless_the_check_could_not_run() {
    let open = ["db1/bloat/table:a", "db1/slots/slot:s", "db1/gone/table:t"];
    let results = [
        found("bloat", CheckStatus::Ok, None),
        found("slots", CheckStatus::Skipped("server gone".to_owned()), None),
    ];
    let fine = over(open.into_iter(), &of_checks(&results), &results);
    assert_eq!(fine.iter().map(|reading| reading.key.as_str()).collect::<Vec<_>>(), ["db1/bloat/table:a"]);
}

#[test]
fn of_two_replicas_the_one_that_is_worse_off_counts() {
    let reading = |level| vec![Reading::new("error-rate", level, "")];
    let all = together(reading(Level::Fine), [reading(Level::Warning), reading(Level::Unknown)]);
    assert_eq!((all.len(), all[0].level), (1, Level::Warning));
}

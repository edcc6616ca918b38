//! Flips of plans: found once, also where the change fell into the middle of an hour, and not for parameters.

use std::time::{Duration, SystemTime};

use db_insight::{EVERY, Flip, Plan, PlanHistory, Window};
use db_statement::fingerprint;

const SQL: &str = "SELECT * FROM orders WHERE customer_id = $1";

fn plan(kind: &str) -> Plan {
    let filter = r#""Filter": "(customer_id = 4711)""#;
    format!(
        r#"{{"Plan": {{"Node Type": "{kind}", "Relation Name": "orders", "Alias": "orders", {filter}}}}}"#
    )
    .parse()
    .unwrap()
}

/// One look an hour: the kind of scan, the mean time, and the rows of a call.
fn flips(looks: &[(&str, f64, u64)]) -> (Vec<(usize, Flip)>, PlanHistory) {
    let mut history = PlanHistory::default();
    let mut found = Vec::new();
    for (hour, (kind, mean_ms, rows)) in looks.iter().enumerate() {
        let at = SystemTime::UNIX_EPOCH + EVERY * u32::try_from(hour).unwrap();
        let window = Window { calls: 100, mean_ms: *mean_ms, rows: rows * 100 };
        found.extend(history.record(fingerprint(SQL), &plan(kind), window, at).map(|flip| (hour, flip)));
    }
    (found, history)
}

#[test]
fn a_change_within_an_hour_is_found_in_the_next_and_told_once() {
    let looks = [
        ("Index Scan", 1.0, 3),
        ("Index Scan", 1.1, 3),
        // A tenth of this hour's executions were slow.
        ("Seq Scan", 1.9, 3),
        ("Seq Scan", 9.0, 3),
        ("Seq Scan", 9.5, 3),
        ("Seq Scan", 9.5, 3),
    ];
    let (found, history) = flips(&looks);
    let told: Vec<_> = found.iter().map(|(hour, flip)| (*hour, flip.before_ms, flip.after_ms)).collect();
    assert_eq!(told, [(3, 1.1, 9.0)]);
    let text = found[0].1.side_by_side(40);
    assert!(text.contains("Index Scan") && text.contains("| Seq Scan on orders"), "{text}");
    // What is kept can be stored, and no value is in it.
    let stored = serde_json::to_string(&history).unwrap();
    assert!(!stored.contains("4711"), "{stored}");
    assert_eq!(serde_json::from_str::<PlanHistory>(&stored).unwrap(), history);
}

#[test]
fn what_gets_slower_long_after_its_plan_changed_is_no_flip() {
    let looks = [("Index Scan", 1.0, 3), ("Seq Scan", 1.0, 3), ("Seq Scan", 1.0, 3), ("Seq Scan", 1.0, 3)];
    assert_eq!(flips(&[looks.as_slice(), &[("Seq Scan", 9.0, 3)]].concat()).0, []);
}

#[test]
fn a_plan_that_depends_on_its_parameter_is_no_flip() {
    // Many rows take their time.
    assert_eq!(
        flips(&[("Index Scan", 1.0, 3), ("Seq Scan", 90.0, 30_000), ("Seq Scan", 90.0, 30_000)]).0,
        []
    );
    // Now this way and now that, each as fast as ever: only the first time is news.
    let looks = [("Index Scan", 1.0, 3), ("Seq Scan", 9.0, 3)].repeat(4);
    assert_eq!(flips(&looks).0.iter().filter(|(_, flip)| flip.is_regression()).count(), 1);
}

#[test]
fn a_statement_is_looked_at_once_an_hour() {
    let mut history = PlanHistory::default();
    let statement = fingerprint(SQL);
    let window = Window { calls: 1, mean_ms: 1.0, rows: 1 };
    let start = SystemTime::UNIX_EPOCH;
    assert!(history.is_due(statement, start));
    history.record(statement, &plan("Index Scan"), window, start);
    assert!(!history.is_due(statement, start + EVERY - Duration::from_secs(1)));
    assert!(history.is_due(statement, start + EVERY));
    // A clock that went back makes nothing due.
    assert!(!history.is_due(statement, start - Duration::from_secs(9)));
}

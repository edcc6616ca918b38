//! What is counted of statements, and what is kept of slow ones.

use std::time::{Duration, Instant, SystemTime};

use db_core::settings::Reader;
use db_core::{Endpoint, Environment, MeasureKind, QueryEvent, SqlState};
use db_monitoring::{Monitor, MonitoringConfig};

use crate::{Ended, tell};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn quiet() -> MonitoringConfig {
    MonitoringConfig { slow_query_threshold: Some(MS(100)), log_slow_queries: false, ..Default::default() }
}

#[test]
fn executions_with_other_values_are_one_statement() {
    let monitor = Monitor::new(quiet());
    let one = |text, millis, rows| Ended { rows, ..Ended::well(text, millis) };
    tell(
        &monitor,
        &[
            one("SELECT * FROM users WHERE id = $1", 10, 3),
            one("select * from users where id = 17", 30, 1),
            Ended { code: Some("22012"), ..one("SELECT * FROM users WHERE id = $1", 20, 0) },
            Ended { code: Some("57014"), ..one("SELECT * FROM users WHERE id = $1", 50, 7) },
            Ended::well("COMMIT", 1),
        ],
    );
    let statements = monitor.statements();
    let [users, commit] = &statements[..] else { panic!("{statements:?}") };
    assert_eq!((&*users.text, users.summary.as_str()), ("select * from users where id = ?", "SELECT users"));
    assert_eq!((users.durations.count(), users.durations.total(), users.max), (4, MS(110), MS(50)));
    assert_eq!((users.rows, users.bytes, users.mean_first_row), (11, 220, Some(MS(15))));
    assert_eq!((users.errors, users.cancelled), (2, 1));
    assert!(users.last.duration_since(SystemTime::now()).unwrap_or_default() < MS(60_000));
    assert_eq!((&*commit.text, commit.mean_first_row, commit.rows), ("commit", None, 0));
    let counts = monitor.counts();
    assert_eq!((counts.errors(), counts.cancelled, counts.slow), (2, 1, 0));
    assert_eq!(counts.failed.get(&Some(SqlState::QUERY_CANCELED)), Some(&1));
}

#[test]
fn a_slow_statement_is_kept_with_who_asked_and_without_its_values() {
    let monitor = Monitor::new(quiet());
    let line = line!() + 1;
    tell(&monitor, &[Ended::well("SELECT 'secret' FROM a", 100), Ended::well("SELECT 'other' FROM a", 300)]);
    tell(&monitor, &[Ended::well("SELECT FROM b", 250), Ended::well("SELECT FROM c", 99)]);
    let slow = monitor.slow_queries(10);
    let [a, b] = &slow[..] else { panic!("{slow:?}") };
    assert_eq!((&*a.text, a.count, a.mean(), a.max), ("select ? from a", 2, MS(200), MS(300)));
    assert_eq!((a.site.unwrap().line(), a.site.unwrap().file()), (line, file!()));
    assert_eq!((a.scope.as_ref().unwrap().name(), &*b.text), ("job", "select from b"));
    assert_eq!((monitor.counts().slow, monitor.slow_queries(1).len()), (3, 1));
    assert_eq!(monitor.slow_queries_over(MS(300)).len(), 1);
    assert!(!format!("{monitor:?}").contains("secret"));
}

#[test]
fn of_more_slow_statements_than_there_is_room_for_the_latest_are_kept() {
    let monitor = Monitor::new(quiet());
    let texts: Vec<String> = (0..300).map(|table| format!("SELECT FROM t{table}")).collect();
    for text in &texts {
        tell(&monitor, &[Ended::well(text, 200)]);
    }
    let kept = monitor.slow_queries(1_000);
    assert_eq!(kept.len(), 256);
    assert!(kept.iter().any(|slow| &*slow.text == "select from t299"));
    assert!(!kept.iter().any(|slow| &*slow.text == "select from t0"));
}

#[test]
fn what_the_pool_asks_itself_is_no_statement() {
    let monitor = Monitor::new(quiet());
    let endpoint = Endpoint::new("db", 5432);
    monitor.observer().on_query(&QueryEvent::new(&endpoint, "ROLLBACK", Instant::now(), MS(500)));
    assert!(monitor.statements().is_empty() && monitor.slow_queries(1).is_empty());
}

#[test]
fn settings_turn_off_what_they_name() {
    let check = |set: &[(&str, &str)], statements: usize, slow: usize| {
        let lookup =
            |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let config: MonitoringConfig = Reader::new(&lookup, Environment::Production).get();
        let monitor = Monitor::new(MonitoringConfig { log_slow_queries: false, ..config });
        if monitor.part(None).is_some() {
            tell(&monitor, &[Ended::well("SELECT 1", 600)]);
        }
        let found = (monitor.statements().len(), monitor.slow_queries(9).len());
        assert_eq!(found, (statements, slow), "{set:?}");
    };
    check(&[], 1, 1);
    check(&[("DB_SLOW_QUERY_THRESHOLD", "1s")], 1, 0);
    check(&[("SLOW_QUERY_THRESHOLD", "never")], 1, 0);
    check(&[("DB_ENABLE_METRICS", "false")], 0, 1);
    check(&[("MONITORING_ENABLED", "false")], 0, 0);
}

#[test]
fn every_count_is_there_from_the_start() {
    let monitor = Monitor::new(quiet());
    let names = |monitor: &Monitor| {
        let measures = monitor.measures();
        assert!(measures.iter().all(|measure| measure.kind == MeasureKind::Counter));
        measures
            .iter()
            .map(|measure| (measure.name, measure.attributes.clone(), measure.value))
            .collect::<Vec<_>>()
    };
    let code = |code: &str| vec![("db.response.status_code", code.to_owned())];
    let (errors, slow) = ("db.monitoring.errors", "db.monitoring.slow_queries");
    let cancelled = "db.monitoring.cancellations";
    assert_eq!(names(&monitor), [(errors, code("none"), 0.0), (slow, vec![], 0.0), (cancelled, vec![], 0.0)]);
    tell(&monitor, &[Ended { code: Some("40001"), ..Ended::well("COMMIT", 200) }]);
    assert_eq!(
        names(&monitor),
        [
            (errors, code("40001"), 1.0),
            (errors, code("none"), 0.0),
            (slow, vec![], 1.0),
            (cancelled, vec![], 0.0)
        ]
    );
}

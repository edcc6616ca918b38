//! What OpenTelemetry gets.

use db_monitoring::{Monitor, MonitoringConfig};
use db_testkit::Exported;

use crate::{Ended, tell};

#[test]
fn statements_are_exported_by_their_summary_and_by_their_code_where_they_fail() {
    let (monitor, exported) =
        (Monitor::new(MonitoringConfig::preset(db_core::Environment::Test)), Exported::default());
    monitor.observe_with(&exported.meter(), "shop");
    tell(
        &monitor,
        &[
            Ended::well("SELECT * FROM users WHERE name = 'secret'", 10),
            Ended::well("SELECT id FROM users", 20),
            Ended { code: Some("23505"), ..Ended::well("INSERT INTO a SELECT * FROM b", 5) },
        ],
    );
    let figures = exported.figures();
    let mut seen: Vec<_> = figures
        .iter()
        .map(|figure| {
            assert_eq!((figure.name.as_str(), figure.unit.as_str()), ("db.client.operation.duration", "s"));
            assert!(!format!("{figure:?}").contains("secret"), "{figure:?}");
            let of = |key: &str| figure.attributes.get(key).map(String::as_str);
            for (key, value) in [
                ("db.system.name", "postgresql"),
                ("db.namespace", "shop"),
                ("server.address", "db"),
                ("server.port", "5433"),
            ] {
                assert_eq!(of(key), Some(value), "{key}");
            }
            let codes = (of("db.response.status_code"), of("error.type"));
            (of("db.query.summary"), of("db.operation.name"), of("db.collection.name"), codes, figure.count)
        })
        .collect();
    seen.sort_unstable();
    let unique = Some("23505");
    assert_eq!(
        seen,
        [
            (Some("INSERT a SELECT b"), Some("INSERT"), None, (unique, unique), 1),
            (Some("SELECT users"), Some("SELECT"), Some("users"), (None, None), 2),
        ]
    );
}

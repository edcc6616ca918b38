//! What the log says, and what it never says.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use db_monitoring::{Monitor, MonitoringConfig};

use crate::{Ended, tell};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged of two statements, of which one is slow, in a span.
fn logged(config: MonitoringConfig) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let monitor = Monitor::new(config);
        let _span = tracing::info_span!("checkout", order = 7).entered();
        tell(
            &monitor,
            &[
                Ended { code: Some("57014"), rows: 3, ..Ended::well("SELECT 'hunter2' FROM a", 700) },
                Ended::well("COMMIT", 1),
            ],
        );
    });
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn slow_statements_are_logged_in_the_callers_span_without_values() {
    let config =
        MonitoringConfig { slow_query_threshold: Some(Duration::from_millis(500)), ..Default::default() };
    let lines = logged(config.clone());
    let [line] = &lines[..] else { panic!("{lines:?}") };
    for part in [
        " WARN checkout{order=7}: ",
        "slow statement endpoint=db:5433",
        "statement=\"select ? from a\" summary=\"SELECT a\" elapsed=700ms",
        "first_row=Some(350ms) rows=3 bytes=60 failed=true sqlstate=\"57014\" cancelled=true",
        "logging.rs:",
        "scope=job",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!line.contains("hunter2"), "{line}");
    assert!(logged(MonitoringConfig { log_slow_queries: false, ..config.clone() }).is_empty());
    assert!(logged(MonitoringConfig { slow_query_threshold: None, ..config.clone() }).is_empty());
}

#[test]
fn every_statement_is_logged_where_that_is_asked_for_a_slow_one_once() {
    let config = MonitoringConfig { log_queries: true, ..Default::default() };
    let levels =
        |config| logged(config).iter().map(|line| line.trim_start()[..4].to_owned()).collect::<Vec<_>>();
    assert_eq!(levels(config.clone()), ["WARN", "INFO"]);
    assert_eq!(levels(MonitoringConfig { log_slow_queries: false, ..config.clone() }), ["INFO", "INFO"]);
    assert!(
        logged(MonitoringConfig { enabled: false, ..config }).len() == 2,
        "turned off by not being attached"
    );
}

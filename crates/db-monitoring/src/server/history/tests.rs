//! Points: averages over the time in which somebody looked, gaps, and one server at a time.

use std::time::SystemTime;

use db_core::Endpoint;

use super::*;
use crate::server::{Backend, Section, ServerIdentity, ServerRole};

fn seen(timeline: i64, active: usize) -> Snapshot {
    let at = SystemTime::now();
    let identity = ServerIdentity {
        timeline: Some(timeline),
        ..ServerIdentity::new(Endpoint::new("db", 5432), ServerRole::Primary)
    };
    let backend = Backend {
        state: Some("active".to_owned()),
        backend_type: Some("client backend".to_owned()),
        query_id: Some(7),
        ..Backend::default()
    };
    Snapshot {
        server: Section::read(at, identity),
        activity: Section::read(at, vec![backend; active]),
        ..Snapshot::default()
    }
}

fn active(history: &History, resolution: Resolution) -> Vec<(f64, f64)> {
    history.points(resolution).iter().map(|point| (point.seconds, point.active_sessions())).collect()
}

#[test]
fn points_are_averages_and_become_coarser() {
    let mut history = History::default();
    let mut finished = Vec::new();
    for second in 0..=1_880 {
        let busy = if second % 2 == 0 { 4 } else { 2 };
        finished.extend(history.sample(900_000.0 + f64::from(second), &seen(1, busy), None));
    }
    assert_eq!(history.points(Resolution::TenSeconds).len(), 188);
    let minutes = active(&history, Resolution::Minute);
    assert_eq!(minutes.len(), 31);
    assert!(
        minutes.iter().all(|(seconds, load)| *seconds > 58.0 && (load - 3.0).abs() < 0.05),
        "{minutes:?}"
    );
    let quarters = active(&history, Resolution::Quarter);
    assert_eq!(quarters.len(), 2);
    assert!(
        quarters.iter().all(|(seconds, load)| *seconds > 898.0 && (load - 3.0).abs() < 0.01),
        "{quarters:?}"
    );
    assert_eq!(finished.len(), 33, "each minute and each quarter is kept");
}

#[test]
fn a_time_in_which_nobody_looked_is_a_gap() {
    let mut history = History::default();
    for second in (0..30).chain(200..241) {
        history.sample(900_000.0 + f64::from(second), &seen(1, 2), None);
    }
    let points = active(&history, Resolution::TenSeconds);
    assert!(points.iter().all(|(seconds, load)| *seconds <= 10.0 && *load == 2.0), "{points:?}");
    let covered: f64 = points.iter().map(|(seconds, _)| seconds).sum();
    assert!((60.0..70.0).contains(&covered), "{covered}");
}

#[test]
fn a_failover_ends_a_point() {
    let mut history = History::default();
    for second in 0..120 {
        let timeline = if second < 45 { 1 } else { 2 };
        history.sample(900_000.0 + f64::from(second), &seen(timeline, 1), None);
    }
    for resolution in [Resolution::TenSeconds, Resolution::Minute] {
        let servers: Vec<_> = history.points(resolution).iter().map(|point| point.server.clone()).collect();
        assert!(
            servers.iter().any(|server| server.ends_with("/1"))
                && servers.iter().any(|server| server.ends_with("/2"))
        );
    }
    let first = &history.points(Resolution::Minute)[0];
    assert!(first.seconds < 45.0 && first.server.ends_with("/1"), "{first:?}");
}

#[test]
fn the_load_of_many_statements_stays_bounded() {
    let mut sum = LoadSum::default();
    let backends: Vec<_> = (0..500)
        .map(|id| Backend { state: Some("active".to_owned()), query_id: Some(id), ..Backend::default() })
        .collect();
    sum.add(1.0, &backends);
    let (_, parts) = sum.take().unwrap();
    assert_eq!(parts.len(), 40);
    assert!((parts.iter().map(|part| part.sessions).sum::<f64>() - 500.0).abs() < 1e-6, "nothing is lost");
    assert_eq!(parts[39].wait, load::OTHERS);
}

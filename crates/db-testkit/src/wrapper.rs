//! What every wrapper of a source of connections must pass on: one contract for all of them.

use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use db_core::{Acquire, EvictAll, Facts, Opened, Opening, Report, ServerId, SqlState, TransactionStatus};
use tokio::sync::Notify;

use crate::Source;

/// Puts `wrap` around a source that knows and notes everything, and asserts that the wrapper hides none of
/// it: the site of each acquire, the endpoint, the facts, each report, each BEGIN, the end of the server, and
/// the eviction of all connections.
///
/// Connections are opened to `url`.
///
/// # Panics
/// Where something is not passed on.
pub async fn assert_passes_on<W: Acquire + EvictAll>(url: &str, wrap: impl FnOnce(Source) -> W) {
    let known = Facts {
        status: Some(TransactionStatus::Failed),
        failed_with: Some(SqlState::DEADLOCK_DETECTED),
        commits: Some(7),
        waits_given_up: Some(3),
        runs: Some(9),
        prepares: Some(4),
        last_words: Some(SqlState::ADMIN_SHUTDOWN),
        stale: true,
        server: Some(ServerId { system: Some(1), started: Some(2) }),
        begin: Opened::Begun,
        opened: Some(Arc::new([Some("7".to_owned())])),
    };
    let (sites, told, down) =
        (Arc::new(Mutex::default()), Arc::new(Mutex::default()), Arc::new(Notify::new()));
    let openings = Arc::new(Mutex::default());
    let source = {
        let (facts, sites, told, down) =
            (known.clone(), Arc::clone(&sites), Arc::clone(&told), Arc::clone(&down));
        let begun = Arc::clone(&openings);
        let opening = Source::opening(url);
        let acquire = move |site: &'static Location<'static>| {
            note(&sites, site);
            let opening = opening.clone();
            async move { opening.acquire_at(site).await }
        };
        Source::new(acquire)
            .at("wrapped", 5432)
            .knowing(move |_| facts.clone())
            .told(move |_, what| note(&told, what))
            .beginning(move |_, opening| {
                note(&begun, opening.clone());
                true
            })
            .down(move || Arc::clone(&down).notified_owned())
    };
    let wrapper = wrap(source.clone());

    assert_eq!(wrapper.endpoint(), source.endpoint(), "the endpoint is hidden");
    let here = Location::caller();
    let acquired = wrapper.acquire_at(here).await;
    let Ok(mut conn) = acquired else { panic!("no connection through the wrapper") };
    assert_eq!(notes(&sites), [here], "the site of an acquire is hidden");
    assert_eq!(wrapper.facts(&conn), known, "what is known of a connection is hidden");
    let reports = [Report::Conflict, Report::ServerGone, Report::CommitUnanswered];
    for what in reports {
        wrapper.report(&mut conn, what);
    }
    assert_eq!(notes(&told), reports, "a report is hidden");
    let opening = Opening::new("BEGIN");
    assert!(
        wrapper.begin_with(&mut conn, &opening),
        "whether BEGIN goes out with the next request is hidden"
    );
    assert_eq!(notes(&openings), [opening], "a BEGIN is hidden");
    let server_down = wrapper.server_down(&conn);
    let ((), ()) = tokio::join!(biased; server_down, async { down.notify_waiters() });
    wrapper.evict_all();
    assert_eq!(source.evictions(), 1, "the eviction of all connections is hidden");
}

fn note<T>(notes: &Mutex<Vec<T>>, what: T) {
    notes.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

fn notes<T: Clone>(notes: &Mutex<Vec<T>>) -> Vec<T> {
    notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

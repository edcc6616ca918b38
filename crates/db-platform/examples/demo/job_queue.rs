//! What a page of the job queue is made from, which only the page tells.
//!
//! The queue is read from its oldest job on, so a new job changes a page only where there is room behind its
//! last one. A transaction that began before that one did may still commit: a page is closed when its last
//! job is older than any transaction.

use chrono::{DateTime, TimeDelta, Utc};
use db_platform::cache::Tag;
use serde::Deserialize;

use crate::queries::PAGE;

/// Longer than a transaction takes.
const LONGEST_TRANSACTION: TimeDelta = TimeDelta::minutes(1);

#[derive(Deserialize)]
struct Job {
    created_at: DateTime<Utc>,
}

/// The tags of a page beside those of its key, which name the jobs that leave the queue.
pub(crate) fn tags(page: &str) -> Vec<Tag> {
    if is_closed(page, Utc::now()) { Vec::new() } else { vec![Tag::row("events", "unprocessed")] }
}

fn is_closed(page: &str, now: DateTime<Utc>) -> bool {
    let jobs: Vec<Job> = serde_json::from_str(page).unwrap_or_default();
    jobs.len() >= PAGE && jobs.last().is_some_and(|last| last.created_at < now - LONGEST_TRANSACTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_closed_when_it_is_full_of_old_jobs() {
        let page = |jobs: usize| {
            let jobs = vec![r#"{"id": 1, "created_at": "2026-11-28T12:00:00.5+01:00"}"#; jobs];
            format!("[{}]", jobs.join(", "))
        };
        let at = |time: &str| time.parse().unwrap();
        assert!(is_closed(&page(PAGE), at("2026-11-28T11:02:00Z")));
        assert!(!is_closed(&page(PAGE), at("2026-11-28T11:00:30Z")), "an older one may come");
        assert!(!is_closed(&page(PAGE - 1), at("2026-11-28T11:02:00Z")), "there is room");
        assert!(!is_closed("[]", at("2026-11-28T11:02:00Z")));
    }
}

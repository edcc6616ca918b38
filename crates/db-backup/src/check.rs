//! What monitoring is told of a cluster's backups: one that is too old, one that cannot be read.

use std::time::Duration;

use chrono::{DateTime, Utc};
use db_core::{CheckStatus, PartCheck};

use crate::Backups;

/// How the backups of `cluster` are for monitoring, also what is well: the age of the newest one against
/// `max_age` (`BACKUP_MAX_AGE`), and whether each can be read.
///
/// ```
/// use db_core::CheckStatus;
///
/// let none = db_backup::checks("7301", &db_backup::Backups::default(), None, chrono::Utc::now());
/// assert_eq!(none[0].status, CheckStatus::Critical); // there is no backup at all
/// ```
pub fn checks(
    cluster: &str,
    backups: &Backups,
    max_age: Option<Duration>,
    now: DateTime<Utc>,
) -> Vec<PartCheck> {
    let newest = backups.whole.iter().map(|summary| summary.ended).max();
    let age = newest.map(|ended| (now - ended).to_std().unwrap_or_default());
    let (status, said) = match (age, max_age) {
        (None, _) => (CheckStatus::Critical, "there is no backup".to_owned()),
        (Some(age), Some(most)) if age > most.saturating_mul(2) => (CheckStatus::Critical, old(age, most)),
        (Some(age), Some(most)) if age > most => (CheckStatus::Warn, old(age, most)),
        (Some(age), _) => (CheckStatus::Ok, format!("the last backup is {} old", hours(age))),
    };
    let mut check = PartCheck::new("backup-age", "Age of the last backup", status).about(cluster);
    if let Some(age) = age {
        check = check.figure("age", age.as_secs_f64(), "s");
    }
    let check = check.saying(said).fix("dbctl backup take", "it reads from the server and locks nothing");
    let damaged = &backups.damaged;
    let (status, said) = match damaged.first() {
        None => (CheckStatus::Ok, "every backup's manifest can be read".to_owned()),
        Some(first) => (CheckStatus::Critical, format!("{} cannot be read: {}", first.id, first.why)),
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let count = damaged.len() as f64;
    let whole = PartCheck::new("backup-damaged", "Backups that cannot be read", status)
        .about(cluster)
        .figure("damaged", count, "1")
        .saying(said)
        .fix("dbctl backup verify", "it only reads, and says what can still be restored");
    vec![check, whole]
}

fn old(age: Duration, most: Duration) -> String {
    format!("the last backup is {} old, and is to be at most {}", hours(age), hours(most))
}

fn hours(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match minutes {
        0..120 => format!("{minutes} minutes"),
        _ => format!("{} hours", minutes / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DamagedBackup, Kind, ServerFacts, Summary};

    #[test]
    fn a_backup_that_is_too_old_is_told_and_one_that_is_young_is_not() {
        let now = Utc::now();
        let mut summary = Summary::new(Kind::Full, ServerFacts::default(), now);
        summary.ended = now;
        let backups = Backups { whole: vec![summary], ..Backups::default() };
        let day = Duration::from_secs(86_400);
        let status = |after: Duration| {
            let then = now + chrono::TimeDelta::from_std(after).unwrap();
            checks("7301", &backups, Some(day), then)[0].status.clone()
        };
        assert_eq!(status(day / 2), CheckStatus::Ok);
        assert_eq!(status(day + day / 2), CheckStatus::Warn);
        assert_eq!(status(day * 3), CheckStatus::Critical);
    }

    #[test]
    fn a_backup_that_cannot_be_read_is_no_backup() {
        let damaged = DamagedBackup { id: "20261128T000000Z".to_owned(), why: "it was cut off".to_owned() };
        let backups = Backups { damaged: vec![damaged], ..Backups::default() };
        let found = checks("7301", &backups, None, Utc::now());
        assert!(found.iter().all(|check| check.status == CheckStatus::Critical), "{found:?}");
    }
}

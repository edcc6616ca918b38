//! Of which objects a verification reads the contents: all, a random share, or what came since the last one
//! that held.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use rand::seq::SliceRandom;

use crate::audit::{AuditAction, AuditEntry};
use crate::finding::Finding;
use crate::verify::Verdict;

/// Of which objects the contents are read. Manifests, names, sizes and gaps are looked at in any case.
///
/// ```
/// use db_backup::VerifyScope;
///
/// assert_eq!("10%".parse::<VerifyScope>()?, VerifyScope::Sample(10));
/// assert_eq!("new".parse::<VerifyScope>()?, VerifyScope::New);
/// # Ok::<(), db_backup::InvalidScope>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum VerifyScope {
    /// Of all.
    #[default]
    All,
    /// Of so many per cent, which are chosen anew each time: 10 % every day have read nearly everything after
    /// a month.
    Sample(u8),
    /// Of what was written since the last verification of all or of what was new; of all once damage was
    /// found. It is the audit log that knows, so a host that may only add can make it read less: read
    /// everything now and then.
    New,
}

/// A text that names no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no scope: write all, new, or a share as in 10%")]
pub struct InvalidScope;

impl FromStr for VerifyScope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        match text {
            "all" => Ok(VerifyScope::All),
            "new" => Ok(VerifyScope::New),
            share => {
                let share = share.strip_suffix('%').and_then(|share| share.trim().parse().ok());
                let share = share.filter(|share| (1..=100).contains(share)).ok_or(InvalidScope)?;
                Ok(VerifyScope::Sample(share))
            }
        }
    }
}

impl fmt::Display for VerifyScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyScope::All => f.write_str("all"),
            VerifyScope::New => f.write_str("new"),
            VerifyScope::Sample(share) => write!(f, "{share}%"),
        }
    }
}

/// What the audit log says of a verification's extent.
const SCOPE: &str = "scope";
const BEGAN: &str = "began";
const HOLDS: &str = "holds";

impl Verdict {
    /// The entry of the audit log from which a later verification of [`VerifyScope::New`] goes on.
    pub fn entry(&self, who: impl Into<String>) -> AuditEntry {
        let scope = if self.contents { self.scope.to_string() } else { "names".to_owned() };
        let began = self.began.map(|began| began.to_rfc3339_opts(SecondsFormat::Micros, true));
        AuditEntry::new(who, AuditAction::Verify)
            .saying(SCOPE, scope)
            .saying(BEGAN, began.unwrap_or_default())
            .saying(HOLDS, !self.findings.iter().any(Finding::is_damage))
    }
}

/// Since when objects are new: the beginning of the last verification that left nothing out. Once one has
/// found damage, everything is read again until nothing is damaged.
pub(crate) fn new_since(log: &[AuditEntry], now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let verified = log.iter().filter(|entry| entry.action == AuditAction::Verify);
    let mut verified: Vec<(DateTime<Utc>, &AuditEntry)> =
        verified.filter_map(|entry| Some((entry.details.get(BEGAN)?.parse().ok()?, entry))).collect();
    // What was not yet cannot have been verified.
    verified.retain(|(began, _)| *began <= now);
    verified.sort_by_key(|(began, _)| *began);
    let mut since = None;
    for (began, entry) in verified {
        let says = |name: &str| entry.details.get(name).map(String::as_str);
        since = match (says(SCOPE), says(HOLDS)) {
            (Some("all" | "new"), Some("true")) => Some(began),
            (Some("names"), _) | (_, Some("true")) => since,
            _ => None,
        };
    }
    since
}

/// Which of these objects are read, by when each was written; none is an object that the store does not list.
pub(crate) fn chosen(
    written: &[Option<DateTime<Utc>>],
    scope: VerifyScope,
    since: Option<DateTime<Utc>>,
    longest_put: Duration,
) -> Vec<bool> {
    match scope {
        VerifyScope::All => vec![true; written.len()],
        VerifyScope::Sample(share) => {
            let wanted = written.len().saturating_mul(usize::from(share)).div_ceil(100);
            let mut chosen = vec![false; written.len()];
            chosen.iter_mut().take(wanted).for_each(|one| *one = true);
            chosen.shuffle(&mut rand::rng());
            chosen
        }
        VerifyScope::New => {
            // Some stores give an object the time at which its upload began.
            let slack = TimeDelta::from_std(longest_put).unwrap_or(TimeDelta::MAX);
            let since = since.and_then(|since| since.checked_sub_signed(slack));
            let is_new = |written: &Option<DateTime<Utc>>| match (written, since) {
                (Some(written), Some(since)) => *written >= since,
                _ => true,
            };
            written.iter().map(is_new).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn entry(scope: VerifyScope, minute: i64, contents: bool, holds: bool) -> AuditEntry {
        let mut verdict = Verdict { scope, contents, began: Some(at(minute)), ..Verdict::default() };
        if !holds {
            verdict.findings.push(Finding::AuditDamaged { path: "x".to_owned() });
        }
        verdict.entry("ada@here")
    }

    #[test]
    fn what_is_new_begins_at_the_last_look_that_left_nothing_out() {
        let mut log = vec![
            entry(VerifyScope::All, 1, true, true),
            entry(VerifyScope::New, 2, true, true),
            entry(VerifyScope::Sample(50), 3, true, true),
            entry(VerifyScope::All, 4, false, false),
            entry(VerifyScope::All, 99, true, true),
        ];
        assert_eq!(new_since(&log, at(10)), Some(at(2)));
        log.push(entry(VerifyScope::Sample(1), 5, true, false));
        assert_eq!(new_since(&log, at(10)), None, "what is damaged must not count as seen");
        log.push(entry(VerifyScope::New, 6, true, true));
        assert_eq!(new_since(&log, at(10)), Some(at(6)));
        assert_eq!(new_since(&[], at(10)), None);
    }

    #[test]
    fn a_share_is_rounded_up_and_chosen_anew() {
        let objects = vec![Some(at(0)); 35];
        let choose = || chosen(&objects, VerifyScope::Sample(10), None, Duration::ZERO);
        assert_eq!(choose().iter().filter(|chosen| **chosen).count(), 4);
        let mut met = vec![false; 35];
        for _ in 0..1_000 {
            met.iter_mut().zip(choose()).for_each(|(met, chosen)| *met |= chosen);
        }
        assert!(met.into_iter().all(|met| met), "each has its turn");
    }

    #[test]
    fn an_upload_that_began_before_the_last_look_is_new() {
        let objects = [Some(at(0)), Some(at(7)), Some(at(11)), None];
        let new = chosen(&objects, VerifyScope::New, Some(at(10)), Duration::from_secs(300));
        assert_eq!(new, [false, true, true, true]);
        assert_eq!(chosen(&objects, VerifyScope::New, None, Duration::ZERO), [true; 4]);
    }

    #[test]
    fn a_share_of_nothing_or_of_more_than_all_is_refused() {
        for wrong in ["0%", "101%", "10", "some"] {
            assert!(wrong.parse::<VerifyScope>().is_err(), "{wrong}");
        }
        assert_eq!(VerifyScope::Sample(10).to_string(), "10%");
    }
}

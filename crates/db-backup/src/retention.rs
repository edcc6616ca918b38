//! Which backups and which write-ahead log a policy keeps: a pure function of what there is, the policy and
//! the time.
//!
//! Everything is decided by what depends on what, and by positions in the log. The time only says which rules
//! a backup meets. What a kept backup needs is kept, whatever the rules say of it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use db_core::Lsn;

use crate::backup_id::BackupId;
use crate::manifest::Summary;
use crate::wal_name::{Segment, WalName};

/// How far a backup's own time may be ahead of the store's before nothing is removed: one of the two clocks
/// is wrong.
const CLOCK_SLACK: TimeDelta = TimeDelta::hours(1);

/// How long backups are kept. Each rule keeps what it names; what no rule keeps is removed. Physical backups
/// and dumps are counted apart, and the newest of each is kept by every policy.
///
/// ```
/// use chrono::Utc;
/// use db_backup::RetentionPolicy;
///
/// let policy = RetentionPolicy { days: 7, ..RetentionPolicy::NOTHING };
/// assert!(policy.plan(&[], &[], Utc::now()).remove.is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Every backup of so many days, the one before them, and the write-ahead log to reach any moment since.
    pub days: u32,
    /// So many of the newest, however old, and the write-ahead log since the oldest of them.
    pub last: u32,
    /// The newest backup of each of so many hours.
    pub hourly: u32,
    /// The newest backup of each of so many days.
    pub daily: u32,
    /// The newest backup of each of so many weeks.
    pub weekly: u32,
    /// The newest backup of each of so many months.
    pub monthly: u32,
}

/// What a policy keeps and removes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPlan {
    /// What stays, and why.
    pub keep: BTreeMap<BackupId, BTreeSet<Reason>>,
    /// What goes, the oldest first.
    pub remove: Vec<BackupId>,
    /// Which write-ahead log stays.
    pub wal: WalNeed,
    /// Why nothing is removed although the rules would; `None` where nothing holds it back.
    pub held_back: Option<String>,
}

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is of the last days, or the one from which their first moment is reached.
    Days,
    /// It is one of the newest.
    Last,
    /// It is the newest of its hour.
    Hourly,
    /// It is the newest of its day.
    Daily,
    /// It is the newest of its week.
    Weekly,
    /// It is the newest of its month.
    Monthly,
    /// It is pinned.
    Pinned,
    /// This kept backup builds on it.
    NeededBy(BackupId),
    /// A backup or a restore that is under way uses it.
    InUse,
    /// Its store locks it until then.
    Locked(DateTime<Utc>),
}

/// Which write-ahead log stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalNeed {
    /// Everything from here on; `None` where there is no backup, so that nothing is known to be needless.
    pub since: Option<Lsn>,
    /// What the other kept backups need to be consistent: from the first position to the second.
    pub ranges: Vec<(Lsn, Lsn)>,
}

impl RetentionPolicy {
    /// A policy without rules: it keeps the newest backup only.
    pub const NOTHING: RetentionPolicy =
        RetentionPolicy { days: 0, last: 0, hourly: 0, daily: 0, weekly: 0, monthly: 0 };

    /// What of these backups stays at this moment. `in_use` are those that something under way builds on or
    /// reads.
    pub fn plan(&self, backups: &[Summary], in_use: &[BackupId], now: DateTime<Utc>) -> RetentionPlan {
        let mut keep: BTreeMap<BackupId, BTreeSet<Reason>> = BTreeMap::new();
        for physical in [true, false] {
            let mut family: Vec<&Summary> =
                backups.iter().filter(|backup| backup.kind.is_physical() == physical).collect();
            family.sort_by_key(|backup| std::cmp::Reverse((backup.ended, &backup.id)));
            for (reason, id) in self.by_rules(&family, now) {
                keep.entry(id.clone()).or_default().insert(reason);
            }
        }
        for backup in backups.iter().filter(|backup| backup.pinned) {
            keep.entry(backup.id.clone()).or_default().insert(Reason::Pinned);
        }
        for id in in_use {
            keep.entry(id.clone()).or_default().insert(Reason::InUse);
        }
        keep_what_is_needed(backups, &mut keep);
        let wal = WalNeed::of(backups, &keep);
        let mut gone: Vec<&Summary> =
            backups.iter().filter(|backup| !keep.contains_key(&backup.id)).collect();
        gone.sort_by_key(|backup| (backup.ended, &backup.id));
        let remove = gone.into_iter().map(|backup| backup.id.clone()).collect();
        let ahead = backups.iter().find(|backup| backup.ended > now + CLOCK_SLACK);
        match ahead {
            None => RetentionPlan { keep, remove, wal, held_back: None },
            Some(ahead) => RetentionPlan { keep, remove, wal, held_back: None }.held_back(format!(
                "{} ended at {}, which is later than the store's {now}: a clock is wrong",
                ahead.id, ahead.ended
            )),
        }
    }

    /// Of how many of these one backup is kept, and how long each is at most.
    fn of_each(&self, period: Period) -> (u32, Reason, TimeDelta) {
        match period {
            Period::Hour => (self.hourly, Reason::Hourly, TimeDelta::hours(1)),
            Period::Day => (self.daily, Reason::Daily, TimeDelta::days(1)),
            Period::Week => (self.weekly, Reason::Weekly, TimeDelta::weeks(1)),
            Period::Month => (self.monthly, Reason::Monthly, TimeDelta::days(31)),
        }
    }

    /// What the rules keep of one family, the newest first.
    fn by_rules<'b>(&self, family: &[&'b Summary], now: DateTime<Utc>) -> Vec<(Reason, &'b BackupId)> {
        let mut kept: Vec<(Reason, &BackupId)> = Vec::new();
        let last = usize::try_from(self.last.max(1)).unwrap_or(usize::MAX);
        kept.extend(family.iter().take(last).map(|backup| (Reason::Last, &backup.id)));
        if self.days > 0 {
            let since = before(now, TimeDelta::try_days(i64::from(self.days)));
            let within = family.iter().take_while(|backup| backup.ended >= since).count();
            kept.extend(family.iter().take(within + 1).map(|backup| (Reason::Days, &backup.id)));
        }
        for period in [Period::Hour, Period::Day, Period::Week, Period::Month] {
            let (count, reason, longest) = self.of_each(period);
            let since = before(now, i32::try_from(count).ok().and_then(|count| longest.checked_mul(count)));
            let mut periods = BTreeSet::new();
            for backup in family.iter().filter(|backup| count > 0 && backup.ended >= since) {
                if periods.insert(period.number(backup.ended)) {
                    kept.push((reason.clone(), &backup.id));
                }
            }
        }
        kept
    }
}

/// What rules keep one backup of each of.
#[derive(Debug, Clone, Copy)]
enum Period {
    Hour,
    Day,
    Week,
    Month,
}

impl Period {
    /// Which one a moment lies in, counted from 1970.
    fn number(self, time: DateTime<Utc>) -> i64 {
        let days = time.timestamp().div_euclid(86_400);
        match self {
            Period::Hour => time.timestamp().div_euclid(3_600),
            Period::Day => days,
            // The first day of 1970 was a Thursday; weeks begin on Monday.
            Period::Week => (days + 3).div_euclid(7),
            Period::Month => i64::from(time.year()) * 12 + i64::from(time.month0()),
        }
    }
}

/// So much earlier; the beginning of time where that cannot be said.
fn before(now: DateTime<Utc>, period: Option<TimeDelta>) -> DateTime<Utc> {
    period.and_then(|period| now.checked_sub_signed(period)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Adds what the kept backups build on, and what that builds on.
fn keep_what_is_needed(backups: &[Summary], keep: &mut BTreeMap<BackupId, BTreeSet<Reason>>) {
    let by_id: BTreeMap<&BackupId, &Summary> = backups.iter().map(|backup| (&backup.id, backup)).collect();
    let mut open: Vec<BackupId> = keep.keys().cloned().collect();
    while let Some(id) = open.pop() {
        for needed in by_id.get(&id).into_iter().flat_map(|backup| backup.needs()) {
            if !keep.contains_key(needed) {
                open.push(needed.clone());
            }
            keep.entry(needed.clone()).or_default().insert(Reason::NeededBy(id.clone()));
        }
    }
}

impl RetentionPlan {
    /// The same where the store locks some of the backups: they stay, and with them what they build on.
    pub(crate) fn locked(mut self, backups: &[Summary], until: &BTreeMap<BackupId, DateTime<Utc>>) -> Self {
        for id in &self.remove {
            if let Some(until) = until.get(id) {
                self.keep.entry(id.clone()).or_default().insert(Reason::Locked(*until));
            }
        }
        keep_what_is_needed(backups, &mut self.keep);
        self.remove.retain(|id| !self.keep.contains_key(id));
        self
    }

    /// The same with nothing removed, and why.
    pub(crate) fn held_back(mut self, why: String) -> Self {
        self.remove.clear();
        self.wal.since = None;
        self.held_back = Some(why);
        self
    }
}

impl WalNeed {
    fn of(backups: &[Summary], keep: &BTreeMap<BackupId, BTreeSet<Reason>>) -> Self {
        let mut need = WalNeed::default();
        for backup in backups {
            let Some(wal) = &backup.wal else { continue };
            // What goes is still there until it is removed, and may be kept after all.
            need.ranges.push((wal.start, wal.stop));
            let is_base = |reasons: &BTreeSet<Reason>| {
                reasons.contains(&Reason::Days) || reasons.contains(&Reason::Last)
            };
            if keep.get(&backup.id).is_some_and(is_base) {
                need.since = Some(need.since.map_or(wal.start, |since| since.min(wal.start)));
            }
        }
        need.ranges.sort();
        need
    }

    /// Whether a file of the write-ahead log stays. Histories always do: they are small, and say how
    /// timelines hang together.
    ///
    /// Positions are compared whatever the timeline: on each that leads to a kept backup they grow, so this
    /// keeps too much rather than too little.
    pub fn keeps(&self, name: WalName, segment_bytes: u32) -> bool {
        let segment: Segment = match name {
            WalName::History(_) => return true,
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::BackupHistory(segment, _) => {
                segment
            }
        };
        let Some(since) = self.since else { return true };
        let (start, end) = (segment.start(segment_bytes), segment.next(segment_bytes).start(segment_bytes));
        end > since || self.ranges.iter().any(|(from, to)| end > *from && start <= *to)
    }
}

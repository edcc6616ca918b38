//! Random histories of backups under a policy, and what must hold of each.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use db_backup::{BackupId, Kind, RetentionPolicy, Segment, Summary, WalName, WalRange};
use db_core::Lsn;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::world::{SEGMENT, server};

/// When the histories begin.
fn beginning() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

pub(crate) fn at(hours: i64) -> DateTime<Utc> {
    beginning() + TimeDelta::hours(hours)
}

/// A backup that ended so many hours after the beginning; the log grows by three segments an hour.
pub(crate) fn backup(hours: i64, kind: Kind, pinned: bool) -> Summary {
    let mut summary = Summary::new(kind, server(), at(hours));
    let start = u64::from(SEGMENT) * (3 * hours as u64 + 1);
    let stop = Lsn(start + u64::from(SEGMENT) * 2 - 7);
    summary.wal = kind.is_physical().then(|| WalRange { timeline: 1, start: Lsn(start + 40), stop });
    summary.pinned = pinned;
    summary
}

/// One backup of a history.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    hours: i64,
    kind: Kind,
    pinned: bool,
    reuses: Option<prop::sample::Index>,
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind =
        prop_oneof![Just(Kind::Full), Just(Kind::Incremental), Just(Kind::Incremental), Just(Kind::Logical)];
    let pause = prop_oneof![1_i64..5, 5_i64..40, 40_i64..400];
    let step = (pause, kind, prop::bool::weighted(0.05), any::<Option<prop::sample::Index>>());
    prop::collection::vec(step, 1..60).prop_map(|steps| {
        let mut hours = 0;
        let after = |(pause, kind, pinned, reuses)| {
            hours += pause;
            Step { hours, kind, pinned, reuses }
        };
        steps.into_iter().map(after).collect()
    })
}

pub(crate) fn policies() -> impl Strategy<Value = RetentionPolicy> {
    (0_u32..20, 0_u32..4, 0_u32..30, 0_u32..10, 0_u32..8, 0_u32..6).prop_map(
        |(days, last, hourly, daily, weekly, monthly)| RetentionPolicy {
            days,
            last,
            hourly,
            daily,
            weekly,
            monthly,
        },
    )
}

/// What a repository holds while a policy is applied after each backup.
#[derive(Default)]
struct History {
    taken: Vec<Summary>,
    backups: Vec<Summary>,
    /// The segments that are there, by number.
    log: BTreeSet<u32>,
}

impl History {
    fn take(&mut self, step: &Step) {
        let mut taken = backup(step.hours, step.kind, step.pinned);
        let physical: Vec<BackupId> = self
            .backups
            .iter()
            .filter(|known| known.kind.is_physical())
            .map(|known| known.id.clone())
            .collect();
        if step.kind == Kind::Incremental {
            match physical.last() {
                Some(parent) => taken.parent = Some(parent.clone()),
                None => taken.kind = Kind::Full,
            }
        }
        if let (Some(index), false) = (&step.reuses, self.backups.is_empty()) {
            taken.figures.reuses = vec![index.get(&self.backups).id.clone()];
        }
        let newest = u32::try_from(3 * step.hours + 3).unwrap();
        self.log.extend(self.log.last().map_or(0, |last| last + 1)..=newest);
        self.taken.push(taken.clone());
        self.backups.push(taken);
    }

    fn expire(&mut self, policy: &RetentionPolicy, now: DateTime<Utc>) {
        let plan = policy.plan(&self.backups, &[], now);
        assert_eq!(plan.held_back, None);
        self.log.retain(|number| plan.wal.keeps(segment(*number), SEGMENT));
        self.backups.retain(|backup| !plan.remove.contains(&backup.id));
        assert_eq!(self.backups.len(), plan.keep.len());
    }

    fn has(&self, id: &BackupId) -> bool {
        self.backups.iter().any(|backup| backup.id == *id)
    }

    fn has_log(&self, from: Lsn, to: Lsn) -> bool {
        let number = |position: Lsn| u32::try_from(position.0 / u64::from(SEGMENT)).unwrap();
        let wanted = number(from)..=number(Lsn(to.0.saturating_sub(1)));
        self.log.range(wanted.clone()).count() == wanted.count()
    }
}

pub(crate) fn segment(number: u32) -> WalName {
    WalName::Segment(Segment::containing(1, Lsn(u64::from(number) * u64::from(SEGMENT)), SEGMENT))
}

/// A kept backup has what it builds on and its log; the newest of each family and the pinned ones stay.
pub(crate) fn nothing_needed_goes(steps: &[Step], policy: RetentionPolicy) -> Result<(), TestCaseError> {
    let mut history = History::default();
    for step in steps {
        history.take(step);
        history.expire(&policy, at(step.hours));
        for backup in &history.backups {
            for needed in backup.needs() {
                prop_assert!(history.has(needed), "{} lacks {needed}", backup.id);
            }
            if let Some(wal) = &backup.wal {
                prop_assert!(history.has_log(wal.start, wal.stop), "{} lacks its log", backup.id);
            }
        }
        for physical in [true, false] {
            let is_of = |backup: &&Summary| backup.kind.is_physical() == physical;
            let newest = history.taken.iter().rfind(is_of);
            prop_assert!(newest.is_none_or(|newest| history.has(&newest.id)), "the newest is gone");
        }
        for pinned in history.taken.iter().filter(|backup| backup.pinned) {
            prop_assert!(history.has(&pinned.id), "a pinned one is gone");
        }
    }
    Ok(())
}

/// Any moment of the last days is reached from a kept backup by kept log.
pub(crate) fn the_last_days_are_reached(steps: &[Step], days: u32) -> Result<(), TestCaseError> {
    let policy = RetentionPolicy { days, ..RetentionPolicy::NOTHING };
    let mut history = History::default();
    for step in steps {
        history.take(step);
        history.expire(&policy, at(step.hours));
        let since = (step.hours - i64::from(days) * 24).max(0);
        let first = history.taken.iter().find(|backup| backup.kind.is_physical());
        for hour in [since, since + 1, (since + step.hours) / 2, step.hours - 1, step.hours] {
            if first.is_none_or(|first| first.ended > at(hour)) {
                continue;
            }
            let base = history.backups.iter().rfind(|one| one.kind.is_physical() && one.ended <= at(hour));
            let start = base.and_then(|base| base.wal.as_ref()).map(|wal| wal.start);
            let moment = Lsn(u64::from(SEGMENT) * (3 * hour as u64 + 3));
            prop_assert!(
                start.is_some_and(|start| history.has_log(start, moment)),
                "hour {hour} is out of reach"
            );
        }
    }
    Ok(())
}

/// Of each hour, day and week that a rule names, a backup is kept if there was one.
pub(crate) fn each_period_keeps_one(steps: &[Step], policy: RetentionPolicy) -> Result<(), TestCaseError> {
    let mut history = History::default();
    for step in steps {
        history.take(step);
        history.expire(&policy, at(step.hours));
        for taken in &history.taken {
            let age = at(step.hours) - taken.ended;
            let kept_with = |same: &dyn Fn(DateTime<Utc>) -> bool| {
                let mut alike = history.backups.iter();
                alike.any(|one| one.kind.is_physical() == taken.kind.is_physical() && same(one.ended))
            };
            let hour = |time: DateTime<Utc>| time.timestamp() / 3_600;
            let day = |time: DateTime<Utc>| time.date_naive();
            let week = |time: DateTime<Utc>| day(time).iso_week();
            if age <= TimeDelta::hours(policy.hourly.into()) && policy.hourly > 0 {
                prop_assert!(kept_with(&|time| hour(time) == hour(taken.ended)), "no backup of that hour");
            }
            if age <= TimeDelta::days(policy.daily.into()) && policy.daily > 0 {
                prop_assert!(kept_with(&|time| day(time) == day(taken.ended)), "no backup of that day");
            }
            if age <= TimeDelta::weeks(policy.weekly.into()) && policy.weekly > 0 {
                prop_assert!(kept_with(&|time| week(time) == week(taken.ended)), "no backup of that week");
            }
        }
    }
    Ok(())
}

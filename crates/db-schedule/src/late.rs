//! Which due time is next, and what is done about those that passed: pure functions of the expression and the
//! times.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Cron, Missed};

/// Counting ends here: a job of every second that slept for a month must not count for minutes.
const MOST_COUNTED: u32 = 1_000;

/// A run that is later than this after its due time was missed: the host slept, or its clock was wrong.
const ON_TIME: TimeDelta = TimeDelta::seconds(60);

/// Clocks that are set back by less do not make a due time come twice.
const SMALL_CORRECTION: TimeDelta = TimeDelta::hours(1);

/// What is to be done now about a due time that has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A run for `due`; `passed` others have gone by without one.
    Run { due: DateTime<Utc>, passed: u32 },
    /// No run: it is too late for all of `passed`, of which `last` is the last.
    Drop { last: DateTime<Utc>, passed: u32 },
}

/// The first due time of a process that starts at `now`: with records of a success, the first after it, which
/// may have passed.
pub(crate) fn first(
    cron: &Cron,
    last_success: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    cron.next_after(last_success.filter(|at| *at <= now).unwrap_or(now))
}

/// The next due time after `last`, which was attended to, seen at `now`.
pub(crate) fn next(cron: &Cron, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match last {
        // The clock was set back a little: what ran does not run again. A clock that was far ahead counts for
        // nothing.
        Some(last) if last > now && last - now < SMALL_CORRECTION => cron.next_after(last),
        _ => cron.next_after(now),
    }
}

/// What to do at `now` about `due`, which has come.
pub(crate) fn attend(cron: &Cron, missed: Missed, due: DateTime<Utc>, now: DateTime<Utc>) -> Due {
    let last = cron.last_until(now).filter(|last| *last > due).unwrap_or(due);
    let passed = cron.count_between(due, now, MOST_COUNTED);
    if missed == Missed::Skip && now - last > ON_TIME {
        return Due::Drop { last, passed: passed.saturating_add(1) };
    }
    Due::Run { due: last, passed }
}

/// How many due times passed after `due` until `now`, when a run for `due` has ended.
pub(crate) fn passed_meanwhile(cron: &Cron, due: DateTime<Utc>, now: DateTime<Utc>) -> u32 {
    cron.count_between(due, now, MOST_COUNTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    #[test]
    fn a_pause_is_made_up_for_by_one_run_or_dropped() {
        let hourly = Cron::parse("0 * * * *", "UTC").unwrap();
        let due = at("01:00:00");
        let run = |due, passed| Due::Run { due, passed };
        let check = |missed, now, expected| assert_eq!(attend(&hourly, missed, due, now), expected, "{now}");
        check(Missed::RunOnce, at("01:00:00"), run(due, 0));
        check(Missed::RunOnce, at("01:59:59"), run(due, 0));
        check(Missed::RunOnce, at("05:30:00"), run(at("05:00:00"), 4));
        check(Missed::Skip, at("01:00:59"), run(due, 0));
        check(Missed::Skip, at("01:10:00"), Due::Drop { last: due, passed: 1 });
        check(Missed::Skip, at("05:30:00"), Due::Drop { last: at("05:00:00"), passed: 5 });
        // It wakes right at a due time: that one is on time.
        check(Missed::Skip, at("05:00:01"), run(at("05:00:00"), 4));
    }

    #[test]
    fn a_clock_that_is_set_back_repeats_nothing_and_one_that_was_far_ahead_blocks_nothing() {
        let hourly = Cron::parse("0 * * * *", "UTC").unwrap();
        assert_eq!(next(&hourly, None, at("01:30:00")), Some(at("02:00:00")));
        assert_eq!(next(&hourly, Some(at("02:00:00")), at("02:00:05")), Some(at("03:00:00")));
        assert_eq!(next(&hourly, Some(at("02:00:00")), at("01:59:50")), Some(at("03:00:00")));
        let far: DateTime<Utc> = "2027-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(next(&hourly, Some(far), at("01:30:00")), Some(at("02:00:00")));
    }

    #[test]
    fn counting_what_passed_ends() {
        let secondly = Cron::parse("* * * * * *", "UTC").unwrap();
        let now: DateTime<Utc> = "2026-02-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            attend(&secondly, Missed::RunOnce, at("00:00:00"), now),
            Due::Run { due: now, passed: 1_000 }
        );
    }
}

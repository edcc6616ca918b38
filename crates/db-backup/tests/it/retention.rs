//! No policy removes what a kept backup needs, and each rule keeps what it promises, whatever the history.

use db_backup::{Kind, Reason, RetentionPolicy};
use proptest::prelude::*;

use crate::history::{
    at, backup, each_period_keeps_one, nothing_needed_goes, policies, segment, steps,
    the_last_days_are_reached,
};
use crate::world::SEGMENT;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_kept_backup_keeps_all_that_it_needs(steps in steps(), policy in policies()) {
        nothing_needed_goes(&steps, policy)?;
    }

    #[test]
    fn any_moment_of_the_last_days_can_be_reached(steps in steps(), days in 1_u32..30) {
        the_last_days_are_reached(&steps, days)?;
    }

    #[test]
    fn each_period_of_a_rule_keeps_a_backup_that_it_had(steps in steps(), policy in policies()) {
        each_period_keeps_one(&steps, policy)?;
    }
}

#[test]
fn nothing_is_removed_while_a_clock_is_wrong() {
    let backups = [backup(0, Kind::Full, false), backup(48, Kind::Full, false)];
    let plan = RetentionPolicy::NOTHING.plan(&backups, &[], at(10));
    assert!(plan.remove.is_empty() && plan.wal.since.is_none());
    assert!(plan.held_back.is_some_and(|why| why.contains("clock")));
}

#[test]
fn a_backup_that_is_in_use_is_kept_with_what_it_needs() {
    let mut backups =
        [backup(0, Kind::Full, false), backup(5, Kind::Incremental, false), backup(9, Kind::Full, false)];
    backups[1].parent = Some(backups[0].id.clone());
    let plan = RetentionPolicy::NOTHING.plan(&backups, &[backups[1].id.clone()], at(10));
    assert!(plan.remove.is_empty());
    assert!(plan.keep[&backups[0].id].contains(&Reason::NeededBy(backups[1].id.clone())));
}

#[test]
fn a_repository_without_a_backup_loses_no_log() {
    let plan = RetentionPolicy::NOTHING.plan(&[], &[], at(0));
    assert!(plan.wal.keeps(segment(0), SEGMENT));
}

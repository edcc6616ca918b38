//! Whether the archive leads from a backup to a target, before anything is touched.
//!
//! A decision on what is in the archive: the names of segments, and the histories of timelines. The case
//! people get wrong is the newest timeline: a server that misses one segment of the way to it ends its
//! recovery there and takes writes, and whoever restored it believes to have everything.

use std::collections::{BTreeMap, BTreeSet};

use db_core::Lsn;

use super::TimelineChoice;
use crate::manifest::WalRange;
use crate::wal::History;
use crate::wal_name::{Segment, WalName};

/// What is in the archive of one cluster.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    segments: BTreeSet<Segment>,
    histories: BTreeMap<u32, History>,
    segment_bytes: u32,
}

/// A stretch of segments on one timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The first segment.
    pub first: Segment,
    /// The last segment.
    pub last: Segment,
    /// How many there are.
    pub segments: u64,
}

/// How far the log leads from a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The timeline that is followed.
    pub timeline: u32,
    /// The segments that replay asks for, in their order.
    pub stretches: Vec<Stretch>,
    /// The position behind the last of them.
    pub end: Lsn,
}

/// Why a target cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// The timeline is not in the archive.
    #[error("timeline {timeline} is not in the archive, which has {known:?}: name one of those")]
    NoTimeline {
        /// The timeline.
        timeline: u32,
        /// Those that are.
        known: Vec<u32>,
    },
    /// The backup is not on the way to that timeline.
    #[error(
        "timeline {timeline} does not come from this backup, which is of timeline {of_backup} up to {stop}{left}: \
         choose another backup, or follow its own timeline with `--timeline {of_backup}`",
        left = left.map(|left| format!(" and was left at {left}")).unwrap_or_default()
    )]
    OtherBranch {
        /// The timeline that is asked for.
        timeline: u32,
        /// The backup's.
        of_backup: u32,
        /// Where the backup is consistent.
        stop: Lsn,
        /// Where the timeline that is asked for left the backup's.
        left: Option<Lsn>,
    },
    /// A segment is missing, and later ones are there.
    #[error(
        "{missing} is missing from the archive, and {later} later segments are there: the log can be replayed up to {end} \
         only; find the segment, or restore to a target before {end}"
    )]
    Gap {
        /// The first segment that is missing.
        missing: Segment,
        /// How many later ones there are.
        later: u64,
        /// Where the log ends before it.
        end: Lsn,
    },
    /// The archive ends before the backup is consistent.
    #[error(
        "the archive ends at {end}, and the backup is consistent only at {stop}: {missing} was never archived"
    )]
    BackupNotWhole {
        /// Where the archive ends.
        end: Lsn,
        /// Where the backup is consistent.
        stop: Lsn,
        /// The first segment that is missing.
        missing: Segment,
    },
    /// The archive does not lead as far as the target.
    #[error("the target {target} is beyond the archive, which ends at {end} on timeline {timeline}")]
    Beyond {
        /// The target.
        target: Lsn,
        /// Where the archive ends.
        end: Lsn,
        /// On which timeline.
        timeline: u32,
    },
    /// The target is before the backup's end.
    #[error("the target {target} is before {stop}, where this backup is consistent: choose an older backup")]
    BeforeBackup {
        /// The target.
        target: Lsn,
        /// Where the backup is consistent.
        stop: Lsn,
    },
}

impl Archive {
    /// An archive of these files. Histories come with their contents.
    pub fn new(
        names: impl IntoIterator<Item = WalName>,
        histories: impl IntoIterator<Item = History>,
        segment_bytes: u32,
    ) -> Archive {
        // A partial segment never counts as the whole one.
        let segments = names.into_iter().filter_map(|name| name.segment()).collect();
        let mut histories: BTreeMap<u32, History> =
            histories.into_iter().map(|history| (history.timeline, history)).collect();
        histories.entry(1).or_insert_with(History::first);
        Archive { segments, histories, segment_bytes }
    }

    /// The newest timeline.
    pub fn newest_timeline(&self) -> u32 {
        let of_segments = self.segments.last().map_or(1, |segment| segment.timeline);
        self.histories.keys().last().copied().unwrap_or(1).max(of_segments)
    }

    /// How far the log leads from a backup; `included` where the backup brings the log of its own range
    /// along.
    ///
    /// # Errors
    /// [`Unreachable`], unless replay would come to `target` on the timeline that is chosen, or, without a
    /// target, to the end of all that the archive has of it.
    pub fn reach(
        &self,
        backup: &WalRange,
        included: bool,
        choice: TimelineChoice,
        target: Option<Lsn>,
    ) -> Result<Reach, Unreachable> {
        let history = self.history(backup, choice)?;
        if let Some(target) = target
            && target < backup.stop
        {
            return Err(Unreachable::BeforeBackup { target, stop: backup.stop });
        }
        let (found, missing) = self.walk(&history, backup, included);
        let end =
            found.last().map_or(backup.start, |last| last.next(self.segment_bytes).start(self.segment_bytes));
        if end < backup.stop {
            return Err(Unreachable::BackupNotWhole { end, stop: backup.stop, missing });
        }
        let covers = target.is_some_and(|target| target <= end);
        let later = self
            .segments
            .range(Segment { timeline: history.timeline, ..missing }..)
            .filter(|segment| segment.timeline == history.timeline)
            .count() as u64;
        if !covers && later > 0 {
            return Err(Unreachable::Gap { missing, later, end });
        }
        let on_it = found.last().is_some_and(|last| last.timeline == history.timeline);
        if !covers && !on_it && history.timeline != backup.timeline {
            return Err(Unreachable::Gap { missing, later, end });
        }
        if let Some(target) = target
            && !covers
        {
            return Err(Unreachable::Beyond { target, end, timeline: history.timeline });
        }
        Ok(Reach { timeline: history.timeline, stretches: stretches(&found, self.segment_bytes), end })
    }

    fn history(&self, backup: &WalRange, choice: TimelineChoice) -> Result<History, Unreachable> {
        let timeline = match choice {
            TimelineChoice::Newest => self.newest_timeline(),
            TimelineChoice::OfBackup => backup.timeline,
            TimelineChoice::Number(timeline) => timeline,
        };
        let known = || self.histories.keys().copied().collect();
        // The timeline of the backup itself needs no history: nothing that came before it is replayed.
        let history = match self.histories.get(&timeline) {
            Some(history) => history.clone(),
            None if timeline == backup.timeline => History { timeline, ancestors: Vec::new() },
            None => return Err(Unreachable::NoTimeline { timeline, known: known() }),
        };
        if !history.contains(backup.timeline, backup.stop) {
            let left = history.left(backup.timeline);
            let (of_backup, stop) = (backup.timeline, backup.stop);
            return Err(Unreachable::OtherBranch { timeline, of_backup, stop, left });
        }
        Ok(history)
    }

    /// The segments from the backup's start on as far as there are all of them, and the first that is
    /// missing.
    fn walk(&self, history: &History, backup: &WalRange, included: bool) -> (Vec<Segment>, Segment) {
        let mut found = Vec::new();
        let mut at = Segment::containing(backup.timeline, backup.start, self.segment_bytes);
        loop {
            let next_start = at.next(self.segment_bytes).start(self.segment_bytes);
            // Of the segment in which a timeline was left, only the later timeline's copy leads on.
            let timeline = history.timeline_at(Lsn(next_start.0.saturating_sub(1))).max(backup.timeline);
            let wanted = Segment { timeline, ..at };
            let brought = included && at.start(self.segment_bytes) < backup.stop;
            if !self.segments.contains(&wanted) && !brought {
                return (found, wanted);
            }
            found.push(wanted);
            at = wanted.next(self.segment_bytes);
        }
    }
}

fn stretches(found: &[Segment], segment_bytes: u32) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = Vec::new();
    for segment in found {
        match all.last_mut() {
            Some(stretch) if stretch.last.next(segment_bytes) == *segment => {
                stretch.last = *segment;
                stretch.segments += 1;
            }
            _ => all.push(Stretch { first: *segment, last: *segment, segments: 1 }),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 16 << 20;

    fn at(segment: u64, offset: u64) -> Lsn {
        Lsn(segment * u64::from(SIZE) + offset)
    }

    /// Timelines with the numbers of their segments; timeline 2 left 1 in segment 5, and 3 left 2 in segment
    /// 8.
    fn archive(segments: &[(u32, &[u32])]) -> Archive {
        let names = segments.iter().flat_map(|(timeline, numbers)| {
            numbers
                .iter()
                .map(|number| WalName::Segment(Segment { timeline: *timeline, log: 0, number: *number }))
        });
        let line = |timeline: u32, at: Lsn| format!("{timeline}\t{at}\tno recovery target specified\n");
        let second = line(1, at(5, 100));
        let third = format!("{second}{}", line(2, at(8, 100)));
        let histories = [History::parse(2, &second).unwrap(), History::parse(3, &third).unwrap()];
        Archive::new(names, histories, SIZE)
    }

    fn backup(timeline: u32, segment: u64) -> WalRange {
        WalRange { timeline, start: at(segment, 40), stop: at(segment, 400) }
    }

    const WHOLE: &[(u32, &[u32])] = &[(1, &[2, 3, 4]), (2, &[5, 6, 7]), (3, &[8, 9])];

    #[test]
    fn the_newest_timeline_is_reached_through_the_older_ones() {
        let reach = archive(WHOLE).reach(&backup(1, 3), false, TimelineChoice::Newest, None).unwrap();
        assert_eq!((reach.timeline, reach.end), (3, at(10, 0)));
        let counts: Vec<(u32, u64)> =
            reach.stretches.iter().map(|stretch| (stretch.first.timeline, stretch.segments)).collect();
        assert_eq!(counts, [(1, 2), (2, 3), (3, 2)]);
    }

    #[test]
    fn what_would_end_short_is_refused() {
        let check = |segments: &[(u32, &[u32])],
                     backup: WalRange,
                     choice,
                     target,
                     expected: fn(&Unreachable) -> bool| {
            let refused = archive(segments).reach(&backup, false, choice, target).unwrap_err();
            assert!(expected(&refused), "{refused:?}");
        };
        use TimelineChoice::{Newest, Number, OfBackup};
        let gap: &[(u32, &[u32])] = &[(1, &[2, 3, 4]), (2, &[5, 7]), (3, &[8, 9])];
        check(
            gap,
            backup(1, 3),
            Newest,
            None,
            |why| matches!(why, Unreachable::Gap { missing, .. } if missing.number == 6),
        );
        // The newest timeline has a history and not one segment.
        let bare: &[(u32, &[u32])] = &[(1, &[2, 3, 4]), (2, &[5, 6, 7])];
        check(bare, backup(1, 3), Newest, None, |why| matches!(why, Unreachable::Gap { later: 0, .. }));
        check(WHOLE, backup(1, 6), Newest, None, |why| {
            matches!(why, Unreachable::OtherBranch { left: Some(_), .. })
        });
        check(WHOLE, backup(1, 3), Number(7), None, |why| matches!(why, Unreachable::NoTimeline { .. }));
        check(WHOLE, backup(2, 6), OfBackup, Some(at(30, 0)), |why| {
            matches!(why, Unreachable::Beyond { .. })
        });
        check(WHOLE, backup(2, 6), Newest, Some(at(6, 1)), |why| {
            matches!(why, Unreachable::BeforeBackup { .. })
        });
        let short: &[(u32, &[u32])] = &[(1, &[2])];
        check(short, backup(1, 3), OfBackup, None, |why| matches!(why, Unreachable::BackupNotWhole { .. }));
    }

    #[test]
    fn a_target_before_the_gap_is_reached() {
        let gap: &[(u32, &[u32])] = &[(1, &[2, 3, 4]), (2, &[5, 7])];
        let reach = archive(gap).reach(&backup(1, 3), false, TimelineChoice::Number(2), Some(at(5, 200)));
        assert!(reach.is_ok(), "{reach:?}");
    }

    #[test]
    fn a_backup_that_brings_its_log_along_needs_no_archive() {
        let reach = archive(&[]).reach(&backup(1, 3), true, TimelineChoice::OfBackup, None).unwrap();
        assert_eq!(reach.end, at(4, 0));
    }
}

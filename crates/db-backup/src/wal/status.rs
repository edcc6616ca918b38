//! Whether the archive is whole: gaps, segments that are late, timelines that do not belong together.

use std::collections::BTreeMap;
use std::time::Duration;

use db_core::Lsn;
use serde::Serialize;

use super::History;
use crate::Cluster;
use crate::physical_error::PhysicalError;
use crate::session::{Session, SessionError};
use crate::wal_name::{Segment, WalName};

/// What the archive of one cluster looks like.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ArchiveStatus {
    /// The timelines with their segments.
    pub timelines: Vec<TimelineStatus>,
    /// What the server says, where it was asked.
    pub server: Option<ServerSide>,
    /// What somebody must look at; none means that the archive is whole.
    pub findings: Vec<ArchiveFinding>,
}

/// One timeline of the archive.
#[derive(Debug, Clone, Serialize)]
pub struct TimelineStatus {
    /// Its number.
    pub timeline: u32,
    /// How many segments there are.
    pub segments: u64,
    /// How many bytes all its files take in the store.
    pub bytes: u64,
    /// The first of them.
    pub first: String,
    /// The last of them.
    pub last: String,
    /// The position behind the last.
    pub end: String,
}

/// What the server says of its archiver.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ServerSide {
    /// The timeline that it writes.
    pub timeline: u32,
    /// Where it writes.
    pub position: String,
    /// How many bytes of log are not in the archive yet.
    pub lag_bytes: u64,
    /// How long ago the last file was archived, in seconds.
    pub since_last_seconds: Option<u64>,
    /// The last file that was archived.
    pub last_archived: Option<String>,
    /// The last file that could not be, where that was after the last success.
    pub failing: Option<String>,
    /// How many files wait.
    pub ready: Option<u64>,
    /// How long the oldest of them has waited, in seconds: 0 where none does. Only pg_monitor may know.
    pub waiting_seconds: Option<u64>,
    /// How often archive_command has failed, as the server counts.
    pub failures: Option<u64>,
}

/// Something that somebody must look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "finding", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ArchiveFinding {
    /// Segments are missing, and later ones are there.
    #[error(
        "{missing} segments from {first} on are missing: no restore gets past them; take a full backup now, then look for them"
    )]
    Gap {
        /// The first that is missing.
        first: String,
        /// How many are.
        missing: u64,
    },
    /// The server has finished a segment and it is not there within the time that was asked for.
    #[error("the archive is {lag_bytes} bytes behind the server{}: look at archive_command in the server's log", since.map(|since| format!(", and the last file came {since} s ago")).unwrap_or_default())]
    Late {
        /// How many bytes are missing.
        lag_bytes: u64,
        /// How long ago the last file came, in seconds.
        since: Option<u64>,
    },
    /// The server's archiver fails.
    #[error("the server cannot archive {file}: look at its log for what archive_command says")]
    Failing {
        /// The file.
        file: String,
    },
    /// A timeline whose history leads elsewhere than to the archive's other timelines.
    #[error("timeline {timeline} left timeline {of} at {at}, and the archive has no log of {of} up to there")]
    Branch {
        /// The timeline.
        timeline: u32,
        /// The older one.
        of: u32,
        /// Where it left it.
        at: String,
    },
    /// Segments of a timeline that has no history.
    #[error(
        "there are segments of timeline {timeline} and no {timeline:08X}.history: no restore can follow it; push the file from the server's pg_wal"
    )]
    NoHistory {
        /// The timeline.
        timeline: u32,
    },
    /// Two files came under one name.
    #[error("{name} came twice, and the second time could not be compared: verify the repository")]
    Disputed {
        /// The name.
        name: String,
    },
    /// The archive is ahead of the server: another one writes into it.
    #[error(
        "the archive has {last}, which the server has not written yet: another server archives to the same place"
    )]
    Foreign {
        /// The segment.
        last: String,
    },
}

impl ArchiveFinding {
    /// What kind of finding it is: a word for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            ArchiveFinding::Gap { .. } => "gap",
            ArchiveFinding::Late { .. } => "late",
            ArchiveFinding::Failing { .. } => "failing",
            ArchiveFinding::Branch { .. } => "branch",
            ArchiveFinding::NoHistory { .. } => "no-history",
            ArchiveFinding::Disputed { .. } => "disputed",
            ArchiveFinding::Foreign { .. } => "foreign",
        }
    }

    /// What stays the same while it lasts, so that it is told once: its kind, and where it is.
    pub fn key(&self) -> String {
        let at = match self {
            ArchiveFinding::Gap { first, .. } => first.clone(),
            ArchiveFinding::Late { .. } | ArchiveFinding::Failing { .. } | ArchiveFinding::Foreign { .. } => {
                String::new()
            }
            ArchiveFinding::Branch { timeline, .. } | ArchiveFinding::NoHistory { timeline } => {
                timeline.to_string()
            }
            ArchiveFinding::Disputed { name } => name.clone(),
        };
        format!("{}:{at}", self.kind())
    }

    /// Whether it is a gap that the server is about to fill: several segments are stored at a time, and its
    /// archiver has not done with this one yet.
    fn comes_yet(&self, side: &ServerSide) -> bool {
        let ArchiveFinding::Gap { first, .. } = self else { return false };
        let segment = |name: &str| name.parse::<WalName>().ok().and_then(|name| name.segment());
        let last = side.last_archived.as_deref().and_then(segment);
        segment(first).zip(last).is_some_and(|(first, last)| first.timeline == last.timeline && first > last)
    }
}

/// Looks at the archive, and at the server where a session is given. A segment may be as late as
/// `late_after`.
///
/// # Errors
/// Where the repository or the server cannot be asked; what is wrong with the archive is a finding.
pub async fn status(
    cluster: &Cluster,
    server: Option<&mut Session>,
    segment_bytes: u32,
    late_after: Duration,
) -> Result<ArchiveStatus, PhysicalError> {
    let histories = super::histories(cluster).await?;
    let (mut segments, mut disputed, mut bytes) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    for timeline in cluster.timelines().await? {
        let stored = cluster.wal(timeline).await?;
        disputed.extend(stored.iter().filter(|stored| stored.beside).map(|stored| stored.name.to_string()));
        bytes.insert(timeline, stored.iter().map(|stored| stored.object.bytes).fold(0, u64::saturating_add));
        segments.insert(timeline, super::segments_of(&stored));
    }
    let mut status = of_archive(&segments, &histories, segment_bytes, cluster.wal_floor().await?);
    for timeline in &mut status.timelines {
        timeline.bytes = bytes.get(&timeline.timeline).copied().unwrap_or_default();
    }
    status.findings.extend(disputed.into_iter().map(|name| ArchiveFinding::Disputed { name }));
    if let Some(session) = server {
        let side = ask(session, &segments, segment_bytes).await?;
        status.findings.retain(|finding| !finding.comes_yet(&side));
        status.findings.extend(of_server(&side, &segments, segment_bytes, late_after));
        status.server = Some(side);
    }
    Ok(status)
}

/// What the names and histories alone say. Below `floor` holes are an expiry's doing.
fn of_archive(
    segments: &BTreeMap<u32, Vec<Segment>>,
    histories: &[History],
    segment_bytes: u32,
    floor: Lsn,
) -> ArchiveStatus {
    let mut status = ArchiveStatus::default();
    for (timeline, segments) in segments {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { continue };
        for pair in segments.windows(2) {
            let kept = Segment::containing(*timeline, floor, segment_bytes);
            let expected = pair[0].next(segment_bytes).max(kept);
            if pair[1] > expected {
                let bytes = pair[1].start(segment_bytes).bytes_since(expected.start(segment_bytes));
                let missing = bytes / u64::from(segment_bytes.max(1));
                status.findings.push(ArchiveFinding::Gap { first: expected.to_string(), missing });
            }
        }
        if *timeline > 1 && !histories.iter().any(|history| history.timeline == *timeline) {
            status.findings.push(ArchiveFinding::NoHistory { timeline: *timeline });
        }
        status.timelines.push(TimelineStatus {
            timeline: *timeline,
            segments: segments.len() as u64,
            bytes: 0,
            first: first.to_string(),
            last: last.to_string(),
            end: last.next(segment_bytes).start(segment_bytes).to_string(),
        });
    }
    for history in histories {
        status.findings.extend(branch(history, segments, segment_bytes, floor));
    }
    status
}

/// A timeline continues where it left the one before it: the archive must have that one up to there.
fn branch(
    history: &History,
    segments: &BTreeMap<u32, Vec<Segment>>,
    segment_bytes: u32,
    floor: Lsn,
) -> Option<ArchiveFinding> {
    let left = history.ancestors.last()?;
    let first = segments.get(&history.timeline)?.first()?;
    // Where the archive has nothing of the older timeline it began, or was expired, in the middle of this
    // one.
    let of = segments.get(&left.timeline)?;
    let holds = Segment::containing(history.timeline, left.left_at, segment_bytes);
    if holds.start(segment_bytes) < floor {
        return None;
    }
    if *first > holds {
        let bytes = first.start(segment_bytes).bytes_since(holds.start(segment_bytes));
        return Some(ArchiveFinding::Gap {
            first: holds.to_string(),
            missing: bytes / u64::from(segment_bytes.max(1)),
        });
    }
    // The older timeline's last whole segment is the one before that in which it was left.
    let end = of.last().map(|last| last.next(segment_bytes).start(segment_bytes))?;
    (end < holds.start(segment_bytes)).then(|| ArchiveFinding::Branch {
        timeline: history.timeline,
        of: left.timeline,
        at: left.left_at.to_string(),
    })
}

async fn ask(
    session: &mut Session,
    segments: &BTreeMap<u32, Vec<Segment>>,
    segment_bytes: u32,
) -> Result<ServerSide, SessionError> {
    let identity = session.rows("IDENTIFY_SYSTEM").await?;
    let field =
        |rows: &crate::session::Rows, at: usize| rows.first().and_then(|row| row.get(at).cloned().flatten());
    let timeline: u32 = field(&identity, 1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let position: Lsn = field(&identity, 2).and_then(|text| text.parse().ok()).unwrap_or_default();
    let sql = "SELECT last_archived_wal, floor(extract(epoch FROM now() - last_archived_time))::bigint::text, CASE WHEN \
               last_failed_time > coalesce(last_archived_time, '-infinity') THEN last_failed_wal END, failed_count::text FROM \
               pg_stat_archiver";
    let archiver = session.rows(sql).await?;
    let ready = "SELECT count(*)::text, coalesce(greatest(floor(extract(epoch FROM clock_timestamp() - min(modification))), 0), \
                 0)::bigint::text FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'";
    let ready = match session.rows(ready).await {
        Ok(rows) => rows,
        // pg_monitor may look; the other answers do without it.
        Err(SessionError::Server(_)) => crate::session::Rows::new(),
        Err(error) => return Err(error),
    };
    let end = segments.get(&timeline).and_then(|all| contiguous_end(all, segment_bytes)).unwrap_or_default();
    Ok(ServerSide {
        timeline,
        position: position.to_string(),
        lag_bytes: position.bytes_since(end),
        since_last_seconds: field(&archiver, 1).and_then(|text| text.parse().ok()),
        last_archived: field(&archiver, 0),
        failing: field(&archiver, 2),
        ready: field(&ready, 0).and_then(|text| text.parse().ok()),
        waiting_seconds: field(&ready, 1).and_then(|text| text.parse().ok()),
        failures: field(&archiver, 3).and_then(|text| text.parse().ok()),
    })
}

fn of_server(
    side: &ServerSide,
    segments: &BTreeMap<u32, Vec<Segment>>,
    segment_bytes: u32,
    late_after: Duration,
) -> Vec<ArchiveFinding> {
    let mut findings = Vec::new();
    if let Some(file) = &side.failing {
        findings.push(ArchiveFinding::Failing { file: file.clone() });
    }
    let waits = side.ready.map_or(side.lag_bytes > 2 * u64::from(segment_bytes), |ready| ready > 0);
    // Where nobody may say how long the oldest one has waited, the last success is what is known.
    let waited = side.waiting_seconds.or(side.since_last_seconds);
    let long_ago = waited.is_none_or(|waited| waited >= late_after.as_secs());
    if waits && long_ago {
        findings.push(ArchiveFinding::Late { lag_bytes: side.lag_bytes, since: side.since_last_seconds });
    }
    let position: Lsn = side.position.parse().unwrap_or_default();
    let last = segments.get(&side.timeline).and_then(|all| all.last());
    if let Some(last) = last.filter(|last| last.start(segment_bytes) > position) {
        findings.push(ArchiveFinding::Foreign { last: last.to_string() });
    }
    findings
}

/// Where the newest stretch without a gap ends.
fn contiguous_end(segments: &[Segment], segment_bytes: u32) -> Option<Lsn> {
    segments.last().map(|last| last.next(segment_bytes).start(segment_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u32 = 16 << 20;

    fn segments(all: &[(u32, &[u32])]) -> BTreeMap<u32, Vec<Segment>> {
        let of = |timeline: u32, numbers: &[u32]| {
            numbers.iter().map(|number| Segment { timeline, log: 0, number: *number }).collect()
        };
        all.iter().map(|(timeline, numbers)| (*timeline, of(*timeline, numbers))).collect()
    }

    fn second(at: &str) -> History {
        History::parse(2, &format!("1\t{at}\tno reason\n")).unwrap()
    }

    #[track_caller]
    fn check(all: &[(u32, &[u32])], histories: &[History], expected: &[&str]) {
        check_above(0, all, histories, expected);
    }

    /// The same where an expiry has said that the log is kept from a segment of this number on.
    #[track_caller]
    fn check_above(number: u64, all: &[(u32, &[u32])], histories: &[History], expected: &[&str]) {
        let floor = Lsn(number * u64::from(SIZE) + 40);
        let found = of_archive(&segments(all), histories, SIZE, floor).findings;
        let said: Vec<String> = found.iter().map(|finding| format!("{finding:?}")).collect();
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for (said, expected) in said.iter().zip(expected) {
            assert!(said.starts_with(expected), "{said}");
        }
    }

    #[test]
    fn an_archive_that_is_whole_has_no_findings() {
        check(&[(1, &[1, 2, 3, 4])], &[], &[]);
        check(&[(1, &[1, 2, 3, 4]), (2, &[5, 6])], &[second("0/5000100")], &[]);
        check(&[(1, &[1, 2, 3, 4, 5, 6]), (2, &[5, 6])], &[second("0/5000100")], &[]);
    }

    #[test]
    fn an_archive_that_begins_in_the_middle_of_a_timeline_is_whole() {
        check(&[(2, &[7, 8])], &[second("0/5000100")], &[]);
        check(&[(1, &[3, 4]), (2, &[7, 8])], &[second("0/5000100")], &["Gap"]);
    }

    #[test]
    fn what_is_missing_is_found() {
        check(&[(1, &[1, 2, 4])], &[], &["Gap { first: \"000000010000000000000003\", missing: 1"]);
        check(&[(1, &[1, 2, 3, 4]), (2, &[5])], &[], &["NoHistory"]);
        check(&[(1, &[1, 2]), (2, &[5])], &[second("0/5000100")], &["Branch"]);
        check(&[(1, &[1, 2, 3, 4]), (2, &[6])], &[second("0/5000100")], &["Gap"]);
    }

    #[test]
    fn holes_that_an_expiry_has_made_are_none() {
        check_above(7, &[(1, &[1, 2, 7, 8])], &[], &[]);
        check_above(7, &[(1, &[1, 2, 8])], &[], &["Gap { first: \"000000010000000000000007\", missing: 1"]);
        check_above(
            7,
            &[(1, &[1, 2, 7, 9])],
            &[],
            &["Gap { first: \"000000010000000000000008\", missing: 1"],
        );
        check_above(7, &[(1, &[1, 2]), (2, &[7, 8])], &[second("0/5000100")], &[]);
    }

    #[test]
    fn a_gap_that_the_archiver_has_not_come_to_is_none_yet() {
        let check = |last: &str, comes_yet: bool| {
            let side = ServerSide { last_archived: Some(last.to_owned()), ..ServerSide::default() };
            let gap = ArchiveFinding::Gap { first: "000000010000000000000003".to_owned(), missing: 1 };
            assert_eq!(gap.comes_yet(&side), comes_yet, "{last}");
        };
        check("000000010000000000000002", true);
        check("000000010000000000000003", false);
        check("000000020000000000000002", false);
        check("00000002.history", false);
    }

    #[test]
    fn a_server_that_is_behind_its_archive_is_not_the_only_one() {
        let side = ServerSide { timeline: 1, position: "0/2000100".to_owned(), ..ServerSide::default() };
        let found = of_server(&side, &segments(&[(1, &[1, 2, 3])]), SIZE, Duration::from_secs(60));
        assert_eq!(found, [ArchiveFinding::Foreign { last: "000000010000000000000003".to_owned() }]);
    }

    #[test]
    fn a_segment_that_waits_for_longer_than_asked_is_late() {
        let check = |ready: u64, since: u64, waiting_seconds: Option<u64>, late: bool| {
            let side = ServerSide {
                timeline: 1,
                position: "0/4000100".to_owned(),
                since_last_seconds: Some(since),
                ready: Some(ready),
                waiting_seconds,
                ..ServerSide::default()
            };
            let found = of_server(&side, &segments(&[(1, &[1, 2])]), SIZE, Duration::from_secs(60));
            assert_eq!(!found.is_empty(), late, "{ready} ready, {since} s, {waiting_seconds:?}");
        };
        check(1, 61, None, true);
        check(1, 10, None, false);
        check(0, 3600, None, false);
        check(1, 10, Some(61), true);
        // A server that was idle for an hour has finished a segment just now.
        check(1, 3600, Some(1), false);
    }
}

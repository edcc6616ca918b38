//! The names of files of the write-ahead log, as the server gives them to archive_command.

use std::fmt;
use std::str::FromStr;

use db_core::Lsn;

/// The name of a file that the server archives.
///
/// ```
/// use db_backup::WalName;
///
/// let name: WalName = "000000010000000A000000FF".parse()?;
/// assert_eq!(name.timeline(), 1);
/// assert_eq!(name.segment().unwrap().next(16 << 20).to_string(), "000000010000000B00000000");
/// # Ok::<(), db_backup::InvalidWalName>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WalName {
    /// A whole segment, as in `000000010000000A000000FF`.
    Segment(Segment),
    /// The last segment of a timeline that ended, as in `000000010000000A000000FF.partial`. It is never
    /// served in place of the whole one.
    Partial(Segment),
    /// Where a timeline branched off, as in `00000002.history`.
    History(u32),
    /// Where a backup began and ended, as in `000000010000000A000000FF.00000028.backup`.
    BackupHistory(Segment, u32),
}

/// One segment of the write-ahead log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// The timeline.
    pub timeline: u32,
    /// The upper half of its position.
    pub log: u32,
    /// Which segment of that half it is.
    pub number: u32,
}

/// A text that is no name of a file of the write-ahead log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a file of the write-ahead log: {0:?}; give %f to archive_command and restore_command as it is")]
pub struct InvalidWalName(String);

impl WalName {
    /// The timeline in its name.
    pub fn timeline(&self) -> u32 {
        match self {
            WalName::Segment(segment) | WalName::Partial(segment) | WalName::BackupHistory(segment, _) => {
                segment.timeline
            }
            WalName::History(timeline) => *timeline,
        }
    }

    /// The segment, where the name is a whole one's.
    pub fn segment(&self) -> Option<Segment> {
        match self {
            WalName::Segment(segment) => Some(*segment),
            _ => None,
        }
    }
}

impl Segment {
    /// The segment that holds this position. `segment_bytes` is a power of two from 1 MiB to 1 GiB, as in
    /// `wal_segment_size`; 0 counts as 16 MiB.
    pub fn containing(timeline: u32, position: Lsn, segment_bytes: u32) -> Self {
        let size = size(segment_bytes);
        let number = u32::try_from((position.0 & 0xFFFF_FFFF) / size).unwrap_or(u32::MAX);
        Segment { timeline, log: u32::try_from(position.0 >> 32).unwrap_or(u32::MAX), number }
    }

    /// The first position in it.
    pub fn start(&self, segment_bytes: u32) -> Lsn {
        Lsn((u64::from(self.log) << 32)
            .saturating_add(u64::from(self.number).saturating_mul(size(segment_bytes))))
    }

    /// The segment behind it, on the same timeline.
    pub fn next(&self, segment_bytes: u32) -> Self {
        let last = u32::try_from((1 << 32) / size(segment_bytes) - 1).unwrap_or(u32::MAX);
        if self.number >= last {
            return Segment { timeline: self.timeline, log: self.log.saturating_add(1), number: 0 };
        }
        Segment { number: self.number + 1, ..*self }
    }
}

fn size(segment_bytes: u32) -> u64 {
    if segment_bytes == 0 { 16 << 20 } else { u64::from(segment_bytes) }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}{:08X}{:08X}", self.timeline, self.log, self.number)
    }
}

impl fmt::Display for WalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WalName::Segment(segment) => segment.fmt(f),
            WalName::Partial(segment) => write!(f, "{segment}.partial"),
            WalName::History(timeline) => write!(f, "{timeline:08X}.history"),
            WalName::BackupHistory(segment, offset) => write!(f, "{segment}.{offset:08X}.backup"),
        }
    }
}

impl FromStr for WalName {
    type Err = InvalidWalName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('.');
        let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None, None) => segment(name).map(WalName::Segment),
            (Some(name), Some("partial"), None, None) => segment(name).map(WalName::Partial),
            (Some(name), Some("history"), None, None) => number(name).map(WalName::History),
            (Some(name), Some(offset), Some("backup"), None) => segment(name)
                .zip(number(offset))
                .map(|(segment, offset)| WalName::BackupHistory(segment, offset)),
            _ => None,
        };
        parsed.ok_or_else(|| InvalidWalName(text.chars().take(64).collect()))
    }
}

fn segment(text: &str) -> Option<Segment> {
    if text.len() != 24 {
        return None;
    }
    Some(Segment {
        timeline: number(text.get(..8)?)?,
        log: number(text.get(8..16)?)?,
        number: number(text.get(16..)?)?,
    })
}

/// Eight digits in upper case, as the server writes them.
fn number(text: &str) -> Option<u32> {
    let plain = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    plain.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_server_names_is_understood_and_nothing_else() {
        let check = |text: &str, known: bool| assert_eq!(text.parse::<WalName>().is_ok(), known, "{text}");

        check("000000010000000A000000FF", true);
        check("000000010000000A000000FF.partial", true);
        check("00000002.history", true);
        check("000000010000000A000000FF.00000028.backup", true);
        check("000000010000000a000000ff", false);
        check("000000010000000A000000FF.gz", false);
        check("../000000010000000A0000FF", false);
        check("", false);
    }

    proptest! {
        #[test]
        fn a_name_survives_being_printed(timeline: u32, log: u32, number: u32, offset: u32) {
            let segment = Segment { timeline, log, number };
            for name in [
                WalName::Segment(segment),
                WalName::Partial(segment),
                WalName::History(timeline),
                WalName::BackupHistory(segment, offset),
            ] {
                prop_assert_eq!(name.to_string().parse::<WalName>(), Ok(name));
            }
        }

        #[test]
        fn the_next_segment_begins_where_this_one_ends(timeline: u32, position in 0_u64..1 << 60, shift in 20_u32..30) {
            let bytes = 1 << shift;
            let segment = Segment::containing(timeline, Lsn(position), bytes);
            let start = segment.start(bytes);
            prop_assert!(start.0 <= position && position - start.0 < u64::from(bytes));
            prop_assert_eq!(segment.next(bytes).start(bytes), Lsn(start.0 + u64::from(bytes)));
        }
    }
}

//! Tells from a segment's own pages whose it is, which one it is, and whether it is whole.
//!
//! Source: PostgreSQL's xlog_internal.h (XLogLongPageHeaderData). The server writes headers in its machine's byte
//! order; all platforms that this crate runs on are little-endian, and the magic number would tell otherwise.

use db_core::Lsn;

use super::WalError;
use crate::wal_name::Segment;

/// What the first page of a segment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The number of the format: it differs for each major version.
    pub magic: u16,
    /// The timeline of the page. A segment that was begun on an older timeline keeps that one's number here.
    pub timeline: u32,
    /// The position of its first byte.
    pub start: Lsn,
    /// The cluster.
    pub system: u64,
    /// The size of all of the cluster's segments, in bytes.
    pub size_bytes: u32,
    /// The size of a page, in bytes.
    pub page_bytes: usize,
}

/// The magic numbers of the formats, with the major versions that write them.
const MAGIC: [(u16, u32); 6] =
    [(0xD10D, 14), (0xD110, 15), (0xD113, 16), (0xD116, 17), (0xD118, 18), (0xD11D, 19)];

/// The first page of a segment has the long header.
const LONG_HEADER: u16 = 0x0002;

/// The bytes of a long header.
const LONG_HEADER_BYTES: usize = 40;

impl SegmentHeader {
    /// Reads the header of a segment's first page.
    ///
    /// # Errors
    /// [`WalError::NotWal`] where it is none.
    pub fn read(first: &[u8]) -> Result<SegmentHeader, WalError> {
        let not_wal = |reason: &str| WalError::NotWal { reason: reason.to_owned() };
        if first.len() < LONG_HEADER_BYTES {
            return Err(not_wal("it is shorter than the header of a page"));
        }
        let header = SegmentHeader {
            magic: u16_at(first, 0),
            timeline: u32_at(first, 4),
            start: Lsn(u64_at(first, 8)),
            system: u64_at(first, 24),
            size_bytes: u32_at(first, 32),
            page_bytes: u32_at(first, 36) as usize,
        };
        if header.magic >> 8 != 0xD1 {
            return Err(not_wal("its first page has not the number of a log page"));
        }
        if u16_at(first, 2) & LONG_HEADER == 0 {
            return Err(not_wal("its first page has not the header of a first page"));
        }
        let size_is_sane = header.size_bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&header.size_bytes);
        let page_is_sane = header.page_bytes.is_power_of_two() && (1 << 10..=1 << 16).contains(&header.page_bytes);
        if !size_is_sane || !page_is_sane {
            return Err(not_wal("its sizes are none that PostgreSQL has"));
        }
        Ok(header)
    }

    /// The major version that wrote it, where it is known.
    pub fn major(&self) -> Option<u32> {
        MAGIC.iter().find(|(magic, _)| *magic == self.magic).map(|(_, major)| *major)
    }
}

/// Checks that `content` is the whole of one segment: its size, the cluster, its place, and the header of each page.
///
/// # Errors
/// [`WalError::NotWal`], [`WalError::Foreign`], [`WalError::Misplaced`] or [`WalError::Torn`].
pub fn check_segment(segment: Segment, content: &[u8], system: u64) -> Result<SegmentHeader, WalError> {
    let header = check_header(segment, content, system)?;
    if content.len() as u64 != u64::from(header.size_bytes) {
        return Err(WalError::Torn {
            segment,
            reason: format!("it has {} bytes of {}", content.len(), header.size_bytes),
        });
    }
    check_pages(segment, content, &header)?;
    Ok(header)
}

/// Checks the first page alone, as of a segment that is still being written.
///
/// # Errors
/// As [`check_segment`]'s.
pub(crate) fn check_header(segment: Segment, content: &[u8], system: u64) -> Result<SegmentHeader, WalError> {
    let header = SegmentHeader::read(content)?;
    if header.system != system {
        return Err(WalError::Foreign { segment, found: header.system, expected: system });
    }
    let expected = segment.start(header.size_bytes);
    if header.start != expected {
        return Err(WalError::Misplaced { segment, found: header.start, expected });
    }
    if header.timeline > segment.timeline {
        return Err(WalError::Torn {
            segment,
            reason: format!("its first page is of timeline {}, which is later", header.timeline),
        });
    }
    Ok(header)
}

/// Each page names its own position. Pages of zeros may follow the last one: the server had not come to them.
fn check_pages(segment: Segment, content: &[u8], header: &SegmentHeader) -> Result<(), WalError> {
    let mut ended_at = None;
    for (index, page) in content.chunks(header.page_bytes).enumerate() {
        let offset = index * header.page_bytes;
        let torn = |reason: String| Err(WalError::Torn { segment, reason });
        if u16_at(page, 0) == header.magic && u64_at(page, 8) == header.start.0 + offset as u64 {
            if let Some(ended) = ended_at {
                return torn(format!("it has a hole at byte {ended}"));
            }
            continue;
        }
        if page.iter().any(|byte| *byte != 0) {
            return torn(format!("the page at byte {offset} is not its own"));
        }
        ended_at.get_or_insert(offset);
    }
    Ok(())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal_name::WalName;

    const SIZE: usize = 1 << 20;
    const PAGE: usize = 8192;

    fn segment_of(system: u64, name: &str) -> (Segment, Vec<u8>) {
        let segment = name.parse::<WalName>().unwrap().segment().unwrap();
        let mut content = vec![0; SIZE];
        let start = segment.start(SIZE as u32).0;
        for (index, page) in content.chunks_mut(PAGE).enumerate() {
            page[..2].copy_from_slice(&0xD110u16.to_le_bytes());
            page[4..8].copy_from_slice(&segment.timeline.to_le_bytes());
            page[8..16].copy_from_slice(&(start + (index * PAGE) as u64).to_le_bytes());
        }
        content[2] = 2;
        content[24..32].copy_from_slice(&system.to_le_bytes());
        content[32..36].copy_from_slice(&(SIZE as u32).to_le_bytes());
        content[36..40].copy_from_slice(&(PAGE as u32).to_le_bytes());
        (segment, content)
    }

    #[test]
    fn a_whole_segment_passes_and_says_whose_it_is() {
        let (segment, content) = segment_of(7, "000000010000000000000003");
        let header = check_segment(segment, &content, 7).unwrap();
        assert_eq!((header.major(), header.size_bytes), (Some(15), SIZE as u32));
    }

    #[test]
    fn each_way_in_which_it_is_not_the_one_is_told_apart() {
        let (segment, content) = segment_of(7, "000000010000000000000003");
        let check = |segment: Segment, content: &[u8], system: u64| check_segment(segment, content, system).unwrap_err();
        assert!(matches!(check(segment, &content, 8), WalError::Foreign { found: 7, .. }));
        assert!(matches!(check(segment.next(SIZE as u32), &content, 7), WalError::Misplaced { .. }));
        assert!(matches!(check(segment, &content[..SIZE - PAGE], 7), WalError::Torn { .. }));
        assert!(matches!(check(segment, &[0; SIZE], 7), WalError::NotWal { .. }));
        assert!(matches!(check(segment, &[], 7), WalError::NotWal { .. }));
        let mut recycled = content.clone();
        recycled[5 * PAGE + 9] ^= 1;
        assert!(matches!(check(segment, &recycled, 7), WalError::Torn { .. }));
        let mut holed = content.clone();
        holed[5 * PAGE..6 * PAGE].fill(0);
        assert!(matches!(check(segment, &holed, 7), WalError::Torn { .. }));
        let mut ends_early = content;
        ends_early[5 * PAGE..].fill(0);
        assert!(check_segment(segment, &ends_early, 7).is_ok());
    }
}

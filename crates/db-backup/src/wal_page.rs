//! Reads the first page of a segment of the write-ahead log: whose it is, and whether it is whole.

use db_core::Lsn;

use crate::wal_name::Segment;

/// What the first page of a segment says of it.
///
/// ```
/// use db_backup::SegmentHeader;
///
/// assert!(SegmentHeader::of(&[0; 64]).is_none(), "zeros are no segment");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The number of the format, which each major version of the server has its own of.
    pub magic: u16,
    /// The timeline on which the page was written. It may be an older one than the segment's name says.
    pub timeline: u32,
    /// The position of the page.
    pub position: Lsn,
    /// The cluster.
    pub system_identifier: u64,
    /// The size of a segment, in bytes.
    pub segment_bytes: u32,
    /// The size of a page, in bytes.
    pub page_bytes: u32,
}

/// The flag of a page whose header says whose segment it is.
const LONG_HEADER: u16 = 0x0002;
/// All versions of the format since PostgreSQL 13 lie here.
const MAGICS: std::ops::Range<u16> = 0xD100..0xD200;

impl SegmentHeader {
    /// The header at the beginning of a segment; `None` where there is none. Little-endian servers only.
    pub fn of(segment: &[u8]) -> Option<Self> {
        let header = SegmentHeader {
            magic: u16::from_le_bytes(at(segment, 0)?),
            timeline: u32::from_le_bytes(at(segment, 4)?),
            position: Lsn(u64::from_le_bytes(at(segment, 8)?)),
            system_identifier: u64::from_le_bytes(at(segment, 24)?),
            segment_bytes: u32::from_le_bytes(at(segment, 32)?),
            page_bytes: u32::from_le_bytes(at(segment, 36)?),
        };
        let flags = u16::from_le_bytes(at(segment, 2)?);
        let fits = MAGICS.contains(&header.magic)
            && flags & LONG_HEADER != 0
            && header.page_bytes.is_power_of_two()
            && (1 << 20..=1 << 30).contains(&header.segment_bytes);
        fits.then_some(header)
    }

    /// Whether a page of this segment, by how it begins, is the one that belongs so many bytes behind the
    /// first.
    pub(crate) fn is_at(&self, page: &[u8], offset: u64) -> bool {
        let position = self.position.0.checked_add(offset);
        at(page, 0).map(u16::from_le_bytes) == Some(self.magic)
            && position.is_some()
            && at(page, 8).map(u64::from_le_bytes) == position
    }

    /// What keeps these bytes from being this segment of this cluster; `None` where nothing does.
    ///
    /// The pages behind the last record are zeros, or what the file held before it was reused; so only the
    /// first page must be right.
    pub fn unfit(segment: Segment, system_identifier: u64, bytes: &[u8]) -> Option<String> {
        Self::unfit_beginning(segment, system_identifier, bytes, bytes.len() as u64)
    }

    /// The same from the beginning of a segment of so many bytes.
    pub(crate) fn unfit_beginning(
        segment: Segment,
        system_identifier: u64,
        beginning: &[u8],
        bytes: u64,
    ) -> Option<String> {
        let Some(header) = SegmentHeader::of(beginning) else {
            return Some("it does not begin as a segment does".to_owned());
        };
        if header.system_identifier != system_identifier {
            return Some(format!(
                "it is of the cluster {}, not {system_identifier}",
                header.system_identifier
            ));
        }
        if bytes != u64::from(header.segment_bytes) {
            return Some(format!("it has {bytes} bytes instead of {}", header.segment_bytes));
        }
        if header.position != segment.start(header.segment_bytes) {
            return Some(format!("it begins at {}, not where its name says", header.position));
        }
        if header.timeline > segment.timeline {
            return Some(format!("it is of timeline {}", header.timeline));
        }
        None
    }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

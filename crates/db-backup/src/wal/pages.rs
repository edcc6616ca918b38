//! Whether each page of a segment is that segment's own.
//!
//! A segment that the server has finished has a header on each page, behind a switch too. A page that names
//! another position is left from an earlier use of the file, or was never written: replay would end there.

use super::WalError;
use crate::wal_name::Segment;
use crate::wal_page::SegmentHeader;

/// Checks the pages of a segment whose first page was checked already, in pieces of whole pages.
///
/// Pages of zeros may follow the last one: the server had not come to them.
#[derive(Debug)]
pub(super) struct Check {
    segment: Segment,
    header: Option<SegmentHeader>,
    /// How many bytes were looked at.
    offset: usize,
    /// Where the pages of zeros begin.
    ended_at: Option<usize>,
}

impl Check {
    pub(super) fn new(segment: Segment) -> Check {
        Check { segment, header: None, offset: 0, ended_at: None }
    }

    /// Looks at the next piece.
    pub(super) fn look(&mut self, piece: &[u8]) -> Result<(), WalError> {
        let wrong = self.wrong_in(piece);
        wrong.map_or(Ok(()), |reason| Err(WalError::Torn { segment: self.segment, reason }))
    }

    fn wrong_in(&mut self, piece: &[u8]) -> Option<String> {
        let Some(header) = self.header.or_else(|| SegmentHeader::of(piece)) else {
            return Some("it does not begin as a segment does".to_owned());
        };
        self.header = Some(header);
        for page in piece.chunks((header.page_bytes as usize).max(1024)) {
            let offset = self.offset;
            self.offset += page.len();
            if header.is_at(page, offset as u64) {
                if let Some(ended) = self.ended_at {
                    return Some(format!("it has a hole at byte {ended}"));
                }
                continue;
            }
            if page.iter().any(|byte| *byte != 0) {
                return Some(format!("the page at byte {offset} is not its own"));
            }
            self.ended_at.get_or_insert(offset);
        }
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::wal_name::WalName;

    const SIZE: usize = 1 << 20;
    const PAGE: usize = 8192;

    fn check(segment: Segment, content: &[u8]) -> Result<(), WalError> {
        Check::new(segment).look(content)
    }

    pub(crate) fn whole() -> (Segment, Vec<u8>) {
        let segment = "000000010000000000000003".parse::<WalName>().unwrap().segment().unwrap();
        let mut content = vec![0; SIZE];
        let start = segment.start(SIZE as u32).0;
        for (index, page) in content.chunks_mut(PAGE).enumerate() {
            page[..2].copy_from_slice(&0xD110u16.to_le_bytes());
            page[4..8].copy_from_slice(&segment.timeline.to_le_bytes());
            page[8..16].copy_from_slice(&(start + (index * PAGE) as u64).to_le_bytes());
        }
        content[2] = 2;
        content[32..36].copy_from_slice(&(SIZE as u32).to_le_bytes());
        content[36..40].copy_from_slice(&(PAGE as u32).to_le_bytes());
        (segment, content)
    }

    #[test]
    fn a_page_of_an_earlier_use_and_a_hole_are_found() {
        let (segment, content) = whole();
        check(segment, &content).unwrap();
        let mut recycled = content.clone();
        recycled[5 * PAGE + 9] ^= 1;
        check(segment, &recycled).unwrap_err();
        let mut holed = content.clone();
        holed[5 * PAGE..6 * PAGE].fill(0);
        check(segment, &holed).unwrap_err();
        let mut in_pieces = Check::new(segment);
        in_pieces.look(&holed[..6 * PAGE]).unwrap();
        in_pieces.look(&holed[6 * PAGE..]).unwrap_err();
        let mut ends_early = content;
        ends_early[5 * PAGE..].fill(0);
        check(segment, &ends_early).unwrap();
    }
}

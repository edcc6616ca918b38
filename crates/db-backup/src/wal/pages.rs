//! Whether each page of a segment is that segment's own.
//!
//! A segment that the server has finished has a header on each page, behind a switch too. A page that names another
//! position is left from an earlier use of the file, or was never written: replay would end there.

use super::WalError;
use crate::wal_name::Segment;
use crate::wal_page::SegmentHeader;

/// Checks the pages of a whole segment whose first page was checked already.
///
/// Pages of zeros may follow the last one: the server had not come to them.
pub(super) fn check(segment: Segment, content: &[u8]) -> Result<(), WalError> {
    let torn = |reason: String| Err(WalError::Torn { segment, reason });
    let Some(header) = SegmentHeader::of(content) else {
        return torn("it does not begin as a segment does".to_owned());
    };
    let page_bytes = (header.page_bytes as usize).max(1024);
    let mut ended_at = None;
    for (index, page) in content.chunks(page_bytes).enumerate() {
        let offset = index * page_bytes;
        let magic = page.first_chunk::<2>().map(|bytes| u16::from_le_bytes(*bytes));
        let position = page
            .get(8..16)
            .and_then(|bytes| bytes.first_chunk::<8>())
            .map(|bytes| u64::from_le_bytes(*bytes));
        if magic == Some(header.magic) && position == Some(header.position.0 + offset as u64) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal_name::WalName;

    const SIZE: usize = 1 << 20;
    const PAGE: usize = 8192;

    fn whole() -> (Segment, Vec<u8>) {
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
        let mut ends_early = content;
        ends_early[5 * PAGE..].fill(0);
        check(segment, &ends_early).unwrap();
    }
}

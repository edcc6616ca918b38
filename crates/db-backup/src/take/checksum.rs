//! The checksum of a data page, and whether a page that does not match it is damaged.
//!
//! Source: PostgreSQL's checksum_impl.h: 32 FNV-1a sums side by side, folded into 16 bits with the block's
//! number.

/// The bytes of a page: other sizes need a server that was built for them, and are not checked.
pub(crate) const PAGE_BYTES: usize = 8192;

/// The blocks of one file of a relation: the next gigabyte is another file.
pub(crate) const BLOCKS_PER_FILE: u32 = 131_072;

const LANES: usize = 32;
const PRIME: u32 = 16_777_619;

const BASE: [u32; LANES] = [
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
];

/// What a page looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// Its checksum matches, or it is new and empty.
    Good,
    /// It does not match; its position in the log is beyond the backup's start, so replay writes it anew.
    Changing,
    /// It does not match, and replay will not write it.
    Bad,
}

/// Looks at one page of a relation.
pub(crate) fn look(page: &[u8], block: u32, start: u64) -> Page {
    let upper = u16::from_le_bytes([page[14], page[15]]);
    if upper == 0 && page.iter().all(|byte| *byte == 0) {
        return Page::Good;
    }
    let stored = u16::from_le_bytes([page[8], page[9]]);
    if stored == checksum(page, block) {
        return Page::Good;
    }
    let half =
        |at: usize| u64::from(u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]));
    let position = half(0) << 32 | half(4);
    if upper != 0 && position >= start { Page::Changing } else { Page::Bad }
}

/// The checksum of a page as the server computes it: the field that holds it counts as zero.
pub(crate) fn checksum(page: &[u8], block: u32) -> u16 {
    let mut sums = BASE;
    let (rows, _) = page.as_chunks::<{ LANES * 4 }>();
    for (index, row) in rows.iter().enumerate() {
        let (words, _) = row.as_chunks::<4>();
        for (lane, (sum, word)) in sums.iter_mut().zip(words).enumerate() {
            let mut word = u32::from_le_bytes(*word);
            if index == 0 && lane == 2 {
                word &= 0xFFFF_0000;
            }
            *sum = mix(*sum, word);
        }
    }
    for _ in 0..2 {
        for sum in &mut sums {
            *sum = mix(*sum, 0);
        }
    }
    let folded = sums.iter().fold(0, |folded, sum| folded ^ sum) ^ block;
    // The remainder of a division by 65,535 plus one fits 16 bits.
    u16::try_from(folded % 65_535 + 1).unwrap_or(u16::MAX)
}

fn mix(sum: u32, word: u32) -> u32 {
    let mixed = sum ^ word;
    mixed.wrapping_mul(PRIME) ^ (mixed >> 17)
}

/// The first block of a relation's file, where the path is one of a relation that has checksums.
///
/// `base/5/16384.2` is the third gigabyte of a relation. Files such as `pg_control`, `PG_VERSION` and
/// `pg_filenode.map` have none.
pub(crate) fn first_block(path: &str) -> Option<u32> {
    let (directory, name) = path.rsplit_once('/')?;
    let of_relations =
        directory == "global" || directory.starts_with("base/") || directory.starts_with("pg_tblspc/");
    if !of_relations || !name.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let (stem, part) = name.split_once('.').unwrap_or((name, "0"));
    let number = stem.split('_').next()?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    part.parse::<u32>().ok()?.checked_mul(BLOCKS_PER_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_have_checksums_and_other_files_have_not() {
        let check = |path: &str, expected: Option<u32>| assert_eq!(first_block(path), expected, "{path}");
        check("base/5/16384", Some(0));
        check("base/5/16384.2", Some(262_144));
        check("base/5/16384_fsm", Some(0));
        check("base/5/16384_vm.1", Some(131_072));
        check("global/1262", Some(0));
        check("pg_tblspc/16400/PG_15_202209061/5/16401", Some(0));
        check("global/pg_control", None);
        check("base/5/PG_VERSION", None);
        check("base/5/pg_filenode.map", None);
        check("pg_xact/0000", None);
        check("backup_label", None);
    }

    #[test]
    fn a_flipped_bit_is_found_unless_replay_writes_the_page_anew() {
        let mut page = vec![0; PAGE_BYTES];
        assert_eq!(look(&page, 0, 100), Page::Good, "a new page");
        page[4] = 50;
        page[14] = 0x20;
        page[100] = 7;
        let sum = checksum(&page, 9);
        page[8..10].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(look(&page, 9, 100), Page::Good);
        assert_eq!(look(&page, 10, 100), Page::Bad, "another block's");
        page[5000] ^= 1;
        assert_eq!(look(&page, 9, 100), Page::Bad);
        assert_eq!(look(&page, 9, 50), Page::Changing);
    }
}

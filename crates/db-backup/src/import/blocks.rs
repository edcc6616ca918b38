//! The map of a file that pgBackRest stores as blocks (`repo-block`): where each block of the file lies.
//!
//! Blocks lie together in super blocks, each encrypted and compressed for itself, and a super block lies in
//! the backup that wrote it. The map lists, in the order of the file, stretches of one backup; in a stretch,
//! super blocks; in a super block, how many blocks of it follow here and their checksums. Numbers are varints
//! of 7 bits, the low ones first. What a stretch has in common with the last one of the same backup is left
//! out.

use std::collections::BTreeMap;

/// A stretch is the last one.
const LAST: u64 = 1;

/// Where one block of a file lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) place: SuperBlock,
    /// Its number in the super block.
    pub(super) number: u64,
}

/// Where a super block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SuperBlock {
    /// The backup, by its number in the manifest's list.
    pub(super) reference: usize,
    /// The bundle, 0 for none.
    pub(super) bundle: u64,
    pub(super) offset: u64,
    pub(super) stored_bytes: u64,
    pub(super) plain_bytes: u64,
}

/// What is known of the last stretch of a backup.
#[derive(Debug, Clone, Copy)]
struct Last {
    bundle: u64,
    offset: u64,
    stored_bytes: u64,
    plain_bytes: u64,
    /// The number of the block that comes next in its last super block.
    next: u64,
}

/// The blocks of a file in their order; `None` where the map is not what pgBackRest writes. A file has at
/// most `most`.
pub(super) fn blocks(map: &[u8], block_bytes: u64, checksum_bytes: usize, most: u64) -> Option<Vec<Block>> {
    let mut map = Map { rest: map };
    if block_bytes == 0 || map.number()? & LAST != 0 {
        return None;
    }
    let (mut blocks, mut known) = (Vec::new(), BTreeMap::<usize, Last>::new());
    let mut size_before = 0_u64;
    loop {
        let stretch = map.number()?;
        let reference = usize::try_from(stretch >> 3).ok()?;
        let (second, third) = (stretch & 2 != 0, stretch & 4 != 0);
        let mut goes_on = false;
        let mut last = match known.get(&reference) {
            None => {
                let bundle = if second { map.number()? } else { 0 };
                let offset = if third { map.number()? } else { 0 };
                Last { bundle, offset, stored_bytes: 0, plain_bytes: block_bytes, next: 0 }
            }
            Some(last) if second => {
                goes_on = true;
                *last
            }
            Some(last) => {
                let gap = if third { map.number()? } else { 0 };
                Last { offset: last.offset.checked_add(last.stored_bytes)?.checked_add(gap)?, ..*last }
            }
        };
        let mut first = true;
        loop {
            let (is_last, counted) = if std::mem::take(&mut goes_on) {
                (third, true)
            } else {
                let super_block = map.number()?;
                let size = match size_before {
                    0 => super_block >> 3,
                    before => before.checked_add_signed(zigzag(super_block >> 3))?,
                };
                if super_block & 2 != 0 {
                    let plain = map.number()?;
                    let rest = if plain & 1 != 0 { map.number()? } else { 0 };
                    last.plain_bytes = (plain >> 1).checked_mul(block_bytes)?.checked_add(rest)?;
                }
                if !first {
                    last.offset = last.offset.checked_add(last.stored_bytes)?;
                }
                (last.stored_bytes, last.next) = (size, 0);
                (super_block & LAST != 0, super_block & 4 != 0)
            };
            (first, size_before) = (false, last.stored_bytes);
            let mut many = last.plain_bytes.div_ceil(block_bytes);
            if counted {
                let count = map.number()?;
                many = (count >> 1).checked_add(1)?;
                if count & 1 != 0 {
                    last.next = last.next.checked_add(map.number()?)?;
                }
            }
            if many.checked_add(blocks.len() as u64)? > most {
                return None;
            }
            let place = SuperBlock {
                reference,
                bundle: last.bundle,
                offset: last.offset,
                stored_bytes: last.stored_bytes,
                plain_bytes: last.plain_bytes,
            };
            for number in last.next..last.next.checked_add(many)? {
                // The file's own checksum says more than those of its blocks.
                map.skip(checksum_bytes)?;
                blocks.push(Block { place, number });
            }
            last.next += many;
            if is_last {
                break;
            }
        }
        known.insert(reference, last);
        if stretch & LAST != 0 {
            return map.rest.is_empty().then_some(blocks);
        }
    }
}

struct Map<'a> {
    rest: &'a [u8],
}

impl Map<'_> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.rest = self.rest.get(bytes..)?;
        Some(())
    }
}

/// A signed number, whose lowest bit is its sign.
#[expect(clippy::cast_possible_wrap, reason = "the highest bit was shifted out")]
fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUM: [u8; 2] = [0xAA, 0xBB];

    fn map(numbers: &[&[u8]]) -> Vec<u8> {
        numbers.concat()
    }

    #[test]
    fn a_stretch_goes_on_where_a_newer_one_cut_it() {
        // Backup 0: a super block of two blocks, stored in 100 bytes; its first block, then one block of
        // backup 1 in its place, then backup 0 goes on with its second block... as pgBackRest writes it.
        let size = |bytes: u64, flags: u64| varint(bytes << 3 | flags);
        let bytes = map(&[
            &varint(0),
            &varint(0),            // backup 0, no bundle, offset 0
            &size(100, 1 | 2 | 4), // last super block here; its size changes; counted
            &varint(2 << 1),       // two blocks
            &varint(0),            // one block follows
            &SUM,
            &varint(1 << 3 | 2 | 4), // backup 1, with bundle and offset
            &varint(7),
            &varint(50),
            &size(20 << 1 | 1, 1), // 100 + zigzag: 20 << 1 | 1 is -21
            &SUM,
            &varint(1 | 2 | 4), // backup 0 goes on, is the last stretch, and this is its last super block
            &varint(1),         // one block, with an offset
            &varint(0),
            &SUM,
        ]);
        let found = blocks(&bytes, 8192, 2, 3).unwrap();
        let old = SuperBlock { reference: 0, bundle: 0, offset: 0, stored_bytes: 100, plain_bytes: 16_384 };
        let new = SuperBlock { reference: 1, bundle: 7, offset: 50, stored_bytes: 79, plain_bytes: 8192 };
        assert_eq!(
            found,
            [
                Block { place: old, number: 0 },
                Block { place: new, number: 0 },
                Block { place: old, number: 1 }
            ]
        );
        assert!(blocks(&bytes, 8192, 2, 2).is_none(), "more blocks than the file can have");
        for cut in 0..bytes.len() {
            assert!(blocks(&bytes[..cut], 8192, 2, 3).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn nonsense_is_no_map() {
        assert!(blocks(&[0xFF; 40], 8192, 6, 10).is_none());
        assert!(blocks(&[], 8192, 6, 10).is_none());
        assert!(blocks(&[0, 1, 1], 0, 6, 10).is_none());
    }

    #[test]
    fn signed_numbers_are_read() {
        assert_eq!([0, 1, 2, 3, 4].map(zigzag), [0, -1, 1, -2, 2]);
    }

    fn varint(mut number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            let byte = u8::try_from(number & 0x7F).unwrap();
            number >>= 7;
            bytes.push(if number == 0 { byte } else { byte | 0x80 });
            if number == 0 {
                return bytes;
            }
        }
    }
}

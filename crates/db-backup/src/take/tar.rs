//! Reads the tar stream that BASE_BACKUP sends, piece by piece and without a copy.
//!
//! Source: the POSIX ustar format as PostgreSQL's tar.c writes it. PostgreSQL refuses to send names of more
//! than 100 bytes, so there are no extended headers; one would be an error here.

use chrono::{DateTime, Utc};

const BLOCK: usize = 512;

/// An entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) kind: EntryKind,
    pub(crate) bytes: u64,
    pub(crate) mode: u32,
    pub(crate) modified: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Link(String),
}

/// What comes next in the archive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// An entry begins; so many bytes follow.
    Begins(Entry),
    /// Bytes of the entry that began last.
    Bytes(&'a [u8]),
    /// The entry that began last is whole.
    Ends,
}

/// An archive that is being read.
#[derive(Debug, Default)]
pub(crate) struct Tar {
    header: Vec<u8>,
    left: u64,
    padding: usize,
    open: bool,
    zeros: usize,
}

impl Tar {
    /// The next piece of `input`, which is moved behind it; `None` where more input is needed.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, String> {
        loop {
            if self.open {
                if self.left == 0 {
                    self.open = false;
                    return Ok(Some(Piece::Ends));
                }
                if input.is_empty() {
                    return Ok(None);
                }
                let many = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
                self.left -= many as u64;
                return Ok(Some(Piece::Bytes(take(input, many))));
            }
            if input.is_empty() {
                return Ok(None);
            }
            if self.padding > 0 {
                let many = self.padding.min(input.len());
                self.padding -= many;
                take(input, many);
                continue;
            }
            let many = (BLOCK - self.header.len()).min(input.len());
            self.header.extend_from_slice(take(input, many));
            if self.header.len() < BLOCK {
                return Ok(None);
            }
            let entry = self.entry()?;
            self.header.clear();
            if let Some(entry) = entry {
                return Ok(Some(Piece::Begins(entry)));
            }
        }
    }

    /// An archive must not end within an entry.
    pub(crate) fn end(&self) -> Result<(), String> {
        if self.open || !self.header.is_empty() || self.padding > 0 {
            return Err("the archive ends within an entry".to_owned());
        }
        Ok(())
    }

    /// The entry that the header describes; `None` for a block of zeros, as at the end.
    fn entry(&mut self) -> Result<Option<Entry>, String> {
        let header = &self.header;
        if header.iter().all(|byte| *byte == 0) {
            self.zeros += 1;
            return Ok(None);
        }
        if self.zeros > 0 {
            return Err("the archive goes on behind its end".to_owned());
        }
        let stored = number(&header[148..156]).ok_or("a header has no checksum")?;
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, byte)| u64::from(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum();
        if stored != sum {
            return Err("a header does not match its checksum".to_owned());
        }
        let name = text(&header[..100])?;
        let prefix = if &header[257..262] == b"ustar" { text(&header[345..500])? } else { String::new() };
        let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let bytes = number(&header[124..136]).ok_or_else(|| format!("{path} has no size"))?;
        let kind = match header[156] {
            b'0' | 0 => EntryKind::File,
            b'5' => EntryKind::Directory,
            b'2' => EntryKind::Link(text(&header[157..257])?),
            other => return Err(format!("{path} is of the unknown kind {other}")),
        };
        let seconds = number(&header[136..148]).and_then(|seconds| i64::try_from(seconds).ok()).unwrap_or(0);
        let mode = number(&header[100..108]).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o600);
        self.open = true;
        self.left = if kind == EntryKind::File { bytes } else { 0 };
        self.padding = usize::try_from(self.left.next_multiple_of(BLOCK as u64) - self.left).unwrap_or(0);
        Ok(Some(Entry {
            path: path.trim_end_matches('/').to_owned(),
            bytes: self.left,
            kind,
            mode: mode & 0o7777,
            modified: DateTime::from_timestamp(seconds, 0).unwrap_or_default(),
        }))
    }
}

fn take<'a>(input: &mut &'a [u8], many: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(many);
    *input = rest;
    taken
}

fn text(field: &[u8]) -> Result<String, String> {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    match std::str::from_utf8(&field[..end]) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => {
            Err(format!("the name {:?} is no UTF-8: rename the file", String::from_utf8_lossy(&field[..end])))
        }
    }
}

/// Octal digits, or for what they cannot hold a binary number whose first bit is set.
fn number(field: &[u8]) -> Option<u64> {
    if field.first()? & 0x80 != 0 {
        let (head, tail) = field.split_at(field.len().checked_sub(8)?);
        let fits =
            head.iter().skip(1).all(|byte| *byte == 0) && head.first().is_none_or(|byte| *byte == 0x80);
        return fits.then(|| tail.try_into().ok().map(u64::from_be_bytes)).flatten();
    }
    let digits: Vec<u8> = field.iter().copied().filter(|byte| !matches!(byte, 0 | b' ')).collect();
    let text = std::str::from_utf8(&digits).ok()?;
    if text.is_empty() { Some(0) } else { u64::from_str_radix(text, 8).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(name: &str, kind: u8, bytes: u64, link: &str) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000600");
        if bytes < 1 << 33 {
            header[124..135].copy_from_slice(format!("{bytes:011o}").as_bytes());
        } else {
            header[124] = 0x80;
            header[128..136].copy_from_slice(&bytes.to_be_bytes());
        }
        header[136..147].copy_from_slice(b"00000000012");
        header[156] = kind;
        header[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header[257..263].copy_from_slice(b"ustar\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        header
    }

    fn archive() -> Vec<u8> {
        let mut all = header("base", b'5', 0, "");
        all.extend(header("base/1", b'0', 700, ""));
        all.extend([7; 700]);
        all.extend([0; 324]);
        all.extend(header("pg_tblspc/16400", b'2', 0, "/elsewhere"));
        all.extend(header("empty", b'0', 0, ""));
        all.extend([0; 2 * BLOCK]);
        all
    }

    /// What is read when the input comes in pieces of this size.
    fn read(archive: &[u8], piece: usize) -> Result<Vec<(String, EntryKind, usize)>, String> {
        let (mut tar, mut found) = (Tar::default(), Vec::new());
        for mut input in archive.chunks(piece) {
            while let Some(piece) = tar.next(&mut input)? {
                match piece {
                    Piece::Begins(entry) => found.push((entry.path, entry.kind, 0)),
                    Piece::Bytes(bytes) => found.last_mut().unwrap().2 += bytes.len(),
                    Piece::Ends => {}
                }
            }
        }
        tar.end().map(|()| found)
    }

    proptest! {
        #[test]
        fn the_pieces_of_the_input_do_not_matter(piece in 1usize..1500) {
            let found = read(&archive(), piece).unwrap();
            let names: Vec<&str> = found.iter().map(|(name, ..)| name.as_str()).collect();
            prop_assert_eq!(names, ["base", "base/1", "pg_tblspc/16400", "empty"]);
            prop_assert_eq!(found[1].2, 700);
            prop_assert_eq!(&found[2].1, &EntryKind::Link("/elsewhere".to_owned()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = read(&bytes, 512);
        }
    }

    #[test]
    fn an_archive_that_is_cut_or_changed_is_refused() {
        let whole = archive();
        assert!(read(&whole[..1200], 512).is_err(), "cut within a file");
        let mut changed = whole;
        changed[512] ^= 1;
        assert!(read(&changed, 512).is_err(), "another name");
    }

    #[test]
    fn a_file_of_more_than_eight_gigabytes_has_its_size() {
        let (mut tar, big) = (Tar::default(), header("big", b'0', 9 << 30, ""));
        let Some(Piece::Begins(entry)) = tar.next(&mut big.as_slice()).unwrap() else { panic!("no entry") };
        assert_eq!(entry.bytes, 9 << 30);
    }
}

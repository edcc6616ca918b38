//! Where segments lie that were fetched ahead: what one process puts there whole, and another takes.
//!
//! One process at a time fills a spool: it holds the lock, which the kernel releases however that process
//! ends. A segment appears under its own name only when it is whole and on the disk; until then it has a
//! name of which whoever asks for the segment sees that it is coming.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::fetch::{UNFINISHED, copy, place, unwritten};
use super::pages::Check;
use crate::physical_error::PhysicalError;
use crate::wal_name::{Segment, WalName};
use crate::wal_page::SegmentHeader;

/// The name of a spool beside the log. Such a one is removed with what is in it.
pub(super) const BESIDE: &str = ".fetched-ahead";
/// The file that is locked by who fills the spool.
const LOCK: &str = ".lock";
/// The file that says what the server has asked for last. Without it nothing more is wanted.
const ASKED: &str = ".asked";
/// How long a process that fills the spool is waited for once nothing more is wanted.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// The sizes that a segment can have.
const SEGMENT_BYTES: std::ops::RangeInclusive<u32> = 1 << 20..=1 << 30;
/// What the first page of a segment begins with.
const LONG_HEADER_BYTES: usize = 40;
/// How much of a segment is looked at in one go: whole pages, whatever their size.
const PIECE_BYTES: usize = 1 << 20;

/// A directory with segments that were fetched ahead. It need not exist.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spool<'a> {
    pub(super) directory: &'a Path,
}

/// The right to fill a spool, until it is dropped or its process ends.
#[derive(Debug)]
pub(super) struct Filling {
    lock: File,
    path: PathBuf,
}

/// Ends what fetches ahead for the server of a data directory, and removes what it has fetched: before the
/// directory goes.
pub(crate) fn end_beside_log_of(data: &Path) {
    Spool { directory: &data.join("pg_wal").join(BESIDE) }.end();
}

/// What the server has asked for last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) segment: Segment,
    /// How many bytes a segment of this cluster has.
    pub(super) size: u32,
}

impl Asked {
    fn parse(text: &str) -> Option<Self> {
        let (name, size) = text.split_once(' ')?;
        let size = size.parse::<u32>().ok().filter(|size| size.is_power_of_two())?;
        SEGMENT_BYTES.contains(&size).then_some(Asked { segment: segment_of(name)?, size })
    }
}

impl Filling {
    /// Whether the lock is still the one that others see: the spool may have been removed, and made again by
    /// them.
    pub(super) fn holds(&self) -> bool {
        let same = |own: fs::Metadata, seen: fs::Metadata| own.dev() == seen.dev() && own.ino() == seen.ino();
        self.lock.metadata().and_then(|own| Ok(same(own, fs::metadata(&self.path)?))).unwrap_or(false)
    }
}

impl Spool<'_> {
    pub(super) fn path_of(&self, segment: Segment) -> PathBuf {
        self.directory.join(segment.to_string())
    }

    /// Whether the segment was put here.
    pub(super) fn has(&self, segment: Segment) -> bool {
        self.path_of(segment).exists()
    }

    /// Where the segment is while this process fetches it.
    fn coming_path(&self, segment: Segment) -> PathBuf {
        super::fetch::unfinished(&self.path_of(segment))
    }

    /// Tells others that this process fetches the segment.
    pub(super) fn announce(&self, segment: Segment) -> io::Result<()> {
        File::create(self.coming_path(segment)).map(drop)
    }

    /// Takes that back.
    pub(super) fn withdraw(&self, segment: Segment) {
        let _ = fs::remove_file(self.coming_path(segment));
    }

    /// Whether a process that is alive fetches the segment now.
    pub(super) fn is_coming(&self, segment: Segment) -> bool {
        let begins = format!("{UNFINISHED}{segment}-");
        let is_it = |name: &str| name.starts_with(&begins);
        self.names().iter().any(|name| is_it(name)) && self.is_filled()
    }

    /// Whether a process fills the spool.
    pub(super) fn is_filled(&self) -> bool {
        let Ok(lock) = File::open(self.directory.join(LOCK)) else { return false };
        matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
    }

    /// Begins to fill the spool, which is made if it is missing; `None` where another process does.
    pub(super) fn fill(&self) -> Result<Option<Filling>, PhysicalError> {
        let path = self.directory.join(LOCK);
        let opened = fs::create_dir_all(self.directory)
            .and_then(|()| OpenOptions::new().write(true).create(true).truncate(false).open(&path));
        let lock = opened.map_err(PhysicalError::at("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(PhysicalError::at("lock", &path)(source)),
        }
        // What a process has left that died.
        self.remove(|name| name.starts_with(UNFINISHED));
        Ok(Some(Filling { lock, path }))
    }

    /// Notes what the server asks for, so that what is behind it is fetched ahead. Where that fails nothing
    /// is, and nothing else is lost.
    pub(super) fn ask(&self, asked: Asked) {
        let _ = fs::create_dir_all(self.directory);
        let _ = fs::write(self.directory.join(ASKED), format!("{} {}", asked.segment, asked.size));
    }

    /// The same while the size is not known, if it was once.
    pub(super) fn ask_again(&self, segment: Segment) {
        if let Some(asked) = self.asked(None) {
            self.ask(Asked { segment, ..asked });
        }
    }

    /// What the server has asked for last; `None` where nothing more is wanted. `known` is what it was
    /// before.
    pub(super) fn asked(&self, known: Option<Asked>) -> Option<Asked> {
        let text = fs::read_to_string(self.directory.join(ASKED)).ok()?;
        // It is cut off while it is being written.
        Asked::parse(&text).or(known)
    }

    /// Puts a segment that was fetched ahead to its destination, if it is whole; whether it is there.
    pub(super) fn take(
        &self,
        segment: Segment,
        system: u64,
        destination: &Path,
    ) -> Result<bool, PhysicalError> {
        self.forget_before(segment);
        let path = self.path_of(segment);
        let Ok(mut file) = File::open(&path) else { return Ok(false) };
        if !is_whole(&mut file, segment, system) {
            return Ok(false);
        }
        // Before it is gone from here: else it would be fetched once more.
        if let Some(size) = file.metadata().ok().and_then(|about| u32::try_from(about.len()).ok()) {
            self.ask(Asked { segment, size });
        }
        // It is on the disk already, so that it need not be written once more.
        if place(&path, destination).is_ok() {
            return Ok(true);
        }
        // The spool is on another file system.
        copy(&mut file, destination).map_err(|source| unwritten(destination, source))?;
        let _ = fs::remove_file(path);
        Ok(true)
    }

    /// Removes what the server is past.
    fn forget_before(&self, segment: Segment) {
        self.remove(|name| segment_of(name).is_some_and(|held| held < segment));
    }

    /// Ends what fills the spool, and removes all of it. It waits for that process, for a second at most.
    pub(super) fn end(&self) {
        self.stop();
        db_server::wait_until(ENDS_WITHIN, || !self.is_filled());
        self.clear();
    }

    /// Says that nothing more is wanted: who fills the spool sees that, and ends. What was fetched ahead is
    /// removed.
    fn stop(&self) {
        let _ = fs::remove_file(self.directory.join(ASKED));
        self.remove(|name| name.starts_with(UNFINISHED) || segment_of(name).is_some());
    }

    /// Removes what was fetched ahead and all that belongs to it, once nobody fills the spool.
    pub(super) fn clear(&self) {
        self.stop();
        let _ = fs::remove_file(self.directory.join(LOCK));
        if self.directory.file_name().is_some_and(|name| name == BESIDE) {
            let _ = fs::remove_dir(self.directory);
        }
    }

    fn remove(&self, what: impl Fn(&str) -> bool) {
        for name in self.names() {
            if what(&name) {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

fn segment_of(name: &str) -> Option<Segment> {
    name.parse::<WalName>().ok()?.segment()
}

/// Whether a file that was fetched ahead is this segment of this cluster, all of it.
fn is_whole(file: &mut File, segment: Segment, system: u64) -> bool {
    let Ok(bytes) = file.metadata().map(|about| about.len()) else { return false };
    if all_named(file, segment, system, bytes) {
        return true;
    }
    let (mut piece, mut check, mut left) = (vec![0; PIECE_BYTES], Check::new(segment), bytes);
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        if file.read_exact(&mut piece[..now]).is_err() {
            return false;
        }
        let unfit = left == bytes && SegmentHeader::unfit_beginning(segment, system, &piece, bytes).is_some();
        if unfit || check.look(&piece[..now]).is_err() {
            return false;
        }
        left -= now as u64;
    }
    bytes > 0
}

/// Whether each page says that it is where it should be, as nearly all do: no more than their beginnings are
/// read, because the server waits meanwhile.
fn all_named(file: &File, segment: Segment, system: u64, bytes: u64) -> bool {
    let begins = |offset: u64| {
        let mut begins = [0; LONG_HEADER_BYTES];
        file.read_exact_at(&mut begins, offset).ok().map(|()| begins)
    };
    let Some(first) = begins(0) else { return false };
    let Some(header) = SegmentHeader::of(&first) else { return false };
    let page_bytes = u64::from(header.page_bytes.max(1024));
    SegmentHeader::unfit_beginning(segment, system, &first, bytes).is_none()
        && (0..bytes / page_bytes).all(|page| {
            let offset = page * page_bytes;
            begins(offset).is_some_and(|begins| header.is_at(&begins, offset))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::FetchConfig;
    use crate::wal::pages::tests::whole;

    #[test]
    fn what_was_fetched_ahead_is_renamed_into_its_place_and_only_if_it_is_whole() {
        let home = tempfile::tempdir().unwrap();
        let (destination, directory) = (home.path().join("RECOVERYXLOG"), home.path().join(BESIDE));
        let spool = Spool { directory: &directory };
        let (segment, content) = whole();
        let path = spool.path_of(segment);
        let take = |system| spool.take(segment, system, &destination).unwrap();
        assert!(!take(0), "nothing is there");
        fs::create_dir(&directory).unwrap();
        for spoilt in [
            content[..content.len() / 2].to_vec(),
            [&content[..8192], &content[..content.len() - 8192]].concat(),
        ] {
            fs::write(&path, spoilt).unwrap();
            assert!(!take(0) && !destination.exists(), "it is not whole");
        }
        fs::write(&path, &content).unwrap();
        assert!(!take(1) && !destination.exists(), "it is another cluster's");
        let number = fs::metadata(&path).unwrap().ino();
        assert!(take(0) && !path.exists());
        assert_eq!(fs::metadata(&destination).unwrap().ino(), number, "it was written once more");
        assert_eq!(fs::read(&destination).unwrap(), content);
        assert_eq!(spool.asked(None), Some(Asked { segment, size: content.len() as u32 }));
    }

    #[test]
    fn a_spool_beside_the_log_goes_with_what_is_in_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = FetchConfig::beside(&home.path().join("RECOVERYXLOG")).spool.unwrap();
        let (spool, (segment, _)) = (Spool { directory: &directory }, whole());
        drop(spool.fill().unwrap().unwrap());
        spool.ask(Asked { segment, size: 1 << 20 });
        spool.announce(segment).unwrap();
        fs::write(spool.path_of(segment), "").unwrap();
        spool.clear();
        assert!(!directory.exists());
    }

    #[test]
    fn one_at_a_time_fills_a_spool_and_what_the_dead_left_goes() {
        let home = tempfile::tempdir().unwrap();
        let (spool, (segment, _)) = (Spool { directory: home.path() }, whole());
        let left = home.path().join(format!("{UNFINISHED}{segment}-1"));
        fs::write(&left, "half").unwrap();
        assert!(!spool.is_coming(segment), "who wrote it is dead");
        let filling = spool.fill().unwrap().unwrap();
        assert!(!left.exists() && spool.is_filled() && spool.fill().unwrap().is_none());
        spool.announce(segment).unwrap();
        assert!(spool.is_coming(segment) && !spool.has(segment));
        fs::remove_file(home.path().join(LOCK)).unwrap();
        assert!(!filling.holds(), "others do not see it any more");
    }

    #[test]
    fn what_was_asked_for_is_read_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let (spool, (segment, _)) = (Spool { directory: home.path() }, whole());
        let asked = Asked { segment, size: 1 << 20 };
        spool.ask_again(segment);
        assert_eq!(spool.asked(Some(asked)), None, "the size is not known yet");
        spool.ask(asked);
        spool.ask_again(segment.next(1 << 20));
        assert_eq!(spool.asked(None), Some(Asked { segment: segment.next(1 << 20), ..asked }));
        for torn in ["", "000000010000", "000000010000000000000003 ", "000000010000000000000003 104857"] {
            fs::write(home.path().join(ASKED), torn).unwrap();
            assert_eq!(spool.asked(Some(asked)), Some(asked), "{torn}");
        }
    }
}

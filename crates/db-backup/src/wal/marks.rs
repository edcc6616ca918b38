//! Marks of segments that were archived ahead of the server's asking.
//!
//! A mark says which file was archived by its size, inode and time of change: a file of the same name that is
//! another one does not match it. A mark that is lost costs one more look at the repository.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::physical_error::PhysicalError;
use crate::wal_name::{Segment, WalName};

/// The marks below one directory.
#[derive(Debug)]
pub(super) struct Marks<'a> {
    directory: &'a Path,
}

impl<'a> Marks<'a> {
    pub(super) fn below(directory: &'a Path) -> Marks<'a> {
        Marks { directory }
    }

    /// Whether the file was archived; the mark goes with the answer.
    pub(super) fn take(&self, segment: Segment, file: &Path) -> bool {
        let path = self.path(segment);
        let Ok(mark) = fs::read_to_string(&path) else { return false };
        let matches = said_of(file).is_some_and(|said| said == mark);
        // A mark that cannot be removed is found stale later, because the file will be another one.
        let _ = fs::remove_file(&path);
        matches
    }

    /// Marks a file as archived. `said` is what was known of it before it was read.
    pub(super) fn put(&self, segment: Segment, said: &str) -> Result<(), PhysicalError> {
        let path = self.path(segment);
        let made = fs::create_dir_all(self.directory);
        made.and_then(|()| fs::write(&path, said)).map_err(PhysicalError::at("write", &path))
    }

    /// Removes marks that nobody will ask for: those of segments before this one on its timeline.
    pub(super) fn forget_before(&self, segment: Segment) {
        let Ok(entries) = fs::read_dir(self.directory) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let marked = name
                .to_str()
                .and_then(|name| name.strip_suffix(".done"))
                .and_then(|name| name.parse::<WalName>().ok()?.segment());
            if marked.is_some_and(|marked| marked.timeline == segment.timeline && marked < segment) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn path(&self, segment: Segment) -> PathBuf {
        self.directory.join(format!("{segment}.done"))
    }
}

/// What tells one file from another of the same name.
pub(super) fn said_of(file: &Path) -> Option<String> {
    let about = fs::metadata(file).ok()?;
    Some(format!("{} {} {}.{}", about.len(), about.ino(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_counts_once_and_for_its_own_file_only() {
        let home = tempfile::tempdir().unwrap();
        let (file, spool) = (home.path().join("segment"), home.path().join("spool"));
        let name: WalName = "000000010000000000000003".parse().unwrap();
        let segment = name.segment().unwrap();
        fs::write(&file, "one").unwrap();
        let marks = Marks::below(&spool);
        assert!(!marks.take(segment, &file));
        marks.put(segment, &said_of(&file).unwrap()).unwrap();
        assert!(marks.take(segment, &file) && !marks.take(segment, &file));
        marks.put(segment, &said_of(&file).unwrap()).unwrap();
        fs::write(&file, "another").unwrap();
        assert!(!marks.take(segment, &file));
    }
}

//! Where a restore writes: whether the directory may be used, what becomes of what is in it, and how that is
//! undone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::backup_id::BackupId;
use crate::manifest::{Summary, Tablespace};
use crate::physical_error::PhysicalError;
use crate::wal::system_of;

/// A file in a directory whose restore has not finished: it is resumed, and no server starts on it.
const MARKER: &str = "db-backup.unfinished";

/// What is in the directory now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing, or nothing yet.
    Free,
    /// A restore of this backup that did not finish.
    Unfinished,
    /// Something that the restore would replace.
    Taken,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    backup: BackupId,
}

/// Looks at the directory; a server that runs on it is an error in any case, and so is another cluster.
pub(super) fn look(directory: &Path, backup: &Summary) -> Result<Place, PhysicalError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries.flatten().count(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Place::Free),
        Err(error) => return Err(PhysicalError::at("read", directory)(error)),
    };
    if let Some(pid) = server_on(directory) {
        return Err(PhysicalError::InUse { directory: directory.to_owned(), pid });
    }
    if entries == 0 {
        return Ok(Place::Free);
    }
    let marker = fs::read(directory.join(MARKER)).ok();
    let marker = marker.and_then(|text| serde_json::from_slice::<Marker>(&text).ok());
    // With its pg_control a restore is whole, and a server may have run on it since.
    let is_whole = directory.join("global/pg_control").is_file();
    if !is_whole && marker.is_some_and(|marker| marker.backup == backup.id) {
        return Ok(Place::Unfinished);
    }
    let expected = backup.server.system_identifier;
    if directory.join("global/pg_control").is_file() {
        let found = system_of(directory)?;
        if found != expected {
            return Err(PhysicalError::OtherCluster { directory: directory.to_owned(), found, expected });
        }
    }
    Ok(Place::Taken)
}

/// The pid of the server that runs on a directory.
pub(crate) fn server_on(directory: &Path) -> Option<u32> {
    let text = fs::read_to_string(directory.join("postmaster.pid")).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    db_server::process::Stamp::of(pid)?;
    // A pid file that a crash left may name a pid that another program has now.
    let works_in = fs::read_link(format!("/proc/{pid}/cwd"));
    let same =
        works_in.ok().zip(directory.canonicalize().ok()).is_none_or(|(works_in, here)| works_in == here);
    same.then_some(pid)
}

/// Begins a restore: from now on the directory is unfinished.
pub(super) fn begin(directory: &Path, backup: &BackupId) -> Result<(), PhysicalError> {
    let made = fs::create_dir_all(directory)
        // The server refuses to start where others may look.
        .and_then(|()| fs::set_permissions(directory, fs::Permissions::from_mode(0o700)));
    made.map_err(PhysicalError::at("create", directory))?;
    let path = directory.join(MARKER);
    let text = serde_json::to_vec(&Marker { backup: backup.clone() }).unwrap_or_default();
    fs::write(&path, text).map_err(PhysicalError::at("write", &path))
}

/// Ends a restore.
pub(super) fn end(directory: &Path) -> Result<(), PhysicalError> {
    let path = directory.join(MARKER);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PhysicalError::at("remove", &path)(error))
        }
        _ => Ok(()),
    }
}

/// Whether the name is the marker's, which no backup holds.
pub(super) fn is_marker(name: &str) -> bool {
    name == MARKER
}

/// Where what was in the directory is kept.
pub(super) fn aside(directory: &Path, at: DateTime<Utc>) -> PathBuf {
    let name = directory.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    directory.with_file_name(format!("{name}{ASIDE}{}", at.format("%Y%m%dT%H%M%SZ")))
}

const ASIDE: &str = ".before-restore-";

/// The name of the file in a directory that was moved aside: what else was moved with it, and from where.
const MOVED: &str = "db-backup.moved";

/// Moves directories aside, the data directory first. Each moves back by itself where a later one cannot be
/// moved.
pub(super) fn keep(moves: &[(PathBuf, PathBuf)]) -> Result<(), PhysicalError> {
    for (number, (from, to)) in moves.iter().enumerate() {
        let moved = fs::rename(from, to).map_err(PhysicalError::io(format!(
            "cannot move {} to {} (a mount point cannot be moved: restore to a directory below it)",
            from.display(),
            to.display()
        )));
        if let Err(error) = moved {
            for (from, to) in moves[..number].iter().rev() {
                fs::rename(to, from).map_err(PhysicalError::at("move back", to))?;
            }
            return Err(error);
        }
    }
    let Some((_, aside)) = moves.first() else { return Ok(()) };
    let path = aside.join(MOVED);
    let text = serde_json::to_vec(&moves[1..]).unwrap_or_default();
    fs::write(&path, text).map_err(PhysicalError::at("write", &path))
}

/// Puts back what the last restore into a directory has replaced, and returns where the restored data went.
///
/// # Errors
/// [`PhysicalError::NothingToUndo`] where no copy is there, [`PhysicalError::InUse`] while a server runs on
/// it.
pub fn undo(directory: &Path) -> Result<PathBuf, PhysicalError> {
    if let Some(pid) = server_on(directory) {
        return Err(PhysicalError::InUse { directory: directory.to_owned(), pid });
    }
    let kept = newest_aside(directory)?;
    let path = kept.join(MOVED);
    let moved = fs::read(&path).map_err(PhysicalError::at("read", &path))?;
    let mut moves: Vec<(PathBuf, PathBuf)> =
        serde_json::from_slice(&moved).map_err(|error| PhysicalError::at("read", &path)(error.into()))?;
    moves.insert(0, (directory.to_owned(), kept.clone()));
    let now = Utc::now().format("%Y%m%dT%H%M%SZ").to_string();
    let undone = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        path.with_file_name(format!("{name}.undone-{now}"))
    };
    for (original, kept) in &moves {
        if original.exists() {
            fs::rename(original, undone(original)).map_err(PhysicalError::at("move", original))?;
        }
        fs::rename(kept, original).map_err(PhysicalError::at("move", kept))?;
    }
    let path = directory.join(MOVED);
    fs::remove_file(&path).map_err(PhysicalError::at("remove", &path))?;
    Ok(undone(directory))
}

fn newest_aside(directory: &Path) -> Result<PathBuf, PhysicalError> {
    let nothing = || PhysicalError::NothingToUndo { directory: directory.to_owned() };
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = directory.file_name().and_then(|name| name.to_str()).ok_or_else(nothing)?;
    let prefix = format!("{name}{ASIDE}");
    let entries = fs::read_dir(parent).map_err(PhysicalError::at("read", parent))?;
    let kept = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.starts_with(&prefix)) && entry.path().join(MOVED).is_file()
    });
    kept.map(|entry| entry.path()).max().ok_or_else(nothing)
}

/// Where each tablespace goes. One that nobody maps goes back to where it was, if that is empty.
pub(super) fn tablespaces(
    known: &[Tablespace],
    mapped: &BTreeMap<u32, PathBuf>,
    may_replace: bool,
) -> Result<BTreeMap<u32, PathBuf>, PhysicalError> {
    let mut places = BTreeMap::new();
    for Tablespace { oid, location, .. } in known {
        let place = mapped.get(oid).cloned().unwrap_or_else(|| PathBuf::from(location));
        let is_free = fs::read_dir(&place).map_or(true, |mut entries| entries.next().is_none());
        if !is_free && !may_replace {
            return Err(PhysicalError::TablespaceInUse { oid: *oid, location: location.clone() });
        }
        places.insert(*oid, place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Kind, Summary};

    fn backup() -> Summary {
        Summary::new(Kind::Full, Default::default(), Utc::now())
    }

    #[test]
    fn a_directory_with_something_in_it_is_taken_and_an_unfinished_one_is_known() {
        let home = tempfile::tempdir().unwrap();
        let (directory, backup) = (home.path().join("data"), backup());
        assert_eq!(look(&directory, &backup).unwrap(), Place::Free);
        fs::create_dir(&directory).unwrap();
        assert_eq!(look(&directory, &backup).unwrap(), Place::Free);
        begin(&directory, &backup.id).unwrap();
        assert_eq!(look(&directory, &backup).unwrap(), Place::Unfinished);
        assert_eq!(look(&directory, &super::tests::backup()).unwrap(), Place::Taken, "another backup's");
        end(&directory).unwrap();
        assert_eq!(look(&directory, &backup).unwrap(), Place::Free);
    }

    #[test]
    fn another_cluster_is_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("global")).unwrap();
        fs::write(home.path().join("global/pg_control"), 77_u64.to_le_bytes()).unwrap();
        let refused = look(home.path(), &backup()).unwrap_err();
        assert!(matches!(refused, PhysicalError::OtherCluster { found: 77, .. }), "{refused}");
    }

    #[test]
    fn undo_brings_back_what_was_there() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("data");
        assert!(matches!(undo(&directory), Err(PhysicalError::NothingToUndo { .. })));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("old"), "").unwrap();
        let (space, kept) = (home.path().join("space"), aside(&directory, Utc::now()));
        fs::create_dir(&space).unwrap();
        fs::write(space.join("old"), "").unwrap();
        keep(&[(directory.clone(), kept), (space.clone(), home.path().join("space.kept"))]).unwrap();
        assert!(!directory.exists() && !space.exists());
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("new"), "").unwrap();
        let undone = undo(&directory).unwrap();
        assert!(directory.join("old").exists() && undone.join("new").exists());
        assert!(space.join("old").exists());
        assert!(matches!(undo(&directory), Err(PhysicalError::NothingToUndo { .. })));
    }
}

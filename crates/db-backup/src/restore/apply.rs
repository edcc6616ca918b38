//! Does what a plan says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::owner::Owner;
use super::plan::Plan;
use super::write::{Roots, sync, write, write_control};
use super::{RestoreConfig, combine, configure, place};
use crate::Cluster;
use crate::backup_id::BackupId;
use crate::manifest::{Manifest, Root};
use crate::physical_error::PhysicalError;
use crate::progress::{Observer, Progress};

/// What was restored.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    /// The backup.
    pub backup: BackupId,
    /// How many bytes were fetched.
    pub fetched_bytes: u64,
    /// How many bytes were there already.
    pub kept_bytes: u64,
    /// Where what was in the directory is kept.
    pub kept_as: Option<PathBuf>,
    /// The directory, ready for the server to start.
    pub directory: PathBuf,
}

/// Restores as planned. When this returns, a server that is started on the directory replays the log up to
/// the target.
///
/// # Errors
/// [`PhysicalError`]; run again, it continues where it was.
///
/// # Cancel safety
/// Dropping the future leaves an unfinished restore, on which no server starts and which the next run
/// continues.
pub async fn apply(
    cluster: &Cluster,
    config: &RestoreConfig,
    plan: &Plan,
    observer: &Observer,
) -> Result<Restored, PhysicalError> {
    let directory = &config.directory;
    let owner = Owner::of(directory)?;
    let kept = plan.replaces.iter().filter_map(|one| Some((one.directory.clone(), one.kept_as.clone()?)));
    let kept: Vec<(PathBuf, PathBuf)> = kept.collect();
    place::keep(&kept)?;
    let now_at = |path: &PathBuf| {
        kept.iter().find(|(from, _)| from == path).map_or_else(|| path.clone(), |(_, to)| to.clone())
    };
    let kept_as = kept.first().map(|(_, to)| to.clone());
    place::begin(directory, &plan.backup)?;
    let roots = Roots {
        data: directory.clone(),
        tablespaces: plan.tablespaces.clone(),
        config: config.config_directory.clone(),
        beside: false,
        old: Some(now_at(directory)),
        old_tablespaces: plan.tablespaces.iter().map(|(oid, path)| (*oid, now_at(path))).collect(),
    };
    observer(Progress::Stage("restoring files"));
    let done = match plan.manifests.as_slice() {
        [] => return Err(PhysicalError::NotPhysical(plan.backup.clone())),
        [only] => {
            remove_strangers(only, directory)?;
            write(cluster, only, &roots, config.workers, observer).await?
        }
        chain => combine::combine(cluster, chain, &roots, config, owner, observer).await?,
    };
    configure::write(directory, config, plan.timeline, plan.with_log)?;
    if let Some(owner) = owner {
        for path in plan.tablespaces.values() {
            owner.own_all(path)?;
        }
    }
    for path in plan.tablespaces.values().chain(&config.config_directory) {
        sync(path)?;
    }
    // Before pg_control: what has that is never restored again, so its server must be able to read all of it.
    if let Some(owner) = owner {
        owner.own_all(directory)?;
    }
    write_control(directory, &done.control, owner)?;
    place::end(directory)?;
    Ok(Restored {
        backup: plan.backup.clone(),
        fetched_bytes: done.fetched_bytes,
        kept_bytes: done.kept_bytes,
        kept_as,
        directory: directory.clone(),
    })
}

/// Removes what is in the directory and not in the backup: a relation that came later would be taken for the
/// server's.
fn remove_strangers(manifest: &Manifest, directory: &Path) -> Result<(), PhysicalError> {
    let of_data = manifest.files.iter().filter(|file| file.root == Root::Data);
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    for file in of_data {
        known.extend(Path::new(&file.path).ancestors().map(Path::to_owned));
    }
    remove_below(directory, Path::new(""), &known)
}

fn remove_below(root: &Path, below: &Path, known: &BTreeSet<PathBuf>) -> Result<(), PhysicalError> {
    let directory = root.join(below);
    let Ok(entries) = fs::read_dir(&directory) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if known.contains(&path) {
            if is_directory {
                remove_below(root, &path, known)?;
            }
            continue;
        }
        if path.to_str().is_some_and(place::is_marker) {
            continue;
        }
        let whole = root.join(&path);
        let removed = if is_directory { fs::remove_dir_all(&whole) } else { fs::remove_file(&whole) };
        removed.map_err(PhysicalError::at("remove", &whole))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_backup_does_not_have_goes() {
        let home = tempfile::tempdir().unwrap();
        for name in ["base/1/10", "base/1/11", "base/2/12", "pg_wal/x"] {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut known = BTreeSet::new();
        for name in ["base/1/10", "pg_wal"] {
            known.extend(Path::new(name).ancestors().map(Path::to_owned));
        }
        remove_below(home.path(), Path::new(""), &known).unwrap();
        let there = |name: &str| home.path().join(name).exists();
        assert!(there("base/1/10") && there("pg_wal"));
        assert!(!there("base/1/11") && !there("base/2") && !there("pg_wal/x"));
    }
}

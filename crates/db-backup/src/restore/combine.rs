//! Restores a chain of incremental backups: each is written beside the directory, and pg_combinebackup makes
//! one of them.

use std::fs;
use std::path::{Path, PathBuf};

use super::RestoreConfig;
use super::owner::Owner;
use super::write::{Done, Roots, write, write_control};
use crate::Cluster;
use crate::manifest::Manifest;
use crate::physical_error::PhysicalError;
use crate::programs::{self, Programs};
use crate::progress::{Observer, Progress};

/// Combines the chain, the full backup first, into the directory.
pub(super) async fn combine(
    cluster: &Cluster,
    chain: &[Manifest],
    roots: &Roots,
    config: &RestoreConfig,
    owner: Option<Owner>,
    observer: &Observer,
) -> Result<Done, PhysicalError> {
    let [.., last] = chain else { return Ok(Done::default()) };
    let programs = Programs::find(last.summary.server.version / 10_000, config.programs.as_deref())?;
    let parts = beside(&roots.data, "parts");
    let whole = parts.join("whole");
    clear(&parts)?;
    let mut done = Done::default();
    let mut directories = Vec::new();
    for (number, manifest) in chain.iter().enumerate() {
        let data = parts.join(number.to_string());
        let of_part = |oid: u32| parts.join(format!("{number}-{oid}"));
        let tablespaces = manifest.summary.tablespaces.iter().map(|place| (place.oid, of_part(place.oid)));
        let part = Roots {
            data: data.clone(),
            tablespaces: tablespaces.collect(),
            config: if std::ptr::eq(manifest, last) { roots.config.clone() } else { None },
            beside: true,
            old: None,
            old_tablespaces: Default::default(),
        };
        let one = write(cluster, manifest, &part, config.workers, observer).await?;
        write_control(&data, &one.control, None)?;
        done.fetched_bytes += one.fetched_bytes;
        directories.push((data, part));
    }
    if let Some(owner) = owner {
        owner.own_all(&parts)?;
    }
    observer(Progress::Stage("combining"));
    let mut command = programs.command("pg_combinebackup", owner);
    command.args(directories.iter().map(|(data, _)| data)).arg("--output").arg(&whole).arg("--no-sync");
    if let Some((_, newest)) = directories.last() {
        for (oid, from) in &newest.tablespaces {
            let Some(to) = roots.tablespaces.get(oid) else { continue };
            clear_only(to)?;
            if let Some(owner) = owner {
                owner.own_all(to)?;
            }
            command.arg("-T").arg(format!("{}={}", escaped(from), escaped(to)));
        }
    }
    programs::run(command).await?;
    let control = whole.join("global/pg_control");
    done.control = fs::read(&control).map_err(PhysicalError::at("read", &control))?;
    fs::remove_file(&control).map_err(PhysicalError::at("remove", &control))?;
    take_over(&whole, &roots.data)?;
    fs::remove_dir_all(&parts).map_err(PhysicalError::at("remove", &parts))?;
    Ok(done)
}

/// A directory beside the data on the same file system.
fn beside(data: &Path, what: &str) -> PathBuf {
    let name = data.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    data.with_file_name(format!("{name}.db-backup-{what}"))
}

/// Removes what an earlier run left and makes the directory anew.
fn clear(directory: &Path) -> Result<(), PhysicalError> {
    if directory.exists() {
        fs::remove_dir_all(directory).map_err(PhysicalError::at("remove", directory))?;
    }
    fs::create_dir_all(directory).map_err(PhysicalError::at("create", directory))
}

/// Empties a directory that may be a mount point.
fn clear_only(directory: &Path) -> Result<(), PhysicalError> {
    fs::create_dir_all(directory).map_err(PhysicalError::at("create", directory))?;
    let entries = fs::read_dir(directory).map_err(PhysicalError::at("read", directory))?;
    for entry in entries.flatten() {
        let path = entry.path();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed = if is_directory { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.map_err(PhysicalError::at("remove", &path))?;
    }
    Ok(())
}

/// Moves everything into the directory, which holds nothing but the sign that it is unfinished.
fn take_over(from: &Path, to: &Path) -> Result<(), PhysicalError> {
    let entries = fs::read_dir(from).map_err(PhysicalError::at("read", from))?;
    for entry in entries.flatten() {
        let path = to.join(entry.file_name());
        if path.is_dir() {
            fs::remove_dir_all(&path).map_err(PhysicalError::at("remove", &path))?;
        }
        fs::rename(entry.path(), &path).map_err(PhysicalError::at("move", &path))?;
    }
    Ok(())
}

/// pg_combinebackup takes the first `=` for the divider unless it is escaped.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace('=', "\\=")
}

//! Restores a dump into a new database, and compares its rows with what the manifest says.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::{Miscount, ROWS, RestoreDumpConfig, RowCounts, counts, work};
use crate::backup_id::BackupId;
use crate::manifest::{Kind, Manifest, Root};
use crate::physical_error::PhysicalError;
use crate::programs::{self, Programs};
use crate::progress::{Observer, Progress};
use crate::session::Session;
use crate::{BackupError, Cluster};

/// What was restored of a dump.
#[derive(Debug, Clone, Serialize)]
pub struct RestoredDump {
    /// The dump.
    pub backup: BackupId,
    /// The database that was made.
    pub database: String,
    /// How many tables were compared.
    pub compared: usize,
    /// Tables whose rows differ from what was dumped.
    pub miscounts: Vec<Miscount>,
}

/// Restores a dump into a database that is made for it.
///
/// # Errors
/// [`PhysicalError`]; the new database is then left as it is, for somebody to look at. The one that was
/// dumped is never touched.
pub async fn restore(
    cluster: &Cluster,
    backup: &BackupId,
    config: &RestoreDumpConfig,
    observer: &Observer,
) -> Result<RestoredDump, PhysicalError> {
    restore_without(cluster, backup, config, &[], observer).await
}

/// The same with further options of pg_restore.
pub(crate) async fn restore_without(
    cluster: &Cluster,
    backup: &BackupId,
    config: &RestoreDumpConfig,
    options: &[&str],
    observer: &Observer,
) -> Result<RestoredDump, PhysicalError> {
    let manifest = cluster.manifest(backup).await?;
    if manifest.summary.kind != Kind::Logical {
        return Err(BackupError::Misuse("this backup is no dump: restore it to a directory").into());
    }
    let database = database(&manifest, config)?;
    let mut session = Session::open_for_sql(&config.url, config.dial.as_ref()).await?;
    let programs = Programs::find(session.major(), config.programs.as_deref())?;
    let work = work::directory(&config.work_directory)?;
    observer(Progress::Stage("fetching"));
    fetch(cluster, &manifest, &database, work.path()).await?;
    session
        .rows(&format!("CREATE DATABASE \"{}\" TEMPLATE template0", config.into.replace('"', "\"\"")))
        .await?;
    session.close().await;
    observer(Progress::Stage("restoring"));
    let mut command = programs.command("pg_restore", None);
    work::connect(&mut command, &config.url, &config.into);
    command.args(["--exit-on-error", "--no-password"]).args(options).arg("--dbname").arg(&config.into);
    command.arg(format!("--jobs={}", config.jobs.max(1)));
    for table in &config.tables {
        command.arg(format!("--table={table}"));
    }
    command.arg(work.path());
    programs::run(command).await?;
    let expected = if config.tables.is_empty() { expected(&manifest, &database) } else { RowCounts::new() };
    let url = config.url.clone().with_database(&config.into);
    let mut session = Session::open_for_sql(&url, config.dial.as_ref()).await?;
    let found = counts::counts(&mut session).await?;
    session.close().await;
    let miscounts = expected.iter().filter(|(table, rows)| found.get(*table) != Some(rows));
    let miscounts = miscounts.map(|(table, dumped)| Miscount {
        table: table.clone(),
        dumped: *dumped,
        restored: found.get(table).copied(),
    });
    Ok(RestoredDump {
        backup: backup.clone(),
        database: config.into.clone(),
        compared: expected.len(),
        miscounts: miscounts.collect(),
    })
}

fn database(manifest: &Manifest, config: &RestoreDumpConfig) -> Result<String, PhysicalError> {
    let held = &manifest.summary.databases;
    match (&config.database, held.as_slice()) {
        (Some(named), held) if held.contains(named) => Ok(named.clone()),
        (None, [only]) => Ok(only.clone()),
        (Some(_), _) => {
            Err(BackupError::Misuse("the dump does not hold this database; `dbctl backup info` lists them")
                .into())
        }
        (None, _) => Err(BackupError::Misuse("the dump holds several databases: name one").into()),
    }
}

fn expected(manifest: &Manifest, database: &str) -> RowCounts {
    let rows = manifest.summary.notes.get(ROWS).and_then(|rows| rows.get(database));
    rows.and_then(|rows| serde_json::from_value(rows.clone()).ok()).unwrap_or_default()
}

/// Writes the dump of one database into a directory.
async fn fetch(
    cluster: &Cluster,
    manifest: &Manifest,
    database: &str,
    directory: &Path,
) -> Result<(), PhysicalError> {
    let reader = cluster.reader(manifest, 2);
    let root = Root::Dump(Some(database.to_owned()));
    for file in manifest.files.iter().filter(|file| file.root == root) {
        let Some(extent) = file.extent() else { continue };
        let plain =
            Path::new(&file.path).file_name().is_some_and(|name| name.to_str() == Some(file.path.as_str()));
        if !plain {
            return Err(PhysicalError::Stream {
                reason: format!("the name {:?} leads out of the dump", file.path),
            });
        }
        let path = directory.join(&file.path);
        let mut target = File::create(&path).map_err(PhysicalError::at("create", &path))?;
        let mut pieces = reader.read(extent);
        while let Some(piece) = pieces.next().await? {
            target.write_all(&piece).map_err(PhysicalError::at("write", &path))?;
        }
    }
    Ok(())
}

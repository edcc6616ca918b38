//! Dumps databases and stores them as one backup.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde_json::json;

use super::{DumpConfig, GLOBALS, ROWS, UNSEEN, counts, work};
use crate::manifest::{File, Kind, Root, Summary, What};
use crate::physical_error::PhysicalError;
use crate::programs::{self, Programs};
use crate::progress::{Observer, Progress};
use crate::session::Session;
use crate::take::server_facts;
use crate::{ChunkWriter, Extent, Repository, losses};

/// How much of a file is read at a time, in bytes.
const READ_BYTES: usize = 1 << 20;

/// Dumps and publishes. Roles and tablespaces come along, without passwords where the role may not read them.
///
/// # Errors
/// [`PhysicalError`]; nothing is published then. Row security that would hide rows from the role is an error
/// of pg_dump's.
pub async fn dump(
    repository: &Repository,
    config: &DumpConfig,
    observer: &Observer,
) -> Result<Summary, PhysicalError> {
    let mut session = Session::open_for_sql(&config.url, config.dial.as_ref()).await?;
    let major = session.major();
    let facts = server_facts(&mut session).await?;
    let others = "SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY 1";
    let others = session.rows(others).await?;
    session.close().await;
    let programs = Programs::find(major, config.programs.as_deref())?;
    let cluster = repository.cluster(facts.system_identifier);
    let mut draft = cluster.begin(Kind::Logical, facts, None).await?;
    let databases = match config.databases.as_slice() {
        [] => vec![config.url.database().to_owned()],
        named => named.to_vec(),
    };
    let others = others.into_iter().filter_map(|row| row.into_iter().next().flatten());
    let left_out = others.filter(|other| !databases.contains(other));
    let mut unseen: Vec<String> =
        left_out.map(|other| format!("the database {other}, which was not named")).collect();
    let mut store = Stored { writer: draft.writer(config.writer)?, files: Vec::new() };
    match all(config, &programs, &databases, &mut store, &mut unseen, observer).await {
        Ok(rows) => {
            let written = store.writer.finish().await?;
            draft.summary.ended = Utc::now();
            draft.summary.databases = databases;
            draft.summary.label = config.label.clone();
            draft.summary.notes.insert(ROWS.to_owned(), rows);
            draft.summary.notes.insert(losses::COUNTED.to_owned(), json!(config.counts()));
            draft.summary.notes.insert(UNSEEN.to_owned(), json!(unseen));
            draft.summary.notes.insert("tables".to_owned(), json!(config.tables));
            let summary = draft.publish(store.files, written.content).await?;
            for lost in losses::since_the_last(&cluster, &summary).await {
                observer(Progress::Warning(lost));
            }
            Ok(summary)
        }
        Err(error) => {
            drop(store);
            if let Err(left) = draft.abandon().await {
                tracing::warn!(error = %left, "an unfinished backup could not be removed; expiry will");
            }
            Err(error)
        }
    }
}

struct Stored {
    writer: ChunkWriter,
    files: Vec<File>,
}

async fn all(
    config: &DumpConfig,
    programs: &Programs,
    databases: &[String],
    store: &mut Stored,
    unseen: &mut Vec<String>,
    observer: &Observer,
) -> Result<serde_json::Value, PhysicalError> {
    let mut rows = serde_json::Map::new();
    for database in databases {
        observer(Progress::Stage("dumping"));
        let work = work::directory(&config.work_directory)?;
        let directory = work.path().join("dump");
        let counted = one(config, programs, database, &directory, unseen).await?;
        rows.insert(database.clone(), json!(counted));
        observer(Progress::Stage("storing"));
        store.directory(&directory, &Root::Dump(Some(database.clone()))).await?;
    }
    let work = work::directory(&config.work_directory)?;
    let has_passwords = globals(config, programs, databases, &work.path().join(GLOBALS)).await?;
    unseen.extend(
        (!has_passwords).then(|| "the passwords of the roles, which only a superuser may read".to_owned()),
    );
    store.directory(work.path(), &Root::Dump(None)).await?;
    Ok(serde_json::Value::Object(rows))
}

/// Dumps one database into a directory, and counts its rows as the dump sees them.
async fn one(
    config: &DumpConfig,
    programs: &Programs,
    database: &str,
    directory: &Path,
    unseen: &mut Vec<String>,
) -> Result<super::RowCounts, PhysicalError> {
    let url = config.url.clone().with_database(database);
    let mut session = Session::open_for_sql(&url, config.dial.as_ref()).await?;
    session.rows("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let snapshot = session.value("SELECT pg_catalog.pg_export_snapshot()").await?;
    let mut command = programs.command("pg_dump", None);
    work::connect(&mut command, &url, database);
    command.args(["--format=directory", "--compress=0", "--no-password"]).arg("--file").arg(directory);
    command.arg(format!("--jobs={}", config.jobs.max(1))).arg(format!("--snapshot={snapshot}"));
    for table in &config.tables {
        command.arg(format!("--table={table}"));
    }
    let warned = programs::warnings(command).await?;
    unseen.extend(warned.into_iter().map(|warning| format!("{database}: pg_dump warns: {warning}")));
    let foreign = counts::foreign_tables(&mut session).await?;
    unseen.extend(
        foreign.into_iter().map(|table| format!("{database}: the rows of the foreign table {table}")),
    );
    let counted = config.counts();
    if !counted {
        unseen.push(format!("{database}: how many rows its tables had, which nobody counted"));
    }
    let rows = if counted { counts::counts(&mut session).await? } else { Default::default() };
    session.close().await;
    Ok(rows)
}

/// Dumps what belongs to no database; whether the roles' passwords came along.
async fn globals(
    config: &DumpConfig,
    programs: &Programs,
    databases: &[String],
    file: &Path,
) -> Result<bool, PhysicalError> {
    let database = databases.first().map_or("postgres", String::as_str);
    let command = |passwords: bool| {
        let mut command = programs.command("pg_dumpall", None);
        work::connect(&mut command, &config.url, database);
        command.args(["--globals-only", "--no-password", "--database", database]).arg("--file").arg(file);
        if !passwords {
            command.arg("--no-role-passwords");
        }
        command
    };
    // Only a superuser may read the roles' passwords.
    match programs::run(command(true)).await {
        Ok(_) => Ok(true),
        Err(_) => programs::run(command(false)).await.map(|_| false),
    }
}

impl Stored {
    /// Stores the files of a directory.
    async fn directory(&mut self, directory: &Path, root: &Root) -> Result<(), PhysicalError> {
        let entries = fs::read_dir(directory).map_err(PhysicalError::at("read", directory))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.is_file()) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let extent = self.file(&path).await?;
            let modified: DateTime<Utc> = Utc::now();
            self.files.push(File {
                path: name,
                root: root.clone(),
                what: What::File { extent },
                mode: 0o600,
                modified,
            });
        }
        Ok(())
    }

    async fn file(&mut self, path: &Path) -> Result<Extent, PhysicalError> {
        let failed = |path: &Path| PhysicalError::at("read", path);
        let mut file = fs::File::open(path).map_err(failed(path))?;
        let bytes = file.metadata().map_err(failed(path))?.len();
        self.writer.begin_file(bytes).await?;
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer).map_err(failed(path))? {
                0 => return Ok(self.writer.end_file()),
                read => self.writer.write(&buffer[..read]).await?,
            }
        }
    }
}

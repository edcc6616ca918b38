//! Rehearses a dump: a new throw-away server, the roles, each database, and its rows compared with those that
//! were counted when it was dumped.

use std::fs;
use std::time::Instant;

use super::home::Home;
use super::{Rehearsal, RehearseConfig, checks};
use crate::instance::Instance;
use crate::logical::{self, GLOBALS, RestoreDumpConfig, unseen};
use crate::manifest::{Manifest, Root};
use crate::physical_error::PhysicalError;
use crate::programs::{self, Programs};
use crate::progress::{Observer, Progress};
use crate::restore::Owner;
use crate::{BackupError, Cluster};

/// The server's first role. No dump's globals make one of this name.
const SUPERUSER: &str = "db_backup_rehearsal";
/// A database that is there and that nobody dumps.
const MAINTENANCE: &str = "template1";

pub(super) async fn run(
    cluster: &Cluster,
    config: &RehearseConfig,
    manifest: &Manifest,
    observer: &Observer,
    rehearsal: &mut Rehearsal,
) -> Result<(), PhysicalError> {
    let (began, summary) = (Instant::now(), &manifest.summary);
    rehearsal.target = "the dump's own moment".to_owned();
    rehearsal.unseen = unseen(summary);
    let home = Home::below(&config.directory)?;
    let programs = Programs::find(summary.server.version / 10_000, config.programs.as_deref())?;
    let owner = Owner::of(&home.data())?;
    observer(Progress::Stage("making a server"));
    initialize(&programs, &home, owner).await?;
    let mut server = Instance::start(&programs, &home.data(), &home.server()?, SUPERUSER, owner)?;
    server.ready(config.within).await?;
    let mut session = server.session(MAINTENANCE).await?;
    // It is made anew where it was dumped.
    session.rows("DROP DATABASE postgres").await?;
    session.close().await;
    roles(cluster, manifest, &home, &server, owner).await?;
    for database in &summary.databases {
        let into = RestoreDumpConfig {
            database: Some(database.clone()),
            jobs: config.workers,
            programs: Some(programs.directory().to_owned()),
            ..RestoreDumpConfig::new(server.url(MAINTENANCE), database, home.work())
        };
        // Tablespaces name directories of the original's host, and subscriptions would be its own.
        let without = ["--no-tablespaces", "--no-subscriptions"];
        let restored = logical::restore_without(cluster, &summary.id, &into, &without, observer).await?;
        rehearsal.problems.extend(restored.miscounts.iter().map(|one| format!("{database}: {one}")));
    }
    rehearsal.restore_seconds = Some(began.elapsed().as_secs_f64());
    let first = summary.databases.first().map_or(MAINTENANCE, String::as_str);
    let mut session = server.session(first).await?;
    session.value("SELECT 1").await?;
    session.close().await;
    rehearsal.rto_seconds = Some(began.elapsed().as_secs_f64());
    let age = rehearsal.began.signed_duration_since(summary.began);
    rehearsal.rpo_seconds = Some(age.as_seconds_f64().max(0.0));
    observer(Progress::Stage("checking"));
    for check in &config.checks {
        rehearsal.checks.push(checks::ask(&server, check).await);
    }
    if config.amcheck {
        rehearsal.problems.extend(checks::amcheck(&server).await);
    }
    Ok(())
}

async fn initialize(programs: &Programs, home: &Home, owner: Option<Owner>) -> Result<(), PhysicalError> {
    let data = home.data();
    fs::create_dir(&data).map_err(PhysicalError::at("create", &data))?;
    if let Some(owner) = owner {
        owner.own_all(&data)?;
    }
    let mut command = programs.command("initdb", owner);
    command.arg("--pgdata").arg(&data).args(["--username", SUPERUSER, "--auth", "peer"]);
    command.args(["--no-sync", "--encoding", "UTF8", "--locale", "C"]);
    programs::run(command).await.map(drop)
}

/// Makes the roles of the dump, without its tablespaces.
async fn roles(
    cluster: &Cluster,
    manifest: &Manifest,
    home: &Home,
    server: &Instance,
    owner: Option<Owner>,
) -> Result<(), PhysicalError> {
    let mut globals = manifest.files.iter().filter(|file| file.root == Root::Dump(None));
    let globals = globals.find(|file| file.path == GLOBALS).and_then(|file| file.extent());
    let globals = globals.ok_or_else(|| BackupError::missing(GLOBALS))?;
    let text = cluster.reader(manifest, 1).read_to_vec(globals).await?;
    let directory = home.work();
    fs::create_dir(&directory).map_err(PhysicalError::at("create", &directory))?;
    let path = directory.join(GLOBALS);
    fs::write(&path, without_tablespaces(&String::from_utf8_lossy(&text)))
        .map_err(PhysicalError::at("write", &path))?;
    if let Some(owner) = owner {
        owner.own_all(&directory)?;
    }
    let mut command = server.client("psql");
    command.args(["-X", "--quiet", "--dbname", MAINTENANCE, "--set", "ON_ERROR_STOP=1", "--file"]).arg(&path);
    programs::run(command).await?;
    fs::remove_file(&path).map_err(PhysicalError::at("remove", &path))
}

/// pg_dumpall's statements but those about tablespaces, which would write into the original's directories.
fn without_tablespaces(globals: &str) -> String {
    let is_kept = |line: &&str| {
        let begins = ["CREATE ", "ALTER ", "COMMENT ON "]
            .iter()
            .any(|verb| line.strip_prefix(verb).is_some_and(|rest| rest.starts_with("TABLESPACE ")));
        let grants = ["GRANT ", "REVOKE "].iter().any(|verb| line.starts_with(verb));
        !(begins || grants && line.contains(" ON TABLESPACE "))
    };
    globals.lines().filter(is_kept).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_tablespaces() {
        let globals = "CREATE ROLE ann;\nCREATE TABLESPACE fast OWNER ann LOCATION '/srv/fast';\n\
                       ALTER TABLESPACE fast SET (random_page_cost='1');\nGRANT ALL ON TABLESPACE fast TO ann;\n\
                       GRANT ann TO bob;\n";
        assert_eq!(without_tablespaces(globals), "CREATE ROLE ann;\nGRANT ann TO bob;\n");
    }
}

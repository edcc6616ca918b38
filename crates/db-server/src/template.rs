//! Runs initdb once per version and copies the result for every server.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::account::run_as;
use crate::fetch::locked;
use crate::guardian::Guardian;
use crate::password::write_private;
use crate::{Account, DATABASE, Error, Install, Password, Place, Result, SUPERUSER, process};

/// Changed whenever the steps below change, so that templates made by older code are not used.
const GENERATION: u32 = 3;

/// The data directory to copy, made now if this is the first use of this version. Nobody knows its password.
pub(crate) fn template(install: &Install, place: &Place, progress: &dyn Fn(&str)) -> Result<PathBuf> {
    let shelf = place.templates();
    fs::create_dir_all(&shelf).map_err(Error::io("create", &shelf))?;
    let name = name_of(install, place.account());
    let ready = shelf.join(&name);
    if ready.join("PG_VERSION").is_file() {
        return Ok(ready);
    }
    let _lock = locked(&shelf.join(format!("{name}.lock")))?;
    if ready.join("PG_VERSION").is_file() {
        return Ok(ready);
    }
    progress(&format!("initialising a template of PostgreSQL {}", install.version));
    let work = tempfile::Builder::new().prefix(".init-").tempdir_in(&shelf);
    let work = work.map_err(Error::io("create a directory in", &shelf))?;
    let guardian = Guardian::watch(work.path())?;
    let made = make(install, place.account(), work.path())
        .and_then(|data| fs::rename(&data, &ready).map_err(Error::io("rename into place", &ready)));
    guardian.release();
    made?;
    Ok(ready)
}

/// Copies a template; files that the file system can share are shared.
///
/// It ends in a rename: a copy that was cut short is no data directory.
pub(crate) fn copy(template: &Path, data: &Path) -> Result<()> {
    let part = data.with_extension("part");
    let clear =
        || if part.exists() { fs::remove_dir_all(&part).map_err(Error::io("remove", &part)) } else { Ok(()) };
    clear()?;
    let mut sharing = Command::new("cp");
    sharing.args(["-a", "--reflink=auto"]).arg(template).arg(&part);
    if process::run(&mut sharing).is_err() {
        // BSD's cp knows no --reflink; whatever the first try wrote would change where the second one writes.
        clear()?;
        process::run(Command::new("cp").arg("-a").arg(template).arg(&part))?;
    }
    fs::rename(&part, data).map_err(Error::io("rename into place", data))
}

// The same version from another build may differ in its locales or its defaults, so the directory counts too.
fn name_of(install: &Install, account: Option<&Account>) -> String {
    let mut hasher = DefaultHasher::new();
    (&install.bin, GENERATION).hash(&mut hasher);
    let uid = account.map_or_else(|| rustix::process::geteuid().as_raw(), |account| account.uid);
    format!("{}-{uid}-{:08x}", install.version, hasher.finish() as u32)
}

fn make(install: &Install, account: Option<&Account>, work: &Path) -> Result<PathBuf> {
    let (data, password) = (work.join("data"), work.join("password"));
    write_private(&password, Password::random()?.reveal(), account)?;
    if let Some(account) = account {
        account.own(work)?;
    }
    let mut initdb = install.command("initdb");
    initdb.current_dir(work).arg("--pgdata").arg(&data).arg("--pwfile").arg(&password);
    initdb.args(["--username", SUPERUSER, "--auth", "scram-sha-256"]);
    initdb.args(["--encoding", "UTF8", "--locale", "C", "--no-sync"]);
    if install.version.major >= 18 {
        // On by default since 18; they slow down every clone of a test database and protect nothing here.
        initdb.arg("--no-data-checksums");
    }
    run_as(account, &mut initdb);
    process::run(&mut initdb)?;
    single_user(install, account, &data, &[format!("CREATE DATABASE {DATABASE}")])?;
    Ok(data)
}

/// Runs statements on a data directory whose server does not run. A single-user backend needs no port and no
/// password.
pub(crate) fn single_user(
    install: &Install,
    account: Option<&Account>,
    data: &Path,
    statements: &[String],
) -> Result<()> {
    let mut single = install.command("postgres");
    single.current_dir(data).args(["--single", "-F", "-D"]).arg(data).arg("postgres");
    single.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    run_as(account, &mut single);
    let mut child = process::spawn(&mut single)?;
    if let Some(mut stdin) = child.stdin.take() {
        for statement in statements {
            // A backend that ends early says why on standard error, which is what gets reported.
            drop(writeln!(stdin, "{statement}"));
        }
    }
    process::finish(&single, child).map(drop)
}

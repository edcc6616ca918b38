//! pgBackRest itself, beside a server of a test's or a claim's.
//!
//! It is `pgbackrest` on PATH, or what `DB_BACKUP_PGBACKREST` names.

use std::fmt::Write as _;
use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::live::Live;

/// One installation with its configuration.
pub(crate) struct PgBackRest {
    program: PathBuf,
    config: PathBuf,
}

impl PgBackRest {
    /// Which program there is, and its version; `None` where there is none.
    pub(crate) fn program() -> Option<(PathBuf, String)> {
        let program =
            std::env::var_os("DB_BACKUP_PGBACKREST").map_or_else(|| "pgbackrest".into(), PathBuf::from);
        let said = Command::new(&program).arg("version").output().ok()?;
        let version = String::from_utf8_lossy(&said.stdout).trim().replace("pgBackRest ", "");
        said.status.success().then_some((program, version))
    }

    /// Beside this server, with further lines of configuration and these repositories, which it makes.
    pub(crate) fn of(live: &Live, program: PathBuf, settings: &str, repositories: usize) -> PgBackRest {
        let home = live.home.path();
        let address = live.server.address_of(0).unwrap();
        let sub = |name: &str| home.join(format!("peer-{name}"));
        let mut text = String::from("[global]\n");
        for number in 1..=repositories {
            let path = Self::repository(live, number);
            std::fs::create_dir(&path).unwrap();
            own(&path);
            writeln!(text, "repo{number}-path={}", path.display()).unwrap();
        }
        for name in ["log", "lock", "spool"] {
            std::fs::create_dir(sub(name)).unwrap();
            own(&sub(name));
        }
        let show = |path: &Path| path.display().to_string();
        write!(
            text,
            "start-fast=y\narchive-check=n\nlog-level-console=error\nlog-level-file=off\nlog-path={}\nlock-path={}\n\
             spool-path={}\n{settings}\n[main]\npg1-path={}\npg1-port={}\npg1-socket-path={}\npg1-user=postgres\n",
            show(&sub("log")),
            show(&sub("lock")),
            show(&sub("spool")),
            show(&live.server.dir().join("node1")),
            address.port(),
            show(live.server.dir()),
        )
        .unwrap();
        let config = home.join("pgbackrest.conf");
        std::fs::write(&config, text).unwrap();
        let installed = PgBackRest { program, config };
        installed.run(&["stanza-create"]);
        installed
    }

    /// Where a repository of it is.
    pub(crate) fn repository(live: &Live, number: usize) -> PathBuf {
        live.home.path().join(format!("peer-repo{number}"))
    }

    /// Its command line up to the command.
    pub(crate) fn command(&self) -> String {
        format!("{} --config={} --stanza=main", self.program.display(), self.config.display())
    }

    /// Runs it; its seconds.
    pub(crate) fn run(&self, arguments: &[&str]) -> f64 {
        let mut command = Command::new(&self.program);
        command.arg(format!("--config={}", self.config.display())).arg("--stanza=main").args(arguments);
        command.env("PGPASSWORD", db_testkit::password());
        as_the_server(&mut command);
        let began = Instant::now();
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgBackRest {arguments:?}: {said}");
        began.elapsed().as_secs_f64()
    }
}

/// Gives the server's account a directory.
pub(crate) fn own(path: &Path) {
    if let Some(account) = db_server::Account::for_servers().unwrap() {
        lchown(path, Some(account.uid), Some(account.gid)).unwrap();
    }
}

/// Runs a program as the server's account, as pgBackRest is to be run.
fn as_the_server(command: &mut Command) {
    if let Some(account) = db_server::Account::for_servers().unwrap() {
        command.uid(account.uid).gid(account.gid);
    }
}

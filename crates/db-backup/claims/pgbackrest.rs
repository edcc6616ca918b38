//! pgBackRest on a server of these claims: `pgbackrest` on PATH, or what `DB_BACKUP_PGBACKREST` names.

use std::os::unix::fs::lchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::live::Live;

/// A repository of pgBackRest beside ours: encrypted, zstd 3, two processes.
pub(crate) struct PgBackRest {
    program: PathBuf,
    config: PathBuf,
}

impl PgBackRest {
    /// The archive_command of a server whose directory for this is `home`. It may be set before [`new`](Self::new).
    pub(crate) fn push_command(home: &Path) -> String {
        format!("{} --config={} --stanza=main archive-push %p", program().display(), config(home).display())
    }

    /// Makes its repository.
    pub(crate) fn new(live: &Live) -> PgBackRest {
        let home = live.home.path();
        let peer = PgBackRest { program: program(), config: config(home) };
        for name in ["repo", "log", "lock", "spool"] {
            let directory = home.join(format!("pgbackrest-{name}"));
            std::fs::create_dir(&directory).unwrap();
            own(&directory);
        }
        let show = |path: PathBuf| path.display().to_string();
        let sub = |name: &str| show(home.join(format!("pgbackrest-{name}")));
        let text = format!(
            "[global]\nrepo1-path={}\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=swordfish\nrepo1-retention-full=1\n\
             compress-type=zst\ncompress-level=3\nprocess-max=2\nstart-fast=y\narchive-async=y\n\
             log-level-console=error\nlog-level-file=off\nlog-path={}\nlock-path={}\nspool-path={}\n[main]\npg1-path={}\n\
             pg1-port={}\npg1-socket-path={}\npg1-user=postgres\n",
            sub("repo"),
            sub("log"),
            sub("lock"),
            sub("spool"),
            show(live.server.dir().join("node1")),
            live.server.address_of(0).unwrap().port(),
            show(live.server.dir().to_owned()),
        );
        std::fs::write(&peer.config, text).unwrap();
        peer.run(&["stanza-create"]);
        peer
    }

    /// Runs it as the server's account, as it is to be run.
    pub(crate) fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.program);
        command.arg(format!("--config={}", self.config.display())).arg("--stanza=main").args(arguments);
        command.env("PGPASSWORD", db_testkit::password());
        if let Some(account) = db_server::Account::for_servers().unwrap() {
            command.uid(account.uid).gid(account.gid);
        }
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "pgBackRest {arguments:?}: {said}");
    }
}

fn program() -> PathBuf {
    let program = std::env::var_os("DB_BACKUP_PGBACKREST").map_or_else(|| "pgbackrest".into(), PathBuf::from);
    let works = Command::new(&program).arg("version").output().is_ok();
    assert!(works, "pgBackRest is needed: install it, or name it in DB_BACKUP_PGBACKREST");
    program
}

fn config(home: &Path) -> PathBuf {
    home.join("pgbackrest.conf")
}

/// Gives the server's account a directory.
pub(crate) fn own(path: &Path) {
    if let Some(account) = db_server::Account::for_servers().unwrap() {
        lchown(path, Some(account.uid), Some(account.gid)).unwrap();
    }
}

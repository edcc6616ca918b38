//! docs/operations.md is run: every block of shell, in order, against a real server, with what breaks in
//! between.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::DBCTL;

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md"));

/// What is broken, and checked, around the blocks of a section: its heading, before its first block, and
/// after its last.
const AROUND: [(&str, &str, &str); 8] = [
    (
        "Take a backup, and see that it restores",
        "createdb app; psql -d app -c 'CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 1000) g'",
        "",
    ),
    (
        "The server is lost",
        "psql -d app -c 'INSERT INTO orders VALUES (1001)'; archived; pg_ctl stop -D $PGDATA -m immediate; rm -rf $PGDATA",
        "test $(rows) = 1001",
    ),
    (
        "A table was dropped",
        "psql -d app -c 'INSERT INTO orders VALUES (1002)'; psql -XAtc 'SELECT clock_timestamp()' > before; \
         psql -d app -c 'DROP TABLE orders'; archived",
        "test $(rows) = 1002",
    ),
    (
        "A page is corrupted",
        "archived; file=$(psql -d app -XAtc \"SELECT pg_relation_filepath('orders')\"); pg_ctl stop -D $PGDATA -m fast; \
         dd if=/dev/zero of=$PGDATA/$file bs=1 count=24 conv=notrunc status=none; \
         pg_ctl start -D $PGDATA -w -l server.log > /dev/null; ! psql -d app -c 'SELECT count(*) FROM orders'",
        "test $(rows) = 1002",
    ),
    (
        "The key is lost",
        "sed -i '/^BACKUP_ENCRYPTION_KEY=/d' $DBCTL_SETTINGS; ! dbctl backup list",
        "dbctl backup list",
    ),
    ("A disk is full", "", ""),
    ("Another region", "archived", ""),
    ("The repository is lost", "rm -rf store; ! dbctl backup list", "test $(rows) = 1002"),
];

/// What the breaking and the checking use.
pub(crate) const TOOLS: &str = "rows() { psql -d app -XAtc 'SELECT count(*) FROM orders'; }
archived() { segment=$(psql -XAtc 'SELECT pg_walfile_name(pg_switch_wal() - 1)')
  for _ in $(seq 600); do
    test $(psql -XAtc \"SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver\") = t && return; sleep 0.1
  done; echo \"$segment is not archived\" >&2; return 1; }
";

/// The sections of a page that have blocks of shell.
pub(crate) fn sections(page: &str) -> Vec<(&str, Vec<String>)> {
    let mut sections: Vec<(&str, Vec<String>)> = Vec::new();
    let (mut heading, mut block) = ("", None::<String>);
    for line in page.lines() {
        match (line, &mut block) {
            ("```sh", None) => block = Some(String::new()),
            ("```", Some(_)) => {
                if sections.last().is_none_or(|(last, _)| *last != heading) {
                    sections.push((heading, Vec::new()));
                }
                sections.last_mut().unwrap().1.extend(block.take());
            }
            (line, Some(block)) => block.push_str(&format!("{line}\n")),
            (line, None) => heading = line.strip_prefix("### ").unwrap_or(heading),
        }
    }
    sections
}

/// A host with a server, and a shell on it.
pub(crate) struct Host {
    home: tempfile::TempDir,
    bin: PathBuf,
}

impl Host {
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("operations-").tempdir_in("/dev/shm").unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let host = Host { home, bin: db_server::find(None, &|_| ()).unwrap().bin };
        let files = [
            ("dbctl.env", format!("DATABASE_URL=postgresql:///app\nBACKUP_DIR={}\n", host.path("store"))),
            ("second.env", format!("BACKUP_DIR={}\n", host.path("elsewhere"))),
            ("password", db_testkit::password().to_owned()),
        ];
        for (name, text) in files {
            std::fs::write(host.home.path().join(name), text).unwrap();
            std::fs::set_permissions(host.home.path().join(name), std::fs::Permissions::from_mode(0o600))
                .unwrap();
        }
        if let Some(account) = db_server::Account::for_servers().unwrap() {
            for name in [".", "dbctl.env", "second.env", "password"] {
                chown(host.home.path().join(name), Some(account.uid), Some(account.gid)).unwrap();
            }
        }
        host
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    /// Runs a script as the account of the server; what it said where it fails.
    pub(crate) fn shell(&self, what: &str, script: &str) {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.home.path()).env_clear();
        let dbctl = Path::new(DBCTL).parent().unwrap().display();
        command.env("PATH", format!("{}:{dbctl}:/usr/bin:/bin", self.bin.display()));
        command.env("HOME", self.home.path()).env("LC_ALL", "C.UTF-8");
        let before = std::fs::read_to_string(self.home.path().join("before")).unwrap_or_default();
        for (name, value) in [
            ("DBCTL_SETTINGS", self.path("dbctl.env")),
            ("SECOND", self.path("second.env")),
            ("PGDATA", self.path("main")),
            ("COPY", self.path("copy")),
            ("BEFORE", before.trim().to_owned()),
            ("PGHOST", self.home.path().display().to_string()),
            ("PGPORT", "5432".to_owned()),
            ("PGUSER", "postgres".to_owned()),
            ("PGPASSWORD", db_testkit::password().to_owned()),
        ] {
            command.env(name, value);
        }
        if let Some(account) = db_server::Account::for_servers().unwrap() {
            command.uid(account.uid).gid(account.gid);
        }
        let output = command.output().unwrap();
        let log = std::fs::read_to_string(self.home.path().join("server.log")).unwrap_or_default();
        let log: Vec<&str> = log.lines().rev().take(15).collect();
        assert!(
            output.status.success(),
            "{what} ends with {}:\n{script}\n{}{}\nthe server's log, newest first:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            log.join("\n")
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for data in ["main", "copy"] {
            let directory = self.home.path().join(data);
            let pid = std::fs::read_to_string(directory.join("postmaster.pid")).unwrap_or_default();
            let pid = pid.lines().next().and_then(|pid| pid.parse().ok());
            if let Some(stamp) = pid.and_then(db_server::process::Stamp::of) {
                stamp.signal(db_server::process::Signal::Quit);
                db_server::wait_until(std::time::Duration::from_secs(10), || {
                    !directory.join("postmaster.pid").exists()
                });
            }
        }
    }
}

#[test]
fn every_block_of_the_page_does_what_it_says() {
    let host = Host::new();
    host.shell(
        "the server",
        "initdb -D $PGDATA -U postgres -A scram-sha-256 --pwfile=password --no-sync > /dev/null
         echo \"listen_addresses = ''\" >> $PGDATA/postgresql.conf
         echo \"unix_socket_directories = '$PGHOST'\" >> $PGDATA/postgresql.conf
         pg_ctl start -D $PGDATA -w -l server.log > /dev/null",
    );
    let sections = sections(PAGE);
    assert!(sections.len() >= 10, "{sections:?}");
    for (heading, blocks) in &sections {
        let around = AROUND.iter().find(|(of, ..)| of == heading);
        if let Some((_, before, _)) = around {
            host.shell(&format!("what breaks before {heading:?}"), &format!("{TOOLS}{before}"));
        }
        for block in blocks {
            host.shell(&format!("a block of {heading:?}"), block);
        }
        if let Some((_, _, after)) = around {
            host.shell(&format!("what must hold after {heading:?}"), &format!("{TOOLS}{after}"));
        }
    }
    let known = |heading: &str| sections.iter().any(|(of, _)| *of == heading);
    assert!(AROUND.iter().all(|(heading, ..)| known(heading)), "a section was renamed");
}

//! A cluster as Debian's pg_createcluster makes it: configuration in /etc/postgresql, data elsewhere.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use db_backup::rehearse::{Check, Expect, RehearseConfig, rehearse};
use db_backup::take::{TakeConfig, take};
use db_backup::{Keys, Protection, Repository, Root, Store};

/// A cluster that is dropped with its value.
struct Debian {
    name: String,
}

impl Debian {
    const PASSWORD: &str = "for-this-test-only";

    fn create(home: &Path, port: u16) -> Debian {
        let name = format!("dbbackup{}", std::process::id());
        let passwords = home.join("password");
        std::fs::write(&passwords, Self::PASSWORD).unwrap();
        std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(0o644)).unwrap();
        let cluster = Debian { name };
        let mut create = Command::new("/usr/bin/pg_createcluster");
        create.args(["15", &cluster.name, "--port", &port.to_string(), "--datadir"]).arg(home.join("data"));
        create.arg("--socketdir").arg(home).args([
            "--",
            "--auth=scram-sha-256",
            "--data-checksums",
            "--pwfile",
        ]);
        create.arg(passwords);
        run(&mut create);
        run(Command::new("/usr/bin/pg_ctlcluster").args(["15", &cluster.name, "start"]));
        cluster
    }
}

impl Drop for Debian {
    fn drop(&mut self) {
        let _ = Command::new("/usr/bin/pg_dropcluster").args(["--stop", "15", &self.name]).status();
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

/// Whether this is root on a Debian that has PostgreSQL 15: nobody else may make clusters.
fn can_create() -> bool {
    rustix::process::geteuid().is_root()
        && Path::new("/usr/bin/pg_createcluster").exists()
        && Path::new("/usr/lib/postgresql/15/bin/initdb").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn debians_own_layout_is_backed_up_with_its_configuration_and_rehearsed() {
    if !can_create() {
        return db_server::skip::this_test("it needs root on a Debian with PostgreSQL 15");
    }
    let home = tempfile::Builder::new().prefix("db-backup-").tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let port = db_server::free_port().unwrap();
    let _debian = Debian::create(home.path(), port);
    let store = Store::local(home.path().join("store")).unwrap();
    let (repository, _) = Repository::init(store, &Keys::generate(), Protection::Encrypted).await.unwrap();
    let url = format!("postgres://postgres:{}@127.0.0.1:{port}/postgres", Debian::PASSWORD);
    let taken = take(&repository, &TakeConfig::new(url.parse().unwrap()), &|_| ()).await.unwrap();
    let cluster = repository.cluster(taken.summary.server.system_identifier);
    let manifest = cluster.manifest(&taken.summary.id).await.unwrap();
    let has =
        |root: Root, path: &str| manifest.files.iter().any(|file| file.root == root && file.path == path);
    assert!(has(Root::Config, "postgresql.conf") && has(Root::Config, "pg_hba.conf"), "{:?}", taken.warnings);
    assert!(!has(Root::Data, "postgresql.conf"));
    let config = RehearseConfig {
        target: db_backup::restore::Target::Consistent,
        checks: vec![Check {
            name: "it answers".to_owned(),
            database: "postgres".to_owned(),
            sql: "SELECT current_setting('data_checksums')".to_owned(),
            expect: Expect::Equals("on".to_owned()),
        }],
        ..RehearseConfig::below(home.path().join("rehearsals"))
    };
    let rehearsal = rehearse(&cluster, &config, &|_| ()).await.unwrap();
    assert!(rehearsal.holds(), "{rehearsal:#?}");
}

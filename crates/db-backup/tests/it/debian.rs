//! A cluster as Debian's pg_createcluster makes it: configuration in /etc/postgresql, data elsewhere.

use std::os::unix::fs::PermissionsExt;

use db_backup::rehearse::{Check, Expect, RehearseConfig, rehearse};
use db_backup::take::{TakeConfig, take};
use db_backup::{Keys, Protection, Repository, Root, Store};
use db_testkit::Debian;

#[tokio::test(flavor = "multi_thread")]
async fn debians_own_layout_is_backed_up_with_its_configuration_and_rehearsed() {
    if !Debian::is_possible() {
        return db_server::skip::this_test("it needs root on a Debian with PostgreSQL 15");
    }
    let home = tempfile::Builder::new().prefix("db-backup-").tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let debian = Debian::create(home.path());
    let store = Store::local(home.path().join("store")).unwrap();
    let (repository, _) = Repository::init(store, &Keys::generate(), Protection::Encrypted).await.unwrap();
    let taken = take(&repository, &TakeConfig::new(debian.url().parse().unwrap()), &|_| ()).await.unwrap();
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

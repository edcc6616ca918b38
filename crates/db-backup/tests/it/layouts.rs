//! Backups of servers that are laid out otherwise: tablespaces, configuration elsewhere, standbys, damaged
//! pages.

use std::os::unix::fs::{PermissionsExt, lchown};

use db_backup::restore::{RestoreConfig, Target};
use db_backup::take::{TakeConfig, take};
use db_backup::{PhysicalError, Root};

use crate::live::Live;

#[tokio::test(flavor = "multi_thread")]
async fn a_tablespace_goes_where_it_is_told() {
    let live = Live::start(None, &[]).await;
    let space = live.home.path().join("space");
    std::fs::create_dir(&space).unwrap();
    if let Some(account) = db_server::Account::for_servers().unwrap() {
        lchown(&space, Some(account.uid), Some(account.gid)).unwrap();
    }
    live.run(&format!("CREATE TABLESPACE space LOCATION '{}'", space.display())).await;
    live.run("CREATE TABLE numbers TABLESPACE space AS SELECT n FROM generate_series(1, 5000) AS n").await;
    let taken = live.take().await;
    let known = &taken.summary.tablespaces[0];
    assert_eq!((known.name.as_deref(), known.location.as_str()), (Some("space"), space.to_str().unwrap()));
    live.archive().await;
    let plain = live.restore_to("restored", Target::Latest);
    let refused = live.restored(&plain).await.err().unwrap();
    assert!(matches!(refused, PhysicalError::TablespaceInUse { .. }), "{refused}");
    let elsewhere = live.home.path().join("elsewhere");
    let mapped = RestoreConfig { tablespaces: [(known.oid, elsewhere.clone())].into(), ..plain };
    let mut restored = live.restored(&mapped).await.unwrap();
    assert_eq!(restored.text("SELECT count(*) FROM numbers"), "5000");
    let location =
        restored.psql("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space'");
    assert_eq!(location, elsewhere.to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_of_an_idle_primary_is_backed_up_at_once() {
    let live = Live::start_with(None, &[], 1).await;
    live.run("CREATE TABLE numbers AS SELECT n FROM generate_series(1, 700) AS n").await;
    live.server.wait_until_caught_up(1).await.unwrap();
    let config = TakeConfig::new(live.server.url_of(1).unwrap().parse().unwrap());
    let taken = take(&live.repository, &config, &|_| ()).await.unwrap();
    assert!(taken.summary.server.standby);
    assert_eq!(taken.summary.notes["wal_included"], true);
    let mut restored = live.restored(&live.restore_to("restored", Target::Consistent)).await.unwrap();
    assert_eq!(restored.text("SELECT count(*) FROM numbers"), "700");
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_outside_the_data_directory_comes_along() {
    let live = Live::start(None, &[]).await;
    let etc = live.home.path().join("etc");
    std::fs::create_dir(&etc).unwrap();
    std::fs::set_permissions(&etc, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(
        etc.join("pg_hba.conf"),
        "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n",
    )
    .unwrap();
    live.run(&format!("ALTER SYSTEM SET hba_file = '{}'", etc.join("pg_hba.conf").display())).await;
    live.server.restart(0).await.unwrap();
    let taken = live.take().await;
    let manifest = live.cluster().await.manifest(&taken.summary.id).await.unwrap();
    let file = manifest.files.iter().find(|file| file.root == Root::Config).unwrap();
    assert_eq!(file.path, "pg_hba.conf");
    let config_directory = Some(live.home.path().join("etc.restored"));
    let config = RestoreConfig { config_directory, ..live.restore_to("restored", Target::Consistent) };
    let plan = db_backup::restore::plan(&live.cluster().await, &config).await.unwrap();
    db_backup::restore::apply(&live.cluster().await, &config, &plan, &|_| ()).await.unwrap();
    let content = std::fs::read_to_string(live.home.path().join("etc.restored/pg_hba.conf")).unwrap();
    assert!(content.starts_with("local all all"), "{content}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_page_is_told_and_the_backup_is_kept() {
    let live = Live::start(None, &[]).await;
    if live.text("SELECT current_setting('data_checksums') AS t").await != "on" {
        // The kit's template has none: they are switched on while the server is down.
        live.server.stop(0, db_server::Stop::Fast).await.unwrap();
        let bin = db_server::find(None, &|_| ()).unwrap().bin;
        let mut enable = std::process::Command::new(bin.join("pg_checksums"));
        enable.arg("--enable").arg("-D").arg(live.server.dir().join("node1"));
        if let Some(account) = db_server::Account::for_servers().unwrap() {
            std::os::unix::process::CommandExt::uid(&mut enable, account.uid);
        }
        db_server::process::run(&mut enable).unwrap();
        live.server.start(0).await.unwrap();
    }
    live.run("CREATE TABLE numbers AS SELECT n FROM generate_series(1, 50000) AS n; CHECKPOINT").await;
    let good = live.take().await;
    assert_eq!(good.summary.bad_pages, [], "a whole server has none");
    let path = live.text("SELECT pg_relation_filepath('numbers') AS t").await;
    live.server.stop(0, db_server::Stop::Fast).await.unwrap();
    let file = live.server.dir().join("node1").join(&path);
    let mut content = std::fs::read(&file).unwrap();
    content[3 * 8192 + 4000] ^= 1;
    std::fs::write(&file, content).unwrap();
    live.server.start(0).await.unwrap();
    let taken = live.take().await;
    let found: Vec<(String, u64)> =
        taken.summary.bad_pages.iter().map(|bad| (bad.path.clone(), bad.block)).collect();
    assert_eq!(found, [(path, 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_is_told_why() {
    let live = Live::start(None, &[]).await;
    live.run("CREATE ROLE ann LOGIN PASSWORD 'pw'").await;
    let url = live.server.primary_url();
    let (_, rest) = url.split_once('@').unwrap();
    let config = TakeConfig::new(format!("postgres://ann:pw@{rest}").parse().unwrap());
    let refused = take(&live.repository, &config, &|_| ()).await.unwrap_err();
    assert!(
        refused.to_string().contains("42501") || refused.to_string().contains("replication"),
        "{refused}"
    );
    assert!(live.repository.clusters().await.unwrap().is_empty(), "nothing was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_roles_timeouts_do_not_end_a_backup() {
    let live = Live::start(None, &[]).await;
    let timeouts =
        ["statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"];
    // In one message: what they do to the role's next session is the point.
    let all: Vec<String> =
        timeouts.iter().map(|name| format!("ALTER ROLE postgres SET {name} = '1ms'")).collect();
    live.run(&all.join("; ")).await;
    assert_eq!(live.take().await.summary.bad_pages, []);
}

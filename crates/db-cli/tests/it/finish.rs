//! A restored server says which point it has reached, and loses the settings of the restore then, and never
//! before.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use db_testkit::{Debian, Restored};
use serde_json::Value;

use crate::server::{Live, with_settings};

const FILL: &str = "CREATE TABLE orders AS SELECT g AS id FROM generate_series(1, 100) g";

fn settings_in(data: &Path) -> String {
    std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap()
}

/// A server whose table of orders had another row between the backup and the end of its log.
async fn with_a_backup() -> Live {
    let live = Live::start("").await;
    live.json(&["backup", "init"]).await;
    live.run(FILL).await;
    live.json(&["backup", "take"]).await;
    live.run("INSERT INTO orders VALUES (101)").await;
    live.archive().await;
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_waits_says_what_was_reached_and_tidies_up_then() {
    let live = with_a_backup().await;
    let data = live.path("copy");
    let to = data.to_str().unwrap();
    let early = live.dbctl(&["backup", "finish", "--to", to]).await;
    assert!(early.code == Some(1) && early.err.contains("start it"), "{}", early.err);
    let shutdown = live.dbctl(&["backup", "restore", "--to", to, "--wait", "1s", "--then", "shutdown"]).await;
    assert!(shutdown.code == Some(1) && shutdown.err.contains("--then pause"), "{}", shutdown.err);

    let restore = ["backup", "restore", "--to", to, "--in-place", "--yes", "--wait", "10m"];
    let waits = live.json(&restore);
    let starts = async {
        // The operator starts it when the files are there.
        while !data.join("global/pg_control").exists() || data.join("db-backup.unfinished").exists() {
            tokio::task::yield_now().await;
        }
        assert!(settings_in(&data).contains("\nhot_standby = 'off'\n"));
        assert!(settings_in(&data).contains("\nbgwriter_delay = '10ms'\n"));
        Restored::start(&data, "app")
    };
    let (finished, mut server): (Value, Restored) = tokio::join!(waits, starts);
    assert_eq!(finished["reached"]["timeline"], 2, "{finished}");
    assert!(finished["reached"]["newest_commit"].is_string(), "{finished}");
    assert_eq!(finished["tidied"]["tidied"], "removed", "{finished}");
    assert_eq!(server.text("SELECT count(*) FROM orders"), "101");
    assert!(!data.join("pg_wal/.fetched-ahead").exists(), "what was fetched ahead is left behind");
    let left = settings_in(&data);
    assert!(!left.contains("hot_standby") && !left.contains("recovery_target"), "{left}");
    assert!(finished["at_risk"]["indexes"].as_array().is_some_and(Vec::is_empty), "{finished}");
    // Those that it can take without being started again, it was told of.
    db_testkit::until("the background writer is as it was", async || {
        server.psql("SHOW bgwriter_delay") == "200ms"
    })
    .await;

    // Started again, it has the server's own settings.
    drop(server);
    let mut again = Restored::start(&data, "app");
    assert_eq!(again.text("SHOW hot_standby"), "on");
    let twice = live.json(&["backup", "finish", "--to", to]).await;
    assert_eq!(twice["tidied"]["tidied"], "nothing", "{twice}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_waits_at_its_target_keeps_the_settings_of_the_restore() {
    let live = with_a_backup().await;
    let lsn = live.ask("pg_current_wal_lsn()").await;
    live.run("DROP TABLE orders").await;
    live.archive().await;
    let data = live.path("copy");
    let to = data.to_str().unwrap();
    let target = ["--lsn", &lsn, "--exclusive", "--then", "pause", "--yes"];
    live.json(&[&["backup", "restore", "--to", to], &target[..]].concat()).await;
    let mut server = Restored::start(&data, "app");
    let finish = ["backup", "finish", "--to", to, "--wait", "10m"];
    let paused = live.json(&finish).await;
    assert_eq!((&paused["reached"]["takes_writes"], &paused["tidied"]), (&false.into(), &Value::Null));
    assert!(settings_in(&data).contains("recovery_target_lsn"), "{}", settings_in(&data));
    assert_eq!(server.psql("SELECT count(*) FROM orders"), "101");

    // ALTER SYSTEM forgets whose the settings are: they are named, and left.
    server.psql("SELECT pg_wal_replay_resume()");
    server.ready().unwrap();
    server.text("ALTER SYSTEM SET work_mem = '8MB'");
    let named = live.dbctl(&finish).await;
    assert!(named.code == Some(3) && named.out.contains("ALTER SYSTEM RESET"), "{}{}", named.out, named.err);
    assert!(settings_in(&data).contains("recovery_target_lsn"), "{}", settings_in(&data));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debians_own_layout_is_restored_in_place_and_finished() {
    if !Debian::is_possible() {
        return db_server::skip::this_test("it needs root on a Debian with PostgreSQL 15");
    }
    let home = tempfile::Builder::new().prefix("dbctl-").tempdir_in("/dev/shm").unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let debian = Debian::create(home.path());
    let (settings, store) = (home.path().join("dbctl.env"), home.path().join("store"));
    let text = format!(
        "DATABASE_URL={}\nBACKUP_DIR={}\nBACKUP_ENCRYPTION_KEY=correct horse battery staple\n",
        debian.url(),
        store.display()
    );
    std::fs::write(&settings, text).unwrap();
    let must = async |arguments: &[&str]| {
        let run = with_settings(&settings, arguments).await;
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.out, run.err);
        run.out
    };
    must(&["backup", "init"]).await;
    must(&["backup", "take", "--include-log"]).await;
    debian.ctl("stop");
    let configuration = std::fs::read_to_string(debian.configuration().join("postgresql.conf")).unwrap();
    std::fs::remove_dir_all(debian.data()).unwrap();
    let to = debian.data().to_str().unwrap();
    must(&["backup", "restore", "--to", to, "--in-place", "--consistent", "--yes"]).await;
    let kept = std::fs::read_to_string(debian.configuration().join("postgresql.conf")).unwrap();
    assert_eq!(kept, configuration, "what lies outside is left as it is");
    debian.ctl("start");
    let said = must(&["backup", "finish", "--to", to, "--wait", "10m"]).await;
    assert!(said.contains("takes writes on timeline 2") && said.contains("taken out"), "{said}");
    let left = settings_in(debian.data());
    assert!(!left.contains("hot_standby") && !left.contains("recovery_target"), "{left}");
}

//! Backups as an operator takes, looks at, restores and removes them.

use db_testkit::Restored;
use serde_json::Value;

use crate::server::Live;
use crate::{Run, dbctl};

const FILL: &str = "CREATE TABLE orders (id int PRIMARY KEY, placed timestamptz DEFAULT clock_timestamp()); \
                    INSERT INTO orders SELECT generate_series(1, 1000)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_comes_back_to_the_second_before() {
    let live = Live::start("").await;
    let made = live.json(&["backup", "init"]).await;
    assert!(made["keys"]["backup_recovery_key"].as_str().unwrap().starts_with("AGE-SECRET-KEY-"), "{made}");
    assert!(made["keys"].get("backup_encryption_key").is_none(), "the operator has it already: {made}");
    live.run(FILL).await;
    let taken = live.json(&["backup", "take", "--label", "before the release"]).await;
    let id = taken["backup"]["id"].as_str().unwrap().to_owned();
    live.run("INSERT INTO orders SELECT generate_series(1001, 1500)").await;
    let before =
        live.ask("to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')").await;
    live.run("DROP TABLE orders").await;
    live.archive().await;

    let listed = live.dbctl(&["backup", "list"]).await;
    assert!(listed.out.contains(&id) && listed.out.contains("before the release"), "{}", listed.out);
    let info = live.dbctl(&["backup", "info", &id[..12]]).await;
    assert!(
        info.code == Some(0) && info.out.contains("label        before the release"),
        "{}{}",
        info.out,
        info.err
    );

    let copy = live.path("copy");
    let to = copy.to_str().unwrap();
    let target = ["backup", "restore", "--to", to, "--time", &before];
    let plan = live.json(&[&target[..], &["--plan"]].concat()).await;
    assert_eq!((plan["backup"].as_str(), plan["timeline"].as_u64()), (Some(&*id), Some(1)), "{plan}");
    assert!(!copy.exists(), "a plan touches nothing");
    let refused = live.dbctl(&target).await;
    assert!(refused.code == Some(1) && refused.err.contains("--yes"), "{}", refused.err);
    assert!(refused.err.contains(&format!("restore {id} to {to}")), "{}", refused.err);
    assert!(!copy.exists(), "nobody has agreed");
    let restored = live.dbctl(&[&target[..], &["--yes"]].concat()).await;
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    let info = live.json(&["backup", "info"]).await;
    let audit = info["clusters"][0]["audit"].as_array().unwrap();
    let actions: Vec<_> = audit.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["take", "restore"], "{info}");
    assert!(restored.out.contains("start the server"), "{}", restored.out);
    let mut server = Restored::start(&copy, "app");
    assert_eq!(server.text("SELECT count(*) FROM orders"), "1500");

    // The copy is in use now, and another target cannot be reached.
    let busy = live.dbctl(&["backup", "restore", "--to", to, "--yes", "--force"]).await;
    assert_eq!(busy.code, Some(7), "{}", busy.err);
    let early =
        live.dbctl(&["backup", "restore", "--to", "/dev/shm/no", "--time", "2020-01-01T00:00:00Z", "--yes"]);
    assert_eq!(early.await.code, Some(4));
    let vague =
        live.dbctl(&["backup", "restore", "--to", "/dev/shm/no", "--time", "2026-01-01 00:00:00"]).await;
    assert!(vague.err.contains("no time with a zone"), "{}", vague.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_or_missing_is_told_by_the_exit_status() {
    let live = Live::start("").await;
    live.json(&["backup", "init"]).await;
    live.run(FILL).await;
    live.json(&["backup", "take"]).await;
    live.archive().await;
    let verified = live.json(&["backup", "verify"]).await;
    assert_eq!(verified["clusters"][0]["findings"].as_array().map(Vec::len), Some(0), "{verified}");
    let status = live.dbctl(&["wal", "status"]).await;
    assert_eq!(status.code, Some(0), "{}{}", status.out, status.err);
    assert!(status.out.contains("TIMELINE") && status.out.contains("the server writes at"), "{}", status.out);
    let old = live.dbctl(&["backup", "verify", "--quick", "--max-age", "1ms"]).await;
    assert!(old.code == Some(3) && old.out.contains("the newest backup ended"), "{}", old.out);

    let store = live.path("store");
    let wrong = [("BACKUP_DIR", store.to_str().unwrap()), ("BACKUP_ENCRYPTION_KEY", "not the passphrase")];
    let wrong = dbctl(&wrong, &["backup", "list"]).await;
    assert!(wrong.code == Some(1) && wrong.err.contains("opens none"), "{}", wrong.err);
    assert!(!wrong.err.contains("not the passphrase"), "{}", wrong.err);

    let pack = find(&live.path("store"), "packs");
    let mut bytes = std::fs::read(&pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&pack, bytes).unwrap();
    let verified = live.dbctl(&["backup", "verify"]).await;
    assert!(verified.code == Some(3) && verified.out.contains("wrong "), "{}{}", verified.out, verified.err);
    let to = live.path("copy");
    let restored = live.dbctl(&["backup", "restore", "--to", to.to_str().unwrap(), "--yes"]).await;
    assert_eq!(restored.code, Some(3), "{}{}", restored.out, restored.err);
}

/// The largest file below a directory whose path holds `part`.
fn find(below: &std::path::Path, part: &str) -> std::path::PathBuf {
    let mut found: Vec<(u64, std::path::PathBuf)> = Vec::new();
    let mut directories = vec![below.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.to_string_lossy().contains(part) {
                found.push((entry.metadata().unwrap().len(), path));
            }
        }
    }
    found.sort();
    found.pop().unwrap_or_else(|| panic!("no {part} below {}", below.display())).1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_expire_are_deleted_and_are_copied() {
    let live = Live::start("BACKUP_RETENTION_DAYS=0\nBACKUP_KEEP_LAST=1").await;
    live.json(&["backup", "init"]).await;
    let id = async |arguments: &[&str]| {
        let taken = live.json(&[&["backup", "take"], arguments].concat()).await;
        taken["backup"]["id"].as_str().unwrap().to_owned()
    };
    let (first, pinned, last) = (id(&[]).await, id(&["--pin"]).await, id(&[]).await);
    let plan = live.json(&["backup", "expire", "--plan"]).await;
    assert_eq!(plan["remove"], serde_json::json!([first]), "{plan}");
    let refused = live.dbctl(&["backup", "expire"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("--yes"), "{}", refused.err);
    let expired = live.json(&["backup", "expire", "--yes"]).await;
    assert_eq!(expired["marked"], serde_json::json!([first]), "{expired}");

    let second = live.path("second.env");
    let elsewhere = live.path("elsewhere");
    let text =
        format!("BACKUP_DIR={}\nBACKUP_ENCRYPTION_KEY=another horse, another staple\n", elsewhere.display());
    std::fs::write(&second, text).unwrap();
    let other = async |arguments: &[&str]| -> Run {
        dbctl(&[], &[&["--settings", second.to_str().unwrap(), "--json"], arguments].concat()).await
    };
    assert_eq!(other(&["backup", "init"]).await.code, Some(0));
    let copied = live.json(&["backup", "copy", "--into", second.to_str().unwrap()]).await;
    assert_eq!(copied["backups"].as_array().map(Vec::len), Some(2), "{copied}");
    let verified = other(&["backup", "verify"]).await;
    assert_eq!(verified.code, Some(0), "{}{}", verified.out, verified.err);

    let deleted = live.json(&["backup", "delete", &pinned, "--yes"]).await;
    assert_eq!(deleted["removed"], pinned.as_str());
    let left: Value = live.json(&["backup", "list"]).await;
    let ids: Vec<_> =
        left["clusters"][0]["backups"].as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, [last.as_str()], "{left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsal_measures_and_fails_where_an_assertion_does() {
    let live = Live::start("").await;
    live.json(&["backup", "init"]).await;
    live.run(FILL).await;
    live.json(&["backup", "take"]).await;
    live.archive().await;
    let scratch = live.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let rehearse =
        ["backup", "rehearse", "--database", "app", "--scratch", scratch.to_str().unwrap(), "--assert"];
    let good = live.json(&[&rehearse[..], &["SELECT count(*) = 1000 FROM orders"]].concat()).await;
    assert!(good["rto_seconds"].as_f64().unwrap() > 0.0, "{good}");
    let bad = live.dbctl(&[&rehearse[..], &["SELECT count(*) = 7 FROM orders"]].concat()).await;
    assert!(bad.code == Some(3) && bad.out.contains("DOES NOT RESTORE"), "{}{}", bad.out, bad.err);
}

#[tokio::test]
async fn files_of_the_log_are_refused_with_the_status_that_the_server_expects() {
    let home = tempfile::tempdir().unwrap();
    let store = home.path().join("store");
    let at =
        [("BACKUP_DIR", store.to_str().unwrap()), ("BACKUP_ENCRYPTION_KEY", "correct horse battery staple")];
    let fetch = ["wal", "fetch", "000000010000000000000001", "pg_wal/RECOVERYXLOG"];
    // No repository is no answer: recovery must not end here.
    let fetched = dbctl(&at, &fetch).await;
    assert_eq!(fetched.code, Some(200), "{}", fetched.err);
    let pushed = dbctl(&at, &["wal", "push", "/no/such/pg_wal/000000010000000000000001"]).await;
    assert!((1..=120).contains(&pushed.code.unwrap()), "{:?} {}", pushed.code, pushed.err);
    assert!(!pushed.err.contains("correct horse"), "{}", pushed.err);
    let keyless = dbctl(&at[..1], &fetch).await;
    assert!(
        keyless.code == Some(200) && keyless.err.contains("BACKUP_ENCRYPTION_KEY is not set"),
        "{}",
        keyless.err
    );
}

#[tokio::test]
async fn keys_can_go_into_a_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let (store, keys) = (home.path().join("store"), home.path().join("keys"));
    let at = [("BACKUP_DIR", store.to_str().unwrap())];
    let made = dbctl(&at, &["backup", "init", "--keys-to", keys.to_str().unwrap()]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(!made.out.contains("AGE-SECRET-KEY"), "{}", made.out);
    let text = std::fs::read_to_string(&keys).unwrap();
    assert!(
        text.starts_with("BACKUP_ENCRYPTION_KEY=AGE-SECRET-KEY-")
            && text.contains("\nBACKUP_WRITER_KEY=dbw1-")
    );
    assert_eq!(std::fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o600);
    // The file is one of settings, too.
    let listed = dbctl(&at, &["--settings", keys.to_str().unwrap(), "backup", "list"]).await;
    assert_eq!(
        (listed.code, &*listed.out),
        (Some(0), "no backups; `dbctl backup take` takes one\n"),
        "{}",
        listed.err
    );
    let again = dbctl(&at, &["--settings", keys.to_str().unwrap(), "backup", "init"]).await;
    assert!(again.code == Some(1) && again.err.contains("there is a repository"), "{}", again.err);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_comes_back_beside_the_original_and_its_rows_are_compared() {
    let live = Live::start("").await;
    live.json(&["backup", "init"]).await;
    live.run(FILL).await;
    let none = live.dbctl(&["backup", "restore", "--into", "copy"]).await;
    assert!(none.code == Some(1) && none.err.contains("`dbctl backup take`"), "{}", none.err);
    let taken = live.json(&["backup", "take", "--logical", "--label", "a dump"]).await;
    assert_eq!(taken["backup"]["kind"], "logical", "{taken}");
    live.run("DROP TABLE orders").await;
    let restored = live.json(&["backup", "restore", "--into", "copy"]).await;
    assert_eq!(restored["miscounts"], serde_json::json!([]), "{restored}");
    assert!(restored["compared"].as_u64().unwrap() >= 1, "{restored}");
    let scratch = live.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let rehearse = ["backup", "rehearse", "--logical", "--scratch", scratch.to_str().unwrap(), "--assert"];
    let good = live.json(&[&rehearse[..], &["SELECT count(*) = 1000 FROM orders"]].concat()).await;
    assert!(good["rto_seconds"].as_f64().unwrap() > 0.0, "{good}");
    assert!(good["unseen"].to_string().contains("the database postgres"), "{good}");
    let bad = live.dbctl(&[&rehearse[..], &["SELECT count(*) = 7 FROM orders"]].concat()).await;
    assert!(bad.code == Some(3) && bad.out.contains("not in the dump: "), "{}{}", bad.out, bad.err);
    let twice = live.dbctl(&["backup", "restore", "--into", "copy"]).await;
    assert!(twice.code == Some(1) && twice.err.contains("already exists"), "{}", twice.err);
}

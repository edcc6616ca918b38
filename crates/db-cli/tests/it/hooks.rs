//! The operator's hooks: what they are told and not told, what a failure of either does, and their time
//! limit.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use db_server::process::Stamp;

use crate::run::dbctl;
use crate::server::{Live, with_settings};

/// What a hook has written of its environment.
fn environment(file: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(file).unwrap();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().filter_map(pair).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hooks_are_told_the_outcome_and_no_secret_and_stop_or_report() {
    // What they write goes below the directory of the settings.
    let hooks = "BACKUP_HOOK_BEFORE=cd ${DBCTL_SETTINGS%/*} && test ! -e refuse && env > before\n\
                 BACKUP_HOOK_AFTER=cd ${DBCTL_SETTINGS%/*} && env > after && test ! -e sour && echo done\n\
                 BACKUP_RETENTION_DAYS=0\nBACKUP_KEEP_LAST=1";
    let live = Live::start(hooks).await;
    let settings = live.path("dbctl.env");
    let secret = db_testkit::password();
    let variables = [("DBCTL_SETTINGS", settings.to_str().unwrap()), ("AWS_SECRET_ACCESS_KEY", secret)];
    let run = async |arguments: &[&str]| dbctl(&variables, arguments).await;
    assert_eq!(run(&["backup", "init"]).await.code, Some(0));
    let taken = run(&["--json", "backup", "take"]).await;
    assert_eq!(taken.code, Some(0), "{}", taken.err);
    // What a hook prints is no part of the result.
    let taken: serde_json::Value = serde_json::from_str(&taken.out).unwrap();

    let (before, after) = (environment(&live.path("before")), environment(&live.path("after")));
    let said = |of: &BTreeMap<String, String>, name: &str| of.get(name).cloned().unwrap_or_default();
    assert_eq!(
        (said(&before, "DBCTL_HOOK"), said(&before, "DBCTL_COMMAND")),
        ("before".into(), "take".into())
    );
    assert_eq!(
        (said(&after, "DBCTL_STATUS"), said(&after, "DBCTL_ERROR")),
        ("succeeded".into(), String::new())
    );
    assert_eq!(said(&after, "DBCTL_BACKUP"), taken["backup"]["id"]);
    for one in [&before, &after] {
        let text = format!("{one:?}");
        assert!(!text.contains(secret) && !text.contains("correct horse"), "{text}");
    }

    // Work that fails is told, too.
    std::fs::remove_file(live.path("after")).unwrap();
    let failed = run(&["--database-url", "postgres://ann@127.0.0.1:1/app", "backup", "take"]).await;
    assert_eq!(failed.code, Some(1), "{}", failed.err);
    let after = environment(&live.path("after"));
    assert_eq!(said(&after, "DBCTL_STATUS"), "failed");
    assert!(said(&after, "DBCTL_ERROR").contains("127.0.0.1"), "{after:?}");

    let copy = live.path("copy");
    let restore = ["backup", "restore", "--to", copy.to_str().unwrap(), "--consistent", "--yes"];
    assert_eq!(run(&restore).await.code, Some(0));
    assert_eq!(said(&environment(&live.path("after")), "DBCTL_COMMAND"), "restore");
    assert_eq!(run(&["backup", "expire", "--yes"]).await.code, Some(0));
    assert_eq!(said(&environment(&live.path("after")), "DBCTL_COMMAND"), "expire");

    let backups = async || {
        let listed: serde_json::Value =
            serde_json::from_str(&run(&["--json", "backup", "list"]).await.out).unwrap();
        listed["clusters"][0]["backups"].as_array().map_or(0, Vec::len)
    };
    std::fs::write(live.path("sour"), "").unwrap();
    let sour = run(&["backup", "take"]).await;
    assert!(sour.code == Some(1) && sour.err.contains("BACKUP_HOOK_AFTER ended with"), "{}", sour.err);
    assert!(sour.out.contains(" taken in ") && backups().await == 2, "the backup is there: {}", sour.out);

    std::fs::write(live.path("refuse"), "").unwrap();
    std::fs::remove_file(live.path("after")).unwrap();
    let refused = run(&["backup", "take"]).await;
    assert!(
        refused.code == Some(1) && refused.err.contains("BACKUP_HOOK_BEFORE ended with"),
        "{}",
        refused.err
    );
    assert_eq!(backups().await, 2);
    assert!(!live.path("after").exists(), "nothing ran, so nothing is reported afterwards");
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_everything_that_it_has_started() {
    let home = tempfile::tempdir().unwrap();
    let (settings, pid) = (home.path().join("dbctl.env"), home.path().join("pid"));
    let text = format!(
        "DATABASE_URL=postgres://ann@127.0.0.1:1/app\nBACKUP_DIR={}\nBACKUP_HOOK_TIMEOUT=1s\n\
         BACKUP_ENCRYPTION_KEY=correct horse battery staple\nBACKUP_HOOK_BEFORE=sleep 600 & echo $! > {}; wait\n",
        home.path().join("store").display(),
        pid.display()
    );
    std::fs::write(&settings, text).unwrap();
    assert_eq!(with_settings(&settings, &["backup", "init"]).await.code, Some(0));
    let began = Instant::now();
    let run = with_settings(&settings, &["backup", "take"]).await;
    assert!(run.code == Some(1) && run.err.contains("took longer than 1s and was killed"), "{}", run.err);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    let pid = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    assert!(db_server::wait_until(Duration::from_secs(20), || Stamp::of(pid).is_none()), "{pid} lives on");
}

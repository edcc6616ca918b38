//! What `dbctl` says about itself, and what belongs to no area.

use db_testkit::{Cluster, TestDatabase};
use serde_json::Value;

use crate::dbctl;

#[tokio::test]
async fn completions_and_the_manual_are_written_from_the_command_line() {
    for (shell, sign) in [("bash", "_dbctl()"), ("zsh", "#compdef dbctl"), ("fish", "complete -c dbctl")] {
        let completions = dbctl(&[], &["completions", shell]).await;
        assert!(completions.code == Some(0) && completions.out.contains(sign), "{shell}");
        assert!(completions.out.contains("baseline"), "{shell}");
    }
    let page = dbctl(&[], &["man"]).await.out;
    assert!(page.contains(".TH dbctl 1") && page.contains("Exit status: 0 done"), "{page}");
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(dbctl(&[], &["man", "--out", directory.path().to_str().unwrap()]).await.code, Some(0));
    assert!(directory.path().join("dbctl-migrate-apply.1").exists());
}

#[tokio::test]
async fn a_password_on_the_command_line_is_warned_of_and_not_repeated() {
    let database = TestDatabase::empty().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let status = dbctl(&[], &["migrate", "status", "--dir", dir, "--database-url", database.url()]).await;
    assert_eq!((status.code, status.out.as_str()), (Some(0), "0 applied, 0 pending\n"), "{}", status.err);
    assert!(status.err.contains("use --url-file") && !status.err.contains(database.url()), "{}", status.err);
    let both = ["migrate", "status", "--database-url", "postgres://a@b/c", "--url-file", "x"];
    assert_eq!(dbctl(&[], &both).await.code, Some(2));
}

#[tokio::test]
async fn sizes_are_exported_as_json() {
    let database = TestDatabase::empty().await.unwrap();
    let at = [("DATABASE_URL", database.url())];
    assert_eq!(dbctl(&at, &["migrate", "apply"]).await.code, Some(0));
    let printed = dbctl(&at, &["stats", "export"]).await;
    let sizes: Value = serde_json::from_str(&printed.out).unwrap();
    let tables: Vec<_> = sizes["tables"].as_array().unwrap().iter().map(|one| &one["table"]).collect();
    assert!(tables.iter().any(|table| *table == "public.users"), "{tables:?}");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("production.json");
    assert_eq!(dbctl(&at, &["stats", "export", "--out", file.to_str().unwrap()]).await.out, "");
    let written: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(written["tables"], sizes["tables"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topology_says_who_takes_writes_and_what_is_amiss() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (primary, standby) = (cluster.primary_url(), cluster.standby_urls()[0].clone());
    let at = [("DATABASE_URL", &*primary), ("DATABASE_READ_URLS", &*standby)];
    let seen = dbctl(&at, &["topology", "--json"]).await;
    assert_eq!(seen.code, Some(0), "{}", seen.err);
    let seen: Value = serde_json::from_str(&seen.out).unwrap();
    let roles: Vec<_> = seen["nodes"].as_array().unwrap().iter().map(|node| &node["role"]).collect();
    assert_eq!(roles, ["primary", "standby"]);
    assert_eq!(seen["writer"], seen["nodes"][0]["endpoint"]);
    assert_eq!(seen["nodes"][1]["lag_bytes"], 0, "{seen}");

    cluster.kill(1).await.unwrap();
    let seen = dbctl(&at, &["topology"]).await;
    assert_eq!(seen.code, Some(3), "{}", seen.err);
    assert!(seen.out.starts_with("writes go to ") && seen.out.contains(" down"), "{}", seen.out);
}

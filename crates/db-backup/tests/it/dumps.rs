//! Dumps are stored with their counts, and restored into a database beside the original.

use db_backup::Root;
use db_backup::logical::{DumpConfig, RestoreDumpConfig, dump, restore};

use diesel_async::{AsyncConnection, AsyncPgConnection};

use crate::live::{Live, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_restored_beside_the_original_and_its_rows_are_compared() {
    let live = Live::start(None, &[("archive_mode", "off")]).await;
    live.run("CREATE ROLE ann; CREATE TABLE a AS SELECT i, md5(i::text) FROM generate_series(1, 5000) AS i")
        .await;
    live.run("CREATE SCHEMA s; CREATE TABLE s.b (i int PRIMARY KEY); INSERT INTO s.b VALUES (1), (2)").await;
    let work = live.home.path().join("work");
    let config = DumpConfig::new(live.config().url, &work);
    let taken = dump(&live.repository, &config, &|_| ()).await.unwrap();
    assert_eq!(taken.notes["rows"]["app"]["public.a"], 5000);
    live.run("DELETE FROM a WHERE i > 10; INSERT INTO s.b VALUES (3)").await;
    let cluster = live.cluster().await;
    let into = RestoreDumpConfig::new(live.config().url, "beside", &work);
    let restored = restore(&cluster, &taken.id, &into, &|_| ()).await.unwrap();
    assert_eq!((restored.compared, restored.miscounts.len()), (2, 0));
    assert_eq!(live.text("SELECT count(*)::text AS t FROM a").await, "10", "the original is as it was");
    let url = live.server.primary_url().replace("/app", "/beside");
    let mut beside = AsyncPgConnection::establish(&url).await.unwrap();
    assert_eq!(text(&mut beside, "SELECT count(*)::text AS t FROM a").await, "5000");
    let manifest = cluster.manifest(&taken.id).await.unwrap();
    let globals = manifest.files.iter().find(|file| file.root == Root::Dump(None)).unwrap();
    let globals = cluster.reader(&manifest, 1).read_to_vec(globals.extent().unwrap()).await.unwrap();
    assert!(String::from_utf8(globals).unwrap().contains("CREATE ROLE ann"));
    assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0, "no dump is left lying about");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_role_may_not_see_make_the_dump_fail() {
    let live = Live::start(None, &[("archive_mode", "off")]).await;
    live.run("CREATE TABLE a (i int); ALTER TABLE a ENABLE ROW LEVEL SECURITY").await;
    live.run("CREATE ROLE ann LOGIN PASSWORD 'pw'; GRANT SELECT ON a TO ann").await;
    let url = live.server.primary_url();
    let (_, rest) = url.split_once('@').unwrap();
    let work = live.home.path().join("work");
    let config = DumpConfig::new(format!("postgres://ann:pw@{rest}").parse().unwrap(), work);
    let refused = dump(&live.repository, &config, &|_| ()).await.unwrap_err().to_string();
    assert!(refused.contains("row-level security"), "{refused}");
    assert!(live.cluster().await.backups().await.unwrap().whole.is_empty());
}

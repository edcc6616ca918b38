//! Dumps are stored with their counts, and restored into a database beside the original.

use db_backup::logical::{DumpConfig, RestoreDumpConfig, dump, restore};
use db_backup::rehearse::{Check, Expect, Rehearsal, RehearseConfig, rehearse};
use db_backup::{BackupId, Kind, Root, What};

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

async fn rehearsed(live: &Live, id: &BackupId) -> Rehearsal {
    let config = RehearseConfig {
        backup: Some(id.clone()),
        checks: vec![Check {
            name: "numbers".to_owned(),
            database: "app".to_owned(),
            sql: "SELECT count(*) FROM b".to_owned(),
            expect: Expect::Equals("2".to_owned()),
        }],
        workers: 1,
        ..RehearseConfig::below(live.home.path().join("rehearsals"))
    };
    let rehearsal = rehearse(&live.cluster().await, &config, &|_| ()).await.unwrap();
    let left = std::fs::read_dir(live.home.path().join("rehearsals")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a rehearsal leaves nothing behind");
    rehearsal
}

/// The same dump, but for the number of rows that it says a table had.
async fn with_another_count(live: &Live, id: &BackupId) -> BackupId {
    let cluster = live.cluster().await;
    let manifest = cluster.manifest(id).await.unwrap();
    let reader = cluster.reader(&manifest, 1);
    let mut draft = cluster.begin(Kind::Logical, manifest.summary.server.clone(), None).await.unwrap();
    let mut writer = draft.writer(Default::default()).unwrap();
    let mut files = manifest.files.clone();
    for file in &mut files {
        let content = reader.read_to_vec(file.extent().unwrap()).await.unwrap();
        writer.begin_file(content.len() as u64).await.unwrap();
        writer.write(&content).await.unwrap();
        file.what = What::File { extent: writer.end_file() };
    }
    draft.summary.databases = manifest.summary.databases.clone();
    draft.summary.notes = manifest.summary.notes.clone();
    draft.summary.notes.get_mut("rows").unwrap()["app"]["public.b"] = 3.into();
    let written = writer.finish().await.unwrap();
    draft.publish(files, written.content).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_rehearsed_with_its_roles_and_is_red_where_rows_are_missing() {
    let live = Live::start(None, &[("archive_mode", "off")]).await;
    live.run("CREATE ROLE ann LOGIN PASSWORD 'pw'; ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ann")
        .await;
    live.run("CREATE ROLE owner; CREATE TABLE b (i int PRIMARY KEY); ALTER TABLE b OWNER TO owner").await;
    live.run("INSERT INTO b VALUES (1), (2)").await;
    let url = live.server.primary_url();
    let (_, rest) = url.split_once('@').unwrap();
    let config =
        DumpConfig::new(format!("postgres://ann:pw@{rest}").parse().unwrap(), live.home.path().join("work"));
    let taken = dump(&live.repository, &config, &|_| ()).await.unwrap();
    let good = rehearsed(&live, &taken.id).await;
    assert!(good.holds() && good.rto_seconds.is_some() && good.rpo_seconds.is_some(), "{good:#?}");
    assert!(good.unseen.iter().any(|unseen| unseen.contains("passwords of the roles")), "{:?}", good.unseen);

    let lacking = with_another_count(&live, &taken.id).await;
    let red = rehearsed(&live, &lacking).await;
    assert_eq!(red.problems, ["app: public.b has 2 rows, and had 3 when it was dumped"], "{red:#?}");

    // A constraint that asks another table holds where both are full, and not while they are filled.
    live.run(
        "CREATE FUNCTION known(int) RETURNS bool LANGUAGE sql AS 'SELECT EXISTS (SELECT FROM public.b WHERE i = $1)'; \
         CREATE TABLE a (i int CHECK (known(i))); INSERT INTO a VALUES (1)",
    )
    .await;
    let taken = dump(&live.repository, &config, &|_| ()).await.unwrap();
    let red = rehearsed(&live, &taken.id).await;
    assert!(red.problems.iter().any(|problem| problem.contains("violates check constraint")), "{red:#?}");
}

//! Partitions go when their rows have outlived their use, and no earlier.

use std::sync::Arc;
use std::time::Duration;

use db_maintenance::partitions::{CommandArchive, DirectoryArchive};

use crate::database::{apply, at, bounds, connect, done, failed, held, texts, with};

/// Daily partitions of the first days of November 2026, two rows in each.
const EVENTS: &str = "CREATE TABLE events (id int, at date NOT NULL, PRIMARY KEY (id, at)) PARTITION BY \
    RANGE (at); \
    DO $$ BEGIN FOR day IN 1..4 LOOP \
      EXECUTE format('CREATE TABLE day_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', day, \
        date '2026-11-01' + day - 1, date '2026-11-01' + day); \
      EXECUTE format('INSERT INTO events VALUES (1, %1$L), (2, %1$L)', date '2026-11-01' + day - 1); \
    END LOOP; END $$";

const POLICY: &str =
    "[[set]]\ntable = \"public.events\"\nevery = \"day\"\nahead = \"1 day\"\nretain = \"2 days\"\n";

/// Rows of the first two days have outlived two days.
const NOW: &str = "2026-11-05T12:00:00Z";

#[tokio::test]
async fn a_partition_is_detached_archived_read_back_and_dropped_by_four_runs() {
    let (_database, mut client) = with(EVENTS).await;
    let dir = tempfile::tempdir().unwrap();
    let archive = Arc::new(DirectoryArchive::new(dir.path()));
    let policy = format!("{POLICY}archive = true\ndrop_after = \"3 days\"");
    let run = |now: &str| at(now, &policy).archive(archive.clone());

    let plan = run(NOW).plan(&mut client).await.unwrap().to_string();
    assert!(plan.contains("detach public.day_1") && plan.contains("2 rows, the newest 2026-11-01"), "{plan}");
    assert!(!plan.contains("detach public.day_3"), "{plan}");
    let report = apply(&run(NOW), &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(texts(&client, "SELECT count(*)::text FROM events").await, ["4"]);
    // Its name means nothing: the mark finds it.
    client.batch_execute("ALTER TABLE day_1 RENAME TO forgotten").await.unwrap();

    let report = apply(&run(NOW), &mut client).await;
    assert_eq!(done(&report).iter().filter(|done| done.starts_with("archive")).count(), 2, "{report:?}");
    let plan = run(NOW).plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("public.forgotten: it was detached at 2026-11-05T12:00:00Z"), "{plan}");

    // What was archived and is not there any more keeps the table.
    let later = "2026-11-10T12:00:00Z";
    let object = std::fs::read_dir(dir.path().join("public-events")).unwrap().next().unwrap().unwrap().path();
    let rows = std::fs::read(&object).unwrap();
    std::fs::write(&object, b"id\tat\n").unwrap();
    let report = apply(&run(later), &mut client).await;
    assert!(failed(&report).contains("no longer holds what was archived"), "{report:?}");
    std::fs::write(&object, rows).unwrap();
    apply(&run(later), &mut client).await;
    let left =
        texts(&client, "SELECT relname::text FROM pg_class WHERE relname IN ('forgotten', 'day_2')").await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_was_changed_after_it_was_archived_is_not_dropped() {
    let (_database, mut client) = with(EVENTS).await;
    let dir = tempfile::tempdir().unwrap();
    let policy = format!("{POLICY}archive = true\ndrop_after = \"0 days\"");
    let partitions = at(NOW, &policy).archive(Arc::new(DirectoryArchive::new(dir.path())));
    apply(&partitions, &mut client).await;
    apply(&partitions, &mut client).await;
    client.batch_execute("INSERT INTO day_1 VALUES (3, '2026-11-01'); DELETE FROM day_2").await.unwrap();
    let report = apply(&partitions, &mut client).await;
    assert!(failed(&report).contains("changed after it was archived"), "{report:?}");
    assert_eq!(texts(&client, "SELECT count(*)::text FROM day_1").await, ["3"]);
}

#[tokio::test]
async fn rows_go_through_commands_and_are_read_back_before_their_table_goes() {
    let (_database, mut client) = with(EVENTS).await;
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().display();
    let store = format!("mkdir -p {place}/$(dirname $ARCHIVE_NAME) && cat > \"{place}/$ARCHIVE_NAME\"");
    let read = format!("cat \"{place}/$ARCHIVE_NAME\"");
    let run = |store: &str, read: &str| {
        let archive = Arc::new(CommandArchive::new(store, read));
        at(NOW, &format!("{POLICY}archive = true\ndrop_after = \"0 days\"")).archive(archive)
    };
    apply(&run(&store, &read), &mut client).await;
    // A store that fails, one that keeps a part only, and one that cannot be read back: nothing is archived.
    for (store, read) in [("cat > /dev/null; exit 3", "cat"), ("head -c 7", "echo"), (&store, "exit 4")] {
        let report = apply(&run(store, read), &mut client).await;
        assert!(failed(&report).contains("archive public.day_1"), "{store}: {report:?}");
    }
    let report = apply(&run(&store, &read), &mut client).await;
    assert_eq!(done(&report).iter().filter(|done| done.starts_with("archive")).count(), 2, "{report:?}");
    let report = apply(&run(&store, "false"), &mut client).await;
    assert!(failed(&report).contains("drop public.day_1"), "{report:?}");
    assert_eq!(texts(&client, "SELECT count(*)::text FROM day_1").await, ["2"]);
    let report = apply(&run(&store, &read), &mut client).await;
    assert_eq!(failed(&report), "");
    let left = texts(&client, "SELECT relname::text FROM pg_class WHERE relname IN ('day_1', 'day_2')").await;
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn rows_that_others_refer_to_hold_their_partition() {
    let refers = "CREATE TABLE notes (id int, at date, FOREIGN KEY (id, at) REFERENCES events); \
        INSERT INTO notes VALUES (1, '2026-11-01')";
    let (_database, mut client) = with(&format!("{EVENTS}; {refers}")).await;
    let partitions = at(NOW, &format!("{POLICY}drop_after = \"0 days\""));
    let plan = partitions.plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("public.day_1: rows of public.notes still refer to it"), "{plan}");
    let report = apply(&partitions, &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(texts(&client, "SELECT count(*)::text FROM events").await, ["6"]);
    // Without references it goes, and is dropped, under the incoming foreign key.
    client.batch_execute("DELETE FROM notes").await.unwrap();
    apply(&partitions, &mut client).await;
    let report = apply(&partitions, &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(
        texts(&client, "SELECT relname::text FROM pg_class WHERE relname = 'day_1'").await,
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn summaries_that_need_the_rows_hold_their_partition() {
    let summary = "CREATE TABLE daily (until date); CREATE VIEW seen AS SELECT * FROM daily";
    let (_database, mut client) = with(&format!("{EVENTS}; {summary}")).await;
    let policy = format!("{POLICY}summaries = [{{ table = \"public.daily\", column = \"until\" }}]");
    let partitions = at(NOW, &policy);
    let plan = partitions.plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("has covered nothing yet"), "{plan}");
    client.batch_execute("INSERT INTO public.daily VALUES ('2026-11-02')").await.unwrap();
    let plan = partitions.plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("public.day_2: a summary has covered rows up to 2026-11-02"), "{plan}");
    assert_eq!(
        done(&apply(&partitions, &mut client).await).iter().filter(|done| done.starts_with("detach")).count(),
        1
    );
    let through_a_view = at(NOW, &policy.replace("public.daily", "public.seen"));
    let plan = through_a_view.plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("a view is SQL of its owner's"), "{plan}");
}

#[tokio::test]
async fn a_detach_that_was_interrupted_is_ended_by_the_next_run() {
    let (database, mut client) = with(EVENTS).await;
    let reader = connect(database.url()).await;
    // A transaction that uses the set keeps DETACH CONCURRENTLY between its two halves.
    reader.batch_execute("BEGIN; SELECT FROM events").await.unwrap();
    let partitions = at(NOW, POLICY).detach_waits(Duration::from_millis(50));
    let report = apply(&partitions, &mut client).await;
    assert!(failed(&report).contains("detach public.day_1"), "{report:?}");
    let pending = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending";
    assert_eq!(texts(&client, pending).await, ["day_1"]);
    assert_eq!(report.sets[0].health.pending.len(), 1);
    reader.batch_execute("COMMIT").await.unwrap();
    let report = apply(&partitions, &mut client).await;
    assert_eq!(failed(&report), "");
    assert!(done(&report)[0].starts_with("finalize the detaching of public.day_1"), "{report:?}");
    assert_eq!(texts(&client, pending).await, Vec::<String>::new());
    // It carries the mark from before, so it is dropped in its time.
    let plan = partitions.plan(&mut client).await.unwrap();
    assert!(held(&plan).contains("public.day_1: it was detached at"), "{plan}");
}

#[tokio::test]
async fn neither_the_default_partition_nor_an_open_one_nor_the_last_one_goes() {
    let (_database, mut client) = with(
        "CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at); \
         CREATE TABLE rest PARTITION OF events DEFAULT; \
         CREATE TABLE open_low PARTITION OF events FOR VALUES FROM (MINVALUE) TO ('2000-01-01'); \
         CREATE TABLE named_1999 PARTITION OF events FOR VALUES FROM ('2026-11-01') TO (MAXVALUE)",
    )
    .await;
    let report = apply(&at("2040-01-01T00:00:00Z", POLICY), &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(bounds(&client, "events").await, ["DEFAULT", "FOR VALUES FROM ('2026-11-01') TO (MAXVALUE)"]);
    let done = done(&report);
    assert!(done.len() == 1 && done[0].contains("under a short exclusive lock"), "{done:?}");
}

//! Rows in an existing default partition are moved where they belong, and absurd ones are named.

use crate::database::{apply, at, bounds, done, failed, texts, with};

const EVENTS: &str = "CREATE TABLE events (id int, at date NOT NULL, twice int GENERATED ALWAYS AS (id * \
    2) STORED) \
    PARTITION BY RANGE (at); CREATE TABLE rest PARTITION OF events DEFAULT; \
    INSERT INTO events VALUES (1, '2026-11-03'), (2, '2026-11-30'), (3, '2026-09-01'), (4, '9999-01-01'), \
    (5, '0044-03-15 BC')";

const NOW: &str = "2026-11-28T12:00:00Z";

const POLICY: &str = "[[set]]\ntable = \"public.events\"\nevery = \"month\"\n";

#[tokio::test]
async fn rows_of_a_default_partition_move_where_they_belong() {
    let (_database, mut client) = with(EVENTS).await;
    let partitions = at(NOW, &format!("{POLICY}drain = true"));
    let report = apply(&partitions, &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(bounds(&client, "events").await.len(), 4, "{report:?}");
    assert_eq!(texts(&client, "SELECT id::text FROM rest ORDER BY id").await, ["4", "5"]);
    let rows = texts(&client, "SELECT concat_ws(' ', id, twice) FROM events ORDER BY id").await;
    assert_eq!(rows, ["1 2", "2 4", "3 6", "4 8", "5 10"]);
    let notes = report.sets[0].notes.join("\n");
    assert!(notes.contains("so far from now"), "{notes}");
    assert!(done(&apply(&partitions, &mut client).await).is_empty());
}

#[tokio::test]
async fn without_leave_to_drain_the_rows_that_are_in_the_way_are_named() {
    let (_database, mut client) = with(EVENTS).await;
    let report = apply(&at(NOW, POLICY), &mut client).await;
    assert_eq!(failed(&report), "");
    let notes = report.sets[0].notes.join("\n");
    assert!(notes.contains("2 rows of 2026-11-01 to 2026-12-01 are in the default partition"), "{notes}");
    assert_eq!(report.sets[0].health.rows_in_default, 5);
    assert_eq!(done(&report).len(), 1, "the month after has no row in the way");
}

#[tokio::test]
async fn a_trigger_that_moving_would_fire_keeps_rows_where_they_are() {
    let trigger = "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE 'told'; END$$; \
        CREATE TRIGGER tells AFTER DELETE ON rest FOR EACH ROW EXECUTE FUNCTION tell()";
    let (_database, mut client) = with(&format!("{EVENTS}; {trigger}")).await;
    let report = apply(&at(NOW, &format!("{POLICY}drain = true")), &mut client).await;
    assert_eq!(failed(&report), "");
    assert!(report.sets[0].notes.join("\n").contains("the trigger \"tells\" would run"), "{report:?}");
    assert_eq!(texts(&client, "SELECT count(*)::text FROM rest").await, ["5"]);
}

//! Partitions are there before their rows come.

use db_core::CheckStatus;
use db_maintenance::partitions::checks;

use crate::database::{apply, at, bounds, connect, done, failed, texts, with};

const NOW: &str = "2026-11-28T12:00:00Z";

/// Makes partitions for a key of this type, and sees that a row of now has a place.
async fn check(type_name: &str, policy: &str, now: &str, expected: &[&str]) {
    let sql = format!("CREATE TABLE events (at {type_name} NOT NULL, n int) PARTITION BY RANGE (at)");
    let (_database, mut client) = with(&sql).await;
    let policy = format!("[[set]]\ntable = \"public.events\"\nahead = \"1 month\"\n{policy}");
    let partitions = at(NOW, &policy);
    let report = apply(&partitions, &mut client).await;
    assert_eq!(failed(&report), "", "{type_name}");
    let made = bounds(&client, "public.events").await;
    assert_eq!(made.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{type_name}");
    client.batch_execute(&format!("INSERT INTO public.events VALUES ({now}, 1)")).await.unwrap();
    assert!(done(&apply(&partitions, &mut client).await).is_empty(), "a second run has nothing to do");
}

#[tokio::test]
async fn every_kind_of_key_gets_its_partitions() {
    let months = "every = \"month\"";
    check(
        "timestamptz",
        months,
        "'2026-11-28 12:00Z'",
        &[
            "FOR VALUES FROM ('2026-11-01 00:00:00+00') TO ('2026-12-01 00:00:00+00')",
            "FOR VALUES FROM ('2026-12-01 00:00:00+00') TO ('2027-01-01 00:00:00+00')",
        ],
    )
    .await;
    check(
        "timestamp",
        "every = \"quarter\"",
        "'2026-11-28 12:00'",
        &["FOR VALUES FROM ('2026-10-01 00:00:00') TO ('2027-01-01 00:00:00')"],
    )
    .await;
    check("date", "every = \"year\"", "'2026-11-28'", &["FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"])
        .await;
    let now = "'01a22206-ca00-7000-8000-000000000000'";
    check(
        "uuid",
        months,
        now,
        &[
            "FOR VALUES FROM ('01a19467-e800-0000-0000-000000000000') TO \
             ('01a22ee6-b000-0000-0000-000000000000')",
            "FOR VALUES FROM ('01a22ee6-b000-0000-0000-000000000000') TO \
             ('01a2ce8b-d400-0000-0000-000000000000')",
        ],
    )
    .await;
    check(
        "bigint",
        "every = \"month\"\nepoch = \"seconds\"",
        "1795867200",
        &[
            "FOR VALUES FROM ('1793491200') TO ('1796083200')",
            "FOR VALUES FROM ('1796083200') TO ('1798761600')",
        ],
    )
    .await;
}

#[tokio::test]
async fn lists_hashes_and_divided_partitions_are_complete() {
    let (_database, mut client) = with(
        "CREATE TABLE lists (c text, n int) PARTITION BY LIST (c); \
         CREATE TABLE lists_old PARTITION OF lists FOR VALUES IN ('de'); \
         CREATE TABLE hashes (c text, n int) PARTITION BY HASH (c); \
         CREATE TABLE twice (at date NOT NULL, c text NOT NULL, PRIMARY KEY (at, c)) PARTITION BY RANGE (at)",
    )
    .await;
    let policy = r#"
        [[set]]
        table = "public.lists"
        list = [["de", "at"], ["it's"]]
        [[set]]
        table = "public.hashes"
        modulus = 3
        [[set]]
        table = "public.twice"
        every = "year"
        sub = { column = "c", modulus = 2 }
    "#;
    let partitions = at(NOW, policy);
    let report = apply(&partitions, &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(
        bounds(&client, "lists").await,
        ["FOR VALUES IN ('at')", "FOR VALUES IN ('de')", "FOR VALUES IN ('it''s')"]
    );
    assert_eq!(bounds(&client, "hashes").await.len(), 3);
    for number in 0..20 {
        let row = format!(
            "INSERT INTO hashes VALUES ('{number}'); INSERT INTO twice VALUES ('2026-11-28', '{number}')"
        );
        client.batch_execute(&row).await.unwrap();
    }
    assert!(report.is_well(), "{}", report.summary());
    // A part that goes missing is made again.
    let part = texts(
        &client,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent IN \
        (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'twice'::regclass) LIMIT 1",
    )
    .await;
    client.batch_execute(&format!("DROP TABLE {}", part[0])).await.unwrap();
    assert_eq!(done(&apply(&partitions, &mut client).await).len(), 1);
}

#[tokio::test]
async fn a_new_partition_is_as_its_siblings_are() {
    let (_database, mut client) = with(
        "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL, note text DEFAULT \
         'x', \
           PRIMARY KEY (id, at), CHECK (note <> '')) PARTITION BY RANGE (at); \
         CREATE INDEX ON events (note); \
         CREATE TABLE events_a PARTITION OF events FOR VALUES FROM ('2026-10-01') TO ('2026-11-01'); \
         ALTER TABLE events_a SET (fillfactor = 70); ALTER TABLE events_a REPLICA IDENTITY FULL; \
         ALTER TABLE events_a ENABLE ROW LEVEL SECURITY; ALTER TABLE events_a ALTER note SET STATISTICS 500; \
         CREATE POLICY mine ON events_a USING (true); GRANT SELECT, INSERT ON events_a TO pg_monitor; \
         CREATE PUBLICATION tells FOR TABLE ONLY events_a",
    )
    .await;
    let policy = "[[set]]\ntable = \"public.events\"\nevery = \"month\"";
    let report = apply(&at(NOW, policy), &mut client).await;
    assert_eq!(failed(&report), "");
    let facts = "SELECT concat_ws(' ', c.reloptions, c.relreplident, c.relrowsecurity, a.attstattarget, \
        (SELECT count(*) FROM pg_index WHERE indrelid = c.oid AND indisvalid), \
        (SELECT string_agg(privilege_type, ',' ORDER BY 1) FROM aclexplode(c.relacl) \
          WHERE grantee = 'pg_monitor'::regrole)) \
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'note' \
        WHERE c.relname = 'events_p20261101'";
    assert_eq!(texts(&client, facts).await, ["{fillfactor=70} f t 500 2 INSERT,SELECT"]);
    let notes = report.sets[0].notes.join("\n");
    assert!(notes.contains("policy \"mine\"") && notes.contains("publication \"tells\""), "{notes}");
    client.batch_execute("INSERT INTO events (at) VALUES ('2026-11-28')").await.unwrap();
}

#[tokio::test]
async fn one_set_that_fails_stops_no_other() {
    let (_database, mut client) = with(
        "CREATE TABLE plain (at date); CREATE TABLE good (at date NOT NULL) PARTITION BY RANGE (at); \
         CREATE TABLE odd (at text NOT NULL) PARTITION BY RANGE (at)",
    )
    .await;
    let set = |table: &str| format!("[[set]]\ntable = \"public.{table}\"\nevery = \"year\"\n");
    let policy = ["gone", "plain", "odd", "good"].map(set).concat();
    let report = apply(&at(NOW, &policy), &mut client).await;
    let said = failed(&report);
    for part in ["no such table", "not partitioned", "key is a text"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(report.sets[3].done.len(), 1);
    assert_eq!(bounds(&client, "good").await, ["FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"]);
}

#[tokio::test]
async fn a_lock_that_somebody_holds_is_waited_for_briefly_and_other_sets_go_on() {
    let (database, mut client) = with(
        "CREATE TABLE held (at date NOT NULL) PARTITION BY RANGE (at); \
         CREATE TABLE free (at date NOT NULL) PARTITION BY RANGE (at)",
    )
    .await;
    let other = connect(database.url()).await;
    other.batch_execute("BEGIN; LOCK TABLE held IN SHARE UPDATE EXCLUSIVE MODE").await.unwrap();
    let set = |table: &str| format!("[[set]]\ntable = \"public.{table}\"\nevery = \"year\"\n");
    let patience = db_maintenance::Patience {
        attempts: 2,
        pause: std::time::Duration::from_millis(1),
        ..db_maintenance::Patience::default()
    };
    let partitions = at(NOW, &["held", "free"].map(set).concat()).patience(patience);
    let report = apply(&partitions, &mut client).await;
    assert!(failed(&report).contains("no lock within 40ms in 2 attempts"), "{}", failed(&report));
    assert_eq!(report.sets[1].done.len(), 1);
    assert!(!report.is_well(), "a set without a partition for now needs a person");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(apply(&partitions, &mut client).await.sets[0].done.len(), 1);
}

#[tokio::test]
async fn the_moment_at_which_the_next_insert_will_fail_is_the_one_at_which_it_does() {
    let (_database, mut client) =
        with("CREATE TABLE events (at timestamptz NOT NULL) PARTITION BY RANGE (at)").await;
    let policy = "[[set]]\ntable = \"public.events\"\nevery = \"week\"";
    let partitions = at(NOW, policy);
    apply(&partitions, &mut client).await;
    let plan = partitions.status(&mut client).await.unwrap();
    let fails = plan.sets[0].health.next_insert_fails_at.unwrap();
    let insert = |at: chrono::DateTime<chrono::Utc>| {
        format!("INSERT INTO public.events VALUES ('{}')", at.to_rfc3339())
    };
    client.batch_execute(&insert(fails - chrono::TimeDelta::milliseconds(1))).await.unwrap();
    client.batch_execute(&insert(fails)).await.unwrap_err();
}

/// Several runs have failed by then, and there is time left to see why.
#[tokio::test]
async fn a_lead_that_is_half_used_up_is_a_warning_before_any_insert_fails() {
    let (_database, mut client) =
        with("CREATE TABLE events (at timestamptz NOT NULL) PARTITION BY RANGE (at)").await;
    let policy = "[[set]]\ntable = \"public.events\"\nevery = \"day\"\nahead = \"10 days\"";
    let mut report = apply(&at(NOW, policy), &mut client).await;
    let mut status = async |now: &str| {
        let plan = at(now, policy).status(&mut client).await.unwrap();
        let health = plan.sets[0].health.clone();
        assert!(health.wanted_ahead_seconds >= 10 * 86_400, "{health:?}");
        report.sets[0].health = health;
        checks(&report)[0].status.clone()
    };
    let later = |days: i64| {
        let now: chrono::DateTime<chrono::Utc> = NOW.parse().unwrap();
        (now + chrono::TimeDelta::days(days)).to_rfc3339()
    };
    assert_eq!(status(NOW).await, CheckStatus::Ok);
    assert_eq!(status(&later(4)).await, CheckStatus::Ok);
    assert_eq!(status(&later(7)).await, CheckStatus::Warn);
    assert_eq!(status(&later(12)).await, CheckStatus::Critical);
}

#[tokio::test]
async fn premaking_blocks_neither_readers_nor_writers_of_the_set() {
    let (database, mut client) = with("CREATE TABLE events (at date NOT NULL) PARTITION BY RANGE (at)").await;
    let policy = "[[set]]\ntable = \"public.events\"\nevery = \"year\"";
    apply(&at(NOW, policy), &mut client).await;
    let writer = connect(database.url()).await;
    writer
        .batch_execute("BEGIN; INSERT INTO events VALUES ('2026-01-01'); SELECT FROM events")
        .await
        .unwrap();
    // The writer's transaction stays open: an exclusive lock on the set would not be had.
    let report = apply(&at("2028-01-01T00:00:00Z", policy), &mut client).await;
    assert_eq!(failed(&report), "");
    assert_eq!(report.sets[0].done.len(), 2);
    writer.batch_execute("COMMIT").await.unwrap();
}

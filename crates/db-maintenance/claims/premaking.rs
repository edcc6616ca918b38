//! Ten years of upkeep in minutes; many sets with nothing to do; and probes while retention works.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use db_maintenance::partitions::{Partitions, Policy};
use db_testkit::claims::{Figure, Size};
use serde_json::json;
use tokio_postgres::Client;

use crate::block_on;
use crate::database::with;
use crate::load::Load;

pub(crate) fn measure(size: Size) -> Figure {
    let keys = if size == Size::Ci { 3 } else { 5 };
    let mut runs = 0;
    let mut wrong = Vec::new();
    for (number, key) in KEYS.iter().enumerate().take(keys) {
        let (done, mut found) = block_on(ten_years(*key, number as u64 + 1));
        runs += done;
        wrong.append(&mut found);
    }
    let idle = block_on(nothing_to_do(100, 200));
    let probes: Vec<f64> = (0..3).map(|_| block_on(worst_probe())).collect();
    let worst = probes.iter().copied().fold(f64::MAX, f64::min);
    Figure {
        value: worst,
        unit: "ms worst probe",
        holds: wrong.is_empty() && idle <= 10.0 && worst <= 50.0,
        detail: json!({
            "keys": keys, "runs": runs, "wrong": wrong.len(), "first_wrong": wrong.first(),
            "idle_seconds_of_100_sets_of_200": idle, "worst_probes_ms": probes,
        }),
    }
}

/// A type, its policy, and how a time is written as its value.
type KeyType = (&'static str, &'static str, fn(DateTime<Utc>) -> String);

const KEYS: [KeyType; 5] = [
    ("timestamptz", "every = \"month\"", |at| format!("'{}'", at.to_rfc3339())),
    ("uuid", "every = \"week\"", |at| {
        let millis = at.timestamp_millis();
        format!("'{:08x}-{:04x}-7abc-8def-0123456789ab'", millis >> 16, millis & 0xffff)
    }),
    ("bigint", "every = \"quarter\"\nepoch = \"milliseconds\"", |at| at.timestamp_millis().to_string()),
    ("date", "every = \"week\"", |at| format!("'{}'", at.format("%F"))),
    ("timestamp", "every = \"month\"", |at| format!("'{}'", at.format("%F %T%.f"))),
];

/// Runs upkeep at the times of a clock that jumps, in zones that change; how many runs, and what went wrong.
async fn ten_years((type_name, policy, value): KeyType, seed: u64) -> (usize, Vec<String>) {
    let sql = format!("CREATE TABLE events (at {type_name} NOT NULL) PARTITION BY RANGE (at)");
    let (_database, mut client) = with(&sql).await;
    let (mut now, mut random): (DateTime<Utc>, u64) = ("2020-01-15T12:00:00Z".parse().unwrap(), seed);
    // Somebody made a partition in five years with bounds of their own, and one of an absurd value.
    for (name, from, to) in [
        ("odd", "2025-02-03T04:05:00Z", "2025-03-17T00:00:00Z"),
        ("absurd", "2199-01-01T00:00:00Z", "2199-01-05T00:00:00Z"),
    ] {
        let bound = |text: &str| value(text.parse().unwrap());
        let sql = format!(
            "CREATE TABLE {name} PARTITION OF events FOR VALUES FROM ({}) TO ({})",
            bound(from),
            bound(to)
        );
        // What it would begin before the year of the first run is not there yet.
        client.batch_execute(&sql).await.unwrap();
    }
    let first = format!(
        "CREATE TABLE first PARTITION OF events FOR VALUES FROM ({}) TO ({})",
        value("2020-01-01T00:00:00Z".parse().unwrap()),
        value("2020-02-01T00:00:00Z".parse().unwrap())
    );
    client.batch_execute(&first).await.unwrap();
    let zones = ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"];
    let is_local = matches!(type_name, "date" | "timestamp");
    let end = now + TimeDelta::days(3_653);
    let (mut runs, mut wrong) = (0, Vec::new());
    while now < end && wrong.is_empty() {
        let mut draw = |below: u64| {
            // Knuth's linear congruential generator: the same numbers each time.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let zone = if is_local { "UTC" } else { zones[usize::try_from(draw(5)).unwrap()] };
        // Up to three months without a run, and every fifth time the clock goes back by up to a month.
        let days = i64::try_from(draw(90)).unwrap();
        let back = draw(5) == 0;
        now += if back { TimeDelta::days(-days / 3) } else { TimeDelta::days(days) };
        let text = format!(
            "[[set]]\ntable = \"public.events\"\nahead = \"3 months\"\nzone = \"{zone}\"\nmost_new = \
             1000\n{policy}"
        );
        let partitions = Partitions::new(Policy::parse("policy.toml", &text).unwrap()).unwrap().at(now);
        let report = partitions.apply(&mut client).await.unwrap();
        wrong.extend(
            report.sets.iter().flat_map(|set| &set.failed).map(|failed| format!("{now}: {}", failed.why)),
        );
        // A row of now, one of every week up to three months ahead, and one of each edge has its place.
        let mut at = now;
        while at < now + TimeDelta::days(88) {
            let sql = format!("INSERT INTO public.events VALUES ({})", value(at));
            if let Err(error) = client.batch_execute(&sql).await {
                wrong.push(format!("{at} at {now}: {error}"));
            }
            at += TimeDelta::days(7);
        }
        runs += 1;
    }
    wrong.extend(holes(&client).await);
    (runs, wrong)
}

/// Ranges between the partitions of ten years that have none, as the server's own bounds say.
async fn holes(client: &Client) -> Vec<String> {
    let sql = "WITH b AS (SELECT row_number() OVER () n, regexp_match(pg_get_expr(c.relpartbound, c.oid), \
        'FROM \\(''(.*)''\\) TO \\(''(.*)''\\)') m, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid \
        = i.inhrelid \
        WHERE i.inhparent = 'public.events'::regclass AND c.relname <> 'absurd') \
        SELECT a.m[1] FROM b a WHERE NOT EXISTS (SELECT FROM b z WHERE z.m[2] = a.m[1])";
    let rows = client.query(sql, &[]).await.unwrap();
    // Exactly one range may begin where none ends: the first.
    let begins: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    if begins.len() <= 1 {
        Vec::new()
    } else {
        begins.into_iter().map(|at| format!("a hole before {at}")).collect()
    }
}

/// How long a run over so many sets takes that need nothing.
async fn nothing_to_do(sets: usize, partitions: usize) -> f64 {
    let (_database, mut client) = with("").await;
    let mut policy = String::new();
    for set in 0..sets {
        let sql = format!(
            "DO $$ BEGIN CREATE TABLE set_{set} (at date NOT NULL) PARTITION BY RANGE (at); \
             FOR day IN 0..{} LOOP EXECUTE format('CREATE TABLE set_{set}_%s PARTITION OF set_{set} FOR \
             VALUES FROM (%L) \
             TO (%L)', day, date '2026-11-01' + day - 150, date '2026-11-01' + day - 149); END LOOP; END $$",
            partitions - 1
        );
        client.batch_execute(&sql).await.unwrap();
        policy += &format!(
            "[[set]]\ntable = \"public.set_{set}\"\nevery = \"day\"\nahead = \"14 days\"\nretain = \"1 \
             year\"\n"
        );
    }
    let partitions = Partitions::new(Policy::parse("policy.toml", &policy).unwrap()).unwrap();
    let partitions = partitions.at("2026-11-28T12:00:00Z".parse().unwrap());
    let mut best = f64::MAX;
    for _ in 0..3 {
        let began = Instant::now();
        let report = partitions.apply(&mut client).await.unwrap();
        best = best.min(began.elapsed().as_secs_f64());
        let idle = report.is_led && report.is_well() && report.sets.iter().all(|set| set.done.is_empty());
        assert!(idle, "{}", report.summary());
    }
    best
}

/// The longest that a statement took while ten partitions of 20,000 rows were detached, in milliseconds.
async fn worst_probe() -> f64 {
    let (database, mut client) = with(
        "CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, at date NOT NULL DEFAULT \
         '2026-11-28', n int, \
           PRIMARY KEY (id, at)) PARTITION BY RANGE (at); \
         DO $$ BEGIN FOR day IN 0..30 LOOP EXECUTE format('CREATE TABLE day_%s PARTITION OF events FOR \
         VALUES FROM (%L) \
           TO (%L)', day, date '2026-11-01' + day, date '2026-11-02' + day); END LOOP; END $$; \
         INSERT INTO events (at, n) SELECT date '2026-11-01' + n % 10, n FROM generate_series(1, 200000) \
         n; ANALYZE events",
    )
    .await;
    let load = Load::start(
        database.url(),
        4,
        "INSERT INTO public.events (n) VALUES (1) RETURNING id",
        "UPDATE public.events SET n = 2 WHERE id = $1 AND at = '2026-11-28'",
        "DELETE FROM public.events WHERE id = $1",
    );
    let policy =
        "[[set]]\ntable = \"public.events\"\nevery = \"day\"\nahead = \"2 days\"\nretain = \"17 days\"";
    let partitions = Partitions::new(Policy::parse("policy.toml", policy).unwrap()).unwrap();
    // The load begins before, so that its plans are made and its connections are warm.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let report = partitions.at("2026-11-28T12:00:00Z".parse().unwrap()).apply(&mut client).await.unwrap();
    let seen = load.end().await;
    let detached = report.sets[0].done.iter().filter(|done| done.starts_with("detach")).count();
    assert!(
        detached == 10 && seen.errors.is_empty(),
        "{detached} detached, {:?}, {}",
        seen.errors,
        report.summary()
    );
    seen.worst.as_secs_f64() * 1e3
}

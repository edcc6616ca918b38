//! The estimate of bloat against pgstattuple, over tables and B-trees of many kinds.

use db_core::Endpoint;
use db_monitoring::server::ServerSession;
use db_monitoring::{BloatKind, SchemaLook};
use db_testkit::Cluster;
use db_testkit::claims::{Figure, Size};
use diesel::sql_types::{Double, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::runtime;

/// Name, columns, options, what a row holds (`n` counts), what happens afterwards.
type Kind = (&'static str, &'static str, &'static str, &'static str, &'static str);

const TABLES: [Kind; 26] = [
    ("pads", "a bool, b bigint, c bool, d bigint", "", "true, n, false, n", ""),
    ("tight", "b bigint, d bigint, a bool, c bool", "", "n, n, true, false", ""),
    ("narrow", "a int", "", "n", ""),
    ("smalls", "a smallint, b int, c bool, d timestamptz", "", "n % 100, n, true, now()", ""),
    ("hashes", "a text", "", "md5(n::text)", ""),
    ("varying", "a text, b bigint", "", "repeat('x', 1 + n % 40), n", ""),
    (
        "varying_twice",
        "a text, b int, c text, d bigint",
        "",
        "repeat('x', n % 23), n, repeat('y', n % 31), n",
        "",
    ),
    ("wide", "a int, b text", "", "n, repeat(md5(n::text), 5 + n % 4)", ""),
    ("wider", "a int, b text", "", "n, repeat(md5(n::text), 14 + n % 16)", ""),
    (
        "nulls",
        "a int, b bigint, c text",
        "",
        "n, CASE WHEN n % 2 = 0 THEN n END, CASE WHEN n % 3 = 0 THEN md5(n::text) END",
        "",
    ),
    (
        "bitmap",
        "a int, b int, c int, d int, e int, f int, g int, h int, i int",
        "",
        "n, n, n, n, n, n, n, n, CASE WHEN n % 4 = 0 THEN n END",
        "",
    ),
    ("numbers", "a numeric, b numeric(12, 2), c bool", "", "n::numeric * n * 1000003, n / 100.0, true", ""),
    ("uuids", "a uuid, b timestamptz, c bool", "", "md5(n::text)::uuid, now(), false", ""),
    (
        "documents",
        "a int, b jsonb",
        "",
        "n, jsonb_build_object('n', n, 'text', md5(n::text), 'list', ARRAY[n, n + 1])",
        "",
    ),
    ("arrays", "a bool, b int[]", "", "true, ARRAY[n, n + 1, n + 2]", ""),
    ("filled_70", "a bigint, b text", "WITH (fillfactor = 70)", "n, md5(n::text)", ""),
    (
        "filled_50",
        "a bigint, b text",
        "WITH (fillfactor = 50)",
        "n, md5(n::text)",
        "DELETE FROM @ WHERE a % 2 = 0",
    ),
    ("half", "a bool, b bigint, c bool, d bigint", "", "true, n, false, n", "DELETE FROM @ WHERE b % 2 = 0"),
    ("half_text", "a bigint, b text", "", "n, md5(n::text)", "DELETE FROM @ WHERE a % 2 = 0"),
    (
        "half_in_front",
        "a bigint, b text",
        "",
        "n, md5(n::text)",
        "DELETE FROM @ WHERE a < (SELECT max(a) / 2 FROM @)",
    ),
    ("nearly_empty", "a bigint, b text", "", "n, md5(n::text)", "DELETE FROM @ WHERE a % 10 <> 0"),
    ("updated", "a bigint, b text", "", "n, md5(n::text)", "UPDATE @ SET a = a; UPDATE @ SET a = a"),
    ("third_gone", "a bigint, b text, c int", "", "n, md5(n::text), n", "DELETE FROM @ WHERE a % 3 = 0"),
    (
        "chars",
        "a char(10), b varchar(20), c \"char\"",
        "",
        "n::text, left(md5(n::text), 1 + n % 20), 'x'",
        "",
    ),
    (
        "out_of_line",
        "a int, b text",
        "",
        "n, CASE WHEN n % 20 = 0 THEN (SELECT string_agg(md5((n * i)::text), '') FROM generate_series(1, 80) i) ELSE md5(n::text) END",
        "",
    ),
    ("columns_gone", "a int, b bigint, c text", "", "n, NULL, md5(n::text)", "ALTER TABLE @ DROP COLUMN b"),
];

/// Name, on which table, the definition, what happens afterwards.
type Tree = (&'static str, &'static str, &'static str);

const TREES: [Tree; 20] = [
    ("bigints", "tight", "(b)"),
    ("ints", "narrow", "(a)"),
    ("texts", "hashes", "(a)"),
    ("varying_texts", "varying", "(a, b)"),
    ("text_and_int", "varying_twice", "(c, b)"),
    ("duplicates", "smalls", "(a)"),
    ("same_for_all", "pads", "(a)"),
    ("duplicate_texts", "varying", "(a)"),
    ("wide_texts", "wide", "(b)"),
    ("of_nulls", "nulls", "(b)"),
    ("texts_and_nulls", "nulls", "(c)"),
    ("decimals", "numbers", "(b)"),
    ("uuid", "uuids", "(a)"),
    ("same_times", "uuids", "(b)"),
    ("covering", "half_text", "(a) INCLUDE (b)"),
    ("partial", "tight", "(b) WHERE b % 2 = 0"),
    ("expressions", "hashes", "(left(a, 8))"),
    ("kept_apart", "smalls", "(a) WITH (deduplicate_items = off)"),
    ("loose", "third_gone", "(a) WITH (fillfactor = 60)"),
    ("of_half", "half", "(b)"),
];

#[derive(QueryableByName)]
struct Truth {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Double)]
    percent: f64,
}

/// What rows take, of the room that the fill factor leaves them.
const TABLE_TRUTH: &str = "SELECT 'public.' || c.relname AS name, \
     100 * greatest(0, 1 - (s.table_len - s.free_space - s.dead_tuple_len - 24 * p.pages) / nullif(p.pages * (8168 - 8192 * (1 - p.fill)), 0)) \
       ::float8 AS percent \
     FROM pg_class c, pgstattuple(c.oid) s, LATERAL (SELECT s.table_len / 8192 AS pages, coalesce((SELECT split_part(o, '=', 2)::float8 / 100 \
       FROM unnest(c.reloptions) o WHERE o LIKE 'fillfactor=%'), 1) AS fill) p \
     WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND s.table_len >= 100 * 8192";

/// What leaves hold, of the room that the fill factor leaves them.
const TREE_TRUTH: &str = "SELECT 'public.' || c.relname AS name, 100 * greatest(0, 1 - (s.leaf_pages * s.avg_leaf_density / (100 * f.fill) \
       + s.internal_pages + 1) / (s.index_size / 8192))::float8 AS percent \
     FROM pg_class c, pgstatindex(c.oid) s, LATERAL (SELECT coalesce((SELECT split_part(o, '=', 2)::float8 / 100 \
       FROM unnest(c.reloptions) o WHERE o LIKE 'fillfactor=%'), 0.9) AS fill) f \
     WHERE c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace AND s.index_size >= 100 * 8192";

pub(crate) fn measure(size: Size) -> Figure {
    let rows = match size {
        Size::Ci => 60_000,
        Size::Nightly => 400_000,
    };
    let majors: &[u16] = match size {
        Size::Ci => &[15, 18],
        Size::Nightly => &[15, 16, 17, 18],
    };
    runtime().block_on(async {
        let (mut worst, mut detail, mut fewest) = (0.0_f64, serde_json::Map::new(), usize::MAX);
        for major in majors {
            let cluster = Cluster::builder().version(*major).standbys(0).start().await.unwrap();
            let pairs = of_cluster(&cluster, rows).await;
            let off = pairs.iter().map(|(_, estimate, truth)| (estimate - truth).abs()).fold(0.0, f64::max);
            (worst, fewest) = (worst.max(off), fewest.min(pairs.len()));
            let each: serde_json::Map<_, _> = pairs
                .into_iter()
                .map(|(name, estimate, truth)| (name, json!([estimate, round(truth)])))
                .collect();
            detail.insert(major.to_string(), json!({ "relations": each.len(), "estimate_and_truth": each }));
        }
        Figure {
            value: round(worst),
            unit: "points",
            holds: worst <= 5.0 && fewest >= 30,
            detail: detail.into(),
        }
    })
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

async fn of_cluster(cluster: &Cluster, rows: i64) -> Vec<(String, f64, f64)> {
    let mut conn = cluster.connect(0).await.unwrap();
    let mut run =
        async |sql: &str| conn.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    run("CREATE EXTENSION pgstattuple").await;
    run("SET synchronous_commit = off").await;
    for (name, columns, options, values, _) in TABLES {
        // Wide rows need fewer of them for as many pages.
        let rows = if name.starts_with("wide") || name == "out_of_line" { rows / 8 } else { rows };
        run(&format!("CREATE TABLE {name} ({columns}) {options}")).await;
        run(&format!("ALTER TABLE {name} SET (autovacuum_enabled = off)")).await;
        run(&format!("INSERT INTO {name} SELECT {values} FROM generate_series(1, {rows}) n")).await;
    }
    for (name, table, definition) in TREES {
        run(&format!("CREATE INDEX {name} ON {table} {definition}")).await;
    }
    for (name, .., afterwards) in TABLES {
        for statement in afterwards.replace('@', name).split(';').filter(|statement| !statement.is_empty()) {
            run(statement).await;
        }
        run(&format!("VACUUM ANALYZE {name}")).await;
    }
    let mut truths: Vec<Truth> = sql_query(TABLE_TRUTH).get_results(&mut conn).await.unwrap();
    truths.extend::<Vec<Truth>>(sql_query(TREE_TRUTH).get_results(&mut conn).await.unwrap());
    let watching = AsyncPgConnection::establish(&cluster.primary_url()).await.unwrap();
    let session = ServerSession::open(watching, Endpoint::new("here", 5432)).await.unwrap();
    let look = SchemaLook::read(&session).await;
    let bloats = look.bloat().unwrap();
    assert!(look.unknown_bloat().is_empty(), "{:?}", look.unknown_bloat());
    assert!(bloats.iter().any(|bloat| bloat.kind == BloatKind::Index));
    let estimate = |truth: &Truth| bloats.iter().find(|bloat| bloat.relation == truth.name);
    // One that is missing is as wrong as can be.
    truths
        .into_iter()
        .map(|truth| {
            (truth.name.clone(), estimate(&truth).map_or(999.0, |bloat| bloat.bloat_percent), truth.percent)
        })
        .collect()
}

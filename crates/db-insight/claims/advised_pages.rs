//! The sections on advice in docs/query-optimization.md: each with plans before and after, really made.

use std::fmt::Write as _;

use db_insight::indexes::{Advice, AdviceConfig, IndexKind, Prove, Query, advise};
use db_insight::repeats::Label;
use db_testkit::Cluster;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::pages::{OPTIONS, WITH_ESTIMATES, cut, wrapped};

const SHOP: &str = include_str!("advice/shop.sql");

/// What the shop lacks: statistics that mislead, an index that nobody reads, and names in the order of a
/// locale, where the test servers sort by bytes. With the usual 100 places, one sample in twenty lets the
/// planner expect fifty times too many names with a prefix.
const BESIDE: &str = "
CREATE TABLE addresses (id int PRIMARY KEY, city int NOT NULL, country int NOT NULL, kind int NOT NULL);
INSERT INTO addresses SELECT i, i % 50, i % 50 / 2, CASE WHEN i % 3 = 0 THEN i ELSE i % 20 END
  FROM generate_series(1, 100000) i;
ALTER TABLE addresses ALTER COLUMN kind SET STATISTICS 1;
CREATE INDEX addresses_kind_city_idx ON addresses (kind, city);
ANALYZE addresses;
ALTER TABLE customers ALTER COLUMN name TYPE varchar(100) COLLATE \"C.utf8\";
ALTER TABLE customers ALTER COLUMN name SET STATISTICS 1000;
VACUUM ANALYZE customers";

/// Lets the catalogue say that a table is large, until it is analysed again.
const GREAT: &str = "UPDATE pg_class SET relpages = 150000, reltuples = 10500000 WHERE relname = 'logs'";

/// A section: its heading, what it is about, and the statement.
type Example = (&'static str, &'static str, &'static str);

const INDEXES: &[(IndexKind, &str, &str)] = &[
    (IndexKind::Column, "One value of one column.", "SELECT * FROM orders WHERE customer_id = 42"),
    (
        IndexKind::Columns,
        "A page that goes on behind the last row that was shown, in the order of two columns.",
        "SELECT * FROM orders WHERE (created_at, id) < ('2025-05-01', 100000) \
         ORDER BY created_at DESC, id DESC LIMIT 20",
    ),
    (
        IndexKind::Partial,
        "A state that few rows are in, and that the text itself names.",
        "SELECT id FROM orders WHERE status = 'pending' ORDER BY created_at LIMIT 20",
    ),
    (
        IndexKind::Covering,
        "The index holds what the statement reads, so the table is spared.",
        "SELECT customer_id, total FROM orders WHERE customer_id BETWEEN 100 AND 5000",
    ),
    (
        IndexKind::Expression,
        "What is compared is computed, so the computed value is the key.",
        "SELECT * FROM customers WHERE lower(email) = 'user77@example.com'",
    ),
    (
        IndexKind::Pattern,
        "The beginning of a text, where the collation's order is not that of its bytes.",
        "SELECT * FROM customers WHERE name LIKE 'name abc%'",
    ),
    (
        IndexKind::Trigram,
        "A part of a text, anywhere in it.",
        "SELECT * FROM orders WHERE note LIKE '%deadbe%'",
    ),
    (
        IndexKind::FullText,
        "Words of a text.",
        "SELECT id FROM docs WHERE to_tsvector('english', body) @@ plainto_tsquery('english', 'word55')",
    ),
    (IndexKind::Jsonb, "A field of documents.", "SELECT id FROM orders WHERE data @> '{\"k\": 77}'"),
    (IndexKind::Array, "An element of arrays.", "SELECT id FROM orders WHERE tags @> ARRAY['t77']"),
    (
        IndexKind::Overlap,
        "Ranges that overlap another.",
        "SELECT * FROM bookings WHERE during && tstzrange('2025-02-01', '2025-02-01 03:00')",
    ),
    (
        IndexKind::BlockRange,
        "A part of a great table that lies in the order of the column: the index takes a thousandth of a \
         B-tree. It is advised from 800 MB on; for this page the catalogue says that `logs` is so large, \
         which it is not.",
        "SELECT count(*) FROM logs WHERE at >= '2025-01-02' AND at < '2025-01-02 06:00'",
    ),
    (
        IndexKind::ForeignKey,
        "A row that goes is looked for in every table that refers to it. EXPLAIN shows it as the trigger's \
         time.",
        "DELETE FROM customers WHERE id = (SELECT max(id) FROM customers c \
         WHERE NOT EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id))",
    ),
];

const DROP_DUPLICATE: Example = (
    "drop_duplicate",
    "Two indexes are the same. Every write maintains both, and a query needs one.",
    "SELECT count(*) FROM dup WHERE a = 7",
);
const DROP_PREFIX: Example = (
    "drop_prefix",
    "Another index begins with the same keys, here in the other direction, and is read backward as well.",
    "SELECT * FROM dup ORDER BY c DESC LIMIT 5",
);
const DROP_UNUSED: Example = (
    "drop_unused",
    "Nothing has read it for 14 days, on no server: what is left is what it costs writes.",
    "INSERT INTO addresses SELECT i, 1, 1, i FROM generate_series(200001, 201000) i",
);
const EXTENDED: Example = (
    "extended_statistics",
    "Two columns depend on each other: the planner multiplies what is the same, and expects too few rows.",
    "SELECT * FROM addresses WHERE city = 7 AND country = 3",
);
const TARGET: Example = (
    "statistics_target",
    "A value is common, and the list of common values is too short to hold it.",
    "SELECT * FROM addresses WHERE kind = 7",
);

const REPEATS: &[(Label, &str, &str, &str)] = &[
    (
        Label::NPlusOne,
        "A request asks for each of many rows alone: this plan, and a round trip, for each.",
        "SELECT name FROM customers WHERE id = 7",
        "SELECT name FROM customers WHERE id = ANY ('{7,8,9,10,11,12,13,14}')",
    ),
    (
        Label::LoopWrite,
        "A request writes many rows one by one: this plan, a round trip, and often a COMMIT, for each.",
        "UPDATE customers SET name = 'x' WHERE id = 7",
        "UPDATE customers SET name = new.name FROM (VALUES (7, 'x'), (8, 'y'), (9, 'z')) new (id, name) \
         WHERE customers.id = new.id",
    ),
    (
        Label::Duplicate,
        "A request asks the same five times: this plan five times. Asked once, and kept for the request, it \
         is one.",
        "SELECT count(*) FROM orders WHERE region = 3",
        "SELECT count(*) FROM orders WHERE region = 3",
    ),
];

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

/// All headings of these sections.
pub(crate) fn headings() -> impl Iterator<Item = &'static str> {
    let others = [DROP_DUPLICATE, DROP_PREFIX, DROP_UNUSED, EXTENDED, TARGET].map(|one| one.0);
    let repeats = REPEATS.iter().map(|one| one.0.as_str());
    IndexKind::ALL.iter().map(|kind| kind.as_str()).chain(others).chain(repeats)
}

/// The sections, made on a server of this version.
pub(crate) async fn sections(version: u16) -> String {
    let cluster = Cluster::builder().version(version).setting("autovacuum", "off").start().await.unwrap();
    let mut conn = cluster.connect(0).await.unwrap();
    for statement in SHOP.split(";\n").chain(BESIDE.split(";\n")).filter(|one| !one.trim().is_empty()) {
        conn.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let mut page = String::new();
    for (kind, about, sql) in INDEXES {
        let is_great = *kind == IndexKind::BlockRange;
        if is_great {
            conn.batch_execute(GREAT).await.unwrap();
        }
        let advice = advised(&mut conn, sql).await;
        if is_great {
            conn.batch_execute("ANALYZE logs").await.unwrap();
        }
        let found = advice.suggestions.iter().find(|one| one.kind == *kind);
        let found = found.unwrap_or_else(|| panic!("{kind} is not advised: {:?}", advice.suggestions));
        let mut make = found.create.replace(" CONCURRENTLY", "");
        // An expression has statistics of its own, which come with ANALYZE.
        if *kind == IndexKind::Expression {
            make += ";\nANALYZE customers";
        }
        let plans = plans(&mut conn, sql, &[&make], sql, OPTIONS).await;
        let change = format!("{};", found.create);
        page += &section(&(kind.as_str(), *about, *sql), &change, plans);
    }
    page += &drops(&mut conn).await;
    for (example, kind) in [(EXTENDED, "extended"), (TARGET, "target")] {
        let advice = advised(&mut conn, example.2).await;
        let found = advice.statistics.iter().find(|one| one.kind == kind);
        let found = found.unwrap_or_else(|| panic!("{kind} is not advised: {:?}", advice.statistics));
        let plans = plans(&mut conn, example.2, &[&found.create], example.2, WITH_ESTIMATES).await;
        page += &section(&example, &format!("{};", found.create), plans);
    }
    for (label, about, before, after) in REPEATS {
        let plans = plans(&mut conn, before, &[], after, OPTIONS).await;
        page += &section(&(label.as_str(), *about, *before), &format!("{after};"), plans);
    }
    page
}

async fn advised(conn: &mut AsyncPgConnection, sql: &str) -> Advice {
    let query = Query { id: json!("case"), sql: sql.to_owned(), ..Query::default() };
    let config = AdviceConfig { prove: Prove::Model, sample: true, ..AdviceConfig::default() };
    advise(conn, &[query], &config).await.unwrap()
}

async fn drops(conn: &mut AsyncPgConnection) -> String {
    let advice = advised(conn, "SELECT 1").await;
    let mut page = String::new();
    for (example, kind) in [(DROP_DUPLICATE, "duplicate"), (DROP_PREFIX, "prefix")] {
        let found = advice.drops.iter().find(|one| one.kind == kind && one.table == "dup").unwrap();
        let plans =
            plans(conn, example.2, &[&found.sql.replace(" CONCURRENTLY", "")], example.2, OPTIONS).await;
        page += &section(&example, &format!("{};", found.sql), plans);
    }
    // Counters of 14 days cannot be made: the index is the one that would go by then.
    let drop = "DROP INDEX addresses_kind_city_idx";
    let buffers = "ANALYZE, COSTS OFF, TIMING OFF, SUMMARY ON, BUFFERS ON";
    let plans = plans(conn, DROP_UNUSED.2, &[drop], DROP_UNUSED.2, buffers).await;
    page + &section(&DROP_UNUSED, "DROP INDEX CONCURRENTLY addresses_kind_city_idx;", plans)
}

/// The plans of a statement, and of another one once something was made; nothing of it stays.
async fn plans(
    conn: &mut AsyncPgConnection,
    before: &str,
    make: &[&str],
    after: &str,
    options: &str,
) -> (String, String) {
    conn.batch_execute("BEGIN").await.unwrap();
    let first = explained(conn, before, options).await;
    conn.batch_execute("ROLLBACK; BEGIN").await.unwrap();
    for statement in make {
        conn.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    let second = explained(conn, after, options).await;
    conn.batch_execute("ROLLBACK").await.unwrap();
    (first, second)
}

async fn explained(conn: &mut AsyncPgConnection, sql: &str, options: &str) -> String {
    let lines: Vec<Line> = sql_query(format!("EXPLAIN ({options}) {sql}")).get_results(conn).await.unwrap();
    lines.into_iter().map(|one| one.line).collect::<Vec<_>>().join("\n")
}

fn section((heading, about, sql): &Example, change: &str, (before, after): (String, String)) -> String {
    let mut out = format!("\n### {heading}\n{}\n\n", wrapped(about));
    let _ = writeln!(out, "Before:\n\n```sql\n{};\n```\n\n```text\n{}\n```\n", wrapped(sql), cut(&before));
    let change: Vec<String> = change.lines().map(wrapped).collect();
    let _ = writeln!(out, "After:\n\n```sql\n{}\n```\n\n```text\n{}\n```", change.join("\n"), cut(&after));
    out
}

//! Reads what the estimate of bloat stands on: sizes, rows, and the statistics of columns. No value leaves
//! the server.

use std::collections::HashMap;

use serde::Deserialize;

use crate::asker::{Answer, Asker, Missing, Question};
use crate::bloat::widths::Column;
use crate::bloat::{Bloat, BloatKind, Btree, FEWEST_PAGES, Heap};

/// Tables and B-trees that are large enough, with their sizes. A relation that somebody holds exclusively
/// keeps the size that VACUUM wrote down: asking for the true one would wait in the lock's queue.
const RELATIONS: Question = Question {
    from: &[("c", "pg_class"), ("n", "pg_namespace"), ("i", "pg_index"), ("l", "pg_locks"), ("m", "pg_am")],
    sql: "SELECT {c.oid}::bigint AS oid, {n.nspname}::text AS schema, {c.relname}::text AS name, {c.relkind}::text AS kind, \
      {c.relpages}::float8 AS pages, {c.reltuples}::float8 AS rows, {i.indrelid}::bigint AS table_oid, \
      current_setting('block_size')::float8 AS page_size, {i.indnkeyatts?}::int AS key_columns, \
      CASE WHEN EXISTS (SELECT FROM {l} l WHERE {l.relation} = c.oid AND {l.mode} = 'AccessExclusiveLock') THEN NULL \
        ELSE pg_relation_size(c.oid)::float8 END AS bytes, \
      (SELECT split_part(o, '=', 2)::float8 FROM unnest({c.reloptions}) o WHERE o LIKE 'fillfactor=%') AS fill, \
      coalesce('deduplicate_items=off' = ANY ({c.reloptions}), false) AS keeps_duplicates \
      FROM {c} c JOIN {n} n ON {n.oid} = {c.relnamespace} LEFT JOIN {i} i ON {i.indexrelid} = c.oid \
      LEFT JOIN {m} m ON {m.oid} = {c.relam} \
      WHERE (c.relkind IN ('r', 'm') OR c.relkind = 'i' AND {m.amname} = 'btree' AND {i.indisvalid}) \
      AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\\_toast%' \
      AND (n.nspname NOT IN ('pg_catalog', 'information_schema'))",
    needs_stats_role: false,
};

/// The columns of those relations. Of texts and numerics, the widths of sampled values with their weights.
const COLUMNS: Question = Question {
    from: &[
        ("c", "pg_class"),
        ("n", "pg_namespace"),
        ("a", "pg_attribute"),
        ("s", "pg_stats"),
        ("i", "pg_index"),
        ("t", "pg_type"),
        ("o", "pg_opclass"),
        ("p", "pg_amproc"),
        ("k", "pg_collation"),
    ],
    sql: "SELECT {a.attrelid}::bigint AS oid, {a.attnum}::int AS number, {a.attlen}::int AS length, \
      {a.attalign}::text AS align, {a.attstorage}::text AS storage, {a.attisdropped} AS dropped, \
      {s.null_frac}::float8 AS null_share, {s.avg_width}::float8 AS mean_width, {s.n_distinct}::float8 AS n_distinct, \
      {i.indkey}[a.attnum - 1]::int AS of_column, \
      CASE WHEN i.indkey IS NULL OR a.attnum > i.indnkeyatts THEN NULL ELSE EXISTS (SELECT FROM {o} o JOIN {p} p \
        ON {p.amprocfamily} = {o.opcfamily} AND {p.amproclefttype} = {o.opcintype} AND {p.amprocrighttype} = {o.opcintype} \
        AND {p.amprocnum} = 4 WHERE {o.oid} = {i.indclass}[a.attnum - 1]) AND coalesce((SELECT {k.collisdeterministic} \
        FROM {k} k WHERE {k.oid} = {i.indcollation}[a.attnum - 1]), true) END AS shares, \
      CASE WHEN {t.typname} IN ('text', 'varchar', 'bpchar', 'numeric') THEN (SELECT jsonb_agg(jsonb_build_array(width, weight)) \
        FROM (SELECT width, sum(weight) AS weight FROM ( \
          SELECT CASE WHEN t.typname = 'numeric' THEN pg_column_size(v::numeric) - 3 WHEN octet_length(v) <= 126 \
            THEN octet_length(v) + 1 ELSE octet_length(v) + 4 END AS width, f::float8 AS weight \
            FROM unnest({s.most_common_vals}::text::text[], {s.most_common_freqs}) AS common(v, f) \
          UNION ALL SELECT CASE WHEN t.typname = 'numeric' THEN pg_column_size(v::numeric) - 3 WHEN octet_length(v) <= 126 \
            THEN octet_length(v) + 1 ELSE octet_length(v) + 4 END, \
            greatest(0, 1 - s.null_frac - coalesce((SELECT sum(f) FROM unnest(s.most_common_freqs) f), 0))::float8 \
              / cardinality({s.histogram_bounds}::text::text[]) \
            FROM unnest(s.histogram_bounds::text::text[]) v) one GROUP BY width) many) END AS widths \
      FROM {c} c JOIN {n} n ON {n.oid} = {c.relnamespace} JOIN {a} a ON {a.attrelid} = {c.oid} AND {a.attnum} > 0 \
      LEFT JOIN {t} t ON {t.oid} = {a.atttypid} LEFT JOIN {i} i ON {i.indexrelid} = c.oid \
      LEFT JOIN {s} s ON {s.schemaname} = {n.nspname} AND {s.tablename} = {c.relname} AND {s.attname} = {a.attname} \
        AND NOT {s.inherited} \
      WHERE {c.relkind} IN ('r', 'm', 'i') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
      AND n.nspname NOT LIKE 'pg\\_toast%' AND ({c.relpages} >= 50 OR EXISTS (SELECT FROM {i} b JOIN {c} bc \
        ON bc.oid = b.indexrelid AND bc.relpages >= 50 WHERE b.indrelid = c.oid)) ORDER BY 1, 2",
    needs_stats_role: false,
};

#[derive(Debug, Clone, Deserialize)]
struct RelationRow {
    oid: i64,
    schema: String,
    name: String,
    kind: String,
    pages: f64,
    rows: f64,
    table_oid: Option<i64>,
    page_size: f64,
    key_columns: Option<usize>,
    bytes: Option<f64>,
    fill: Option<f64>,
    keeps_duplicates: bool,
}

#[derive(Debug, Clone, Deserialize)]
struct ColumnRow {
    oid: i64,
    number: i64,
    length: i64,
    align: String,
    storage: String,
    dropped: bool,
    null_share: Option<f64>,
    mean_width: Option<f64>,
    n_distinct: Option<f64>,
    of_column: Option<i64>,
    shares: Option<bool>,
    widths: Option<Vec<(f64, f64)>>,
}

impl RelationRow {
    /// How much larger it is than when its rows were counted.
    ///
    /// As the planner does it: `reltuples` and `relpages` are of one moment, and new pages are as full as
    /// those were. `n_live_tup` is newer, but a session adds its counts when it is idle, also those of rows
    /// that a VACUUM has counted meanwhile: it may be twice the truth, or nothing.
    fn growth(&self) -> f64 {
        let pages = self.bytes.map_or(self.pages, |bytes| bytes / self.page_size);
        if self.pages > 0.0 { pages / self.pages } else { 1.0 }
    }
}

/// The bloat of a database's relations, and what is not known of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bloats {
    /// The relations, the most wasteful first.
    pub(crate) found: Vec<Bloat>,
    /// Relations of which nothing is known, and why.
    pub(crate) unknown: Vec<(String, Missing)>,
}

impl Bloats {
    /// Estimates the bloat of all tables and B-trees of at least 100 pages.
    pub(crate) async fn read(asker: &Asker<'_>) -> Result<Self, Missing> {
        let relations: Answer<RelationRow> = asker.ask(&RELATIONS).await;
        let columns: Answer<ColumnRow> = asker.ask(&COLUMNS).await;
        match (relations.rows, columns.rows) {
            (Ok(relations), Ok(columns)) => Ok(of(&relations, columns)),
            (Err(missing), _) | (_, Err(missing)) => Err(missing),
        }
    }
}

fn of(relations: &[RelationRow], columns: Vec<ColumnRow>) -> Bloats {
    let mut by_relation: HashMap<i64, Vec<ColumnRow>> = HashMap::new();
    for column in columns {
        by_relation.entry(column.oid).or_default().push(column);
    }
    let by_oid: HashMap<i64, &RelationRow> =
        relations.iter().map(|relation| (relation.oid, relation)).collect();
    let mut bloats = Bloats::default();
    for relation in relations {
        let pages = relation.bytes.map_or(relation.pages, |bytes| bytes / relation.page_size);
        if pages < FEWEST_PAGES {
            continue;
        }
        let name = format!("{}.{}", relation.schema, relation.name);
        let estimate = if relation.kind == "i" {
            let table = relation.table_oid.and_then(|oid| by_oid.get(&oid)).copied();
            of_index(relation, table, pages, &by_relation)
        } else {
            of_table(relation, pages, &by_relation)
        };
        match estimate {
            Ok(percent) => bloats.found.push(Bloat {
                relation: name,
                kind: if relation.kind == "i" { BloatKind::Index } else { BloatKind::Table },
                bytes: (pages * relation.page_size) as u64,
                bloat_percent: (percent * 10.0).round() / 10.0,
            }),
            Err(missing) => bloats.unknown.push((name, missing)),
        }
    }
    bloats.found.sort_by(|a, b| b.wasted().total_cmp(&a.wasted()));
    bloats
}

fn of_table(relation: &RelationRow, pages: f64, all: &HashMap<i64, Vec<ColumnRow>>) -> Result<f64, Missing> {
    let none = Vec::new();
    let columns = all.get(&relation.oid).unwrap_or(&none).iter().map(|row| column(row, row));
    let heap = Heap {
        pages,
        page_size: relation.page_size,
        rows: known(relation.rows)? * relation.growth(),
        fill: relation.fill.unwrap_or(100.0) / 100.0,
        columns: columns.collect::<Result<_, _>>()?,
    };
    Ok(heap.bloat_percent())
}

fn of_index<'a>(
    relation: &RelationRow,
    table: Option<&RelationRow>,
    pages: f64,
    all: &'a HashMap<i64, Vec<ColumnRow>>,
) -> Result<f64, Missing> {
    let of = |oid: i64| all.get(&oid).map_or(&[] as &'a [ColumnRow], Vec::as_slice);
    let of_table = relation.table_oid.map_or(&[] as &'a [ColumnRow], of);
    let own = of(relation.oid);
    // A plain column has the statistics of its table, an expression its own.
    let statistics = |row: &'a ColumnRow| match row.of_column {
        Some(number) if number > 0 => of_table.iter().find(|column| column.number == number).unwrap_or(row),
        _ => row,
    };
    let columns: Vec<Column> =
        own.iter().map(|row| column(row, statistics(row))).collect::<Result<_, _>>()?;
    let key_columns = relation.key_columns.unwrap_or(columns.len());
    let entries = known(relation.rows)? * table.map_or(1.0, RelationRow::growth);
    let shares = !relation.keeps_duplicates
        && key_columns == columns.len()
        && own.iter().all(|row| row.shares.unwrap_or(false));
    let distinct = shares.then(|| distinct(own.iter().map(statistics), entries));
    let fill = relation.fill.unwrap_or(90.0) / 100.0;
    let tree = Btree { pages, page_size: relation.page_size, entries, fill, columns, key_columns, distinct };
    Ok(tree.bloat_percent())
}

fn known(rows: f64) -> Result<f64, Missing> {
    if rows < 0.0 { Err("it was never analyzed: ANALYZE it".to_owned()) } else { Ok(rows) }
}

/// How many different keys there are: the columns are taken as independent of each other.
fn distinct<'a>(columns: impl Iterator<Item = &'a ColumnRow>, entries: f64) -> f64 {
    let each = columns.map(|column| {
        let nulls = column.null_share.unwrap_or(0.0);
        let values = match column.n_distinct.unwrap_or(-1.0) {
            share if share < 0.0 => -share * entries,
            count => count,
        };
        values.max(1.0) + if nulls > 0.0 { 1.0 } else { 0.0 }
    });
    let (columns, combinations) = each.fold((0, 1.0), |(columns, all), values| (columns + 1, all * values));
    // Of one column all values occur that were counted.
    if columns < 2 || combinations >= entries * 20.0 {
        return combinations.min(entries).max(1.0);
    }
    // Of so many combinations, this many occur among so many entries.
    let occur = combinations * (1.0 - (-entries / combinations).exp());
    if combinations >= entries * 0.95 { combinations.min(entries).max(occur) } else { occur.max(1.0) }
}

fn column(layout: &ColumnRow, statistics: &ColumnRow) -> Result<Column, Missing> {
    let fixed = usize::try_from(layout.length).ok();
    let (Some(null_share), Some(mean_width)) = (statistics.null_share, statistics.mean_width) else {
        // A dropped column is null in every row that was written since.
        if layout.dropped {
            return Ok(Column { null_share: 1.0, ..plain(layout, fixed) });
        }
        return Err(
            "the statistics of a column are missing or not for this role: ANALYZE it, or GRANT SELECT"
                .to_owned(),
        );
    };
    let widths = statistics.widths.iter().flatten().map(|(width, weight)| (*width as usize, *weight));
    Ok(Column { null_share, mean_width, widths: widths.collect(), ..plain(layout, fixed) })
}

fn plain(layout: &ColumnRow, fixed: Option<usize>) -> Column {
    let align = match layout.align.as_str() {
        "c" => 1,
        "s" => 2,
        "i" => 4,
        _ => 8,
    };
    let packs = layout.storage != "p" || layout.length == -2;
    Column { fixed, align, packs, null_share: 0.0, widths: Vec::new(), mean_width: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(n_distinct: f64, null_share: f64) -> ColumnRow {
        ColumnRow {
            oid: 1,
            number: 1,
            length: -1,
            align: "i".to_owned(),
            storage: "x".to_owned(),
            dropped: false,
            null_share: Some(null_share),
            mean_width: Some(33.0),
            n_distinct: Some(n_distinct),
            of_column: None,
            shares: Some(true),
            widths: None,
        }
    }

    #[test]
    fn all_values_of_one_column_occur_and_of_combinations_those_that_fit() {
        let of = |columns: &[ColumnRow]| distinct(columns.iter(), 60_000.0).round();
        // A third of the rows has a value each, the others are null.
        assert_eq!(of(&[column(-1.0 / 3.0, 2.0 / 3.0)]), 20_001.0);
        assert_eq!(of(&[column(-1.0, 0.0)]), 60_000.0);
        assert_eq!(of(&[column(100.0, 0.0), column(5.0, 0.0)]), 500.0);
        let many = of(&[column(300.0, 0.0), column(100.0, 0.0)]);
        assert!((25_000.0..30_000.0).contains(&many), "{many}");
    }
}

//! Checks of indexes: missing ones behind foreign keys, and those that cost more than they give.

use db_core::CheckStatus;

use crate::bloat::BloatKind;
use crate::checks::bound::NEVER;
use crate::checks::evidence::known;
use crate::checks::tables::of_bloat;
use crate::checks::{Bound, Check, Evidence, Findings, finding, qualified, unknown};
use crate::schema_look::Definition;
use crate::{Subject, SubjectKind, amount};

const CHILD_ROWS: Bound = Bound {
    of: "rows of a table whose foreign key has no index",
    warn: 10_000.0,
    critical: NEVER,
    unit: "{row}",
};
pub(super) const BLOAT: Bound =
    Bound { of: "bloat of a B-tree over 100 MiB", warn: 50.0, critical: NEVER, unit: "%" };
const NULLS: Bound =
    Bound { of: "nulls in the only column of an index", warn: 50.0, critical: NEVER, unit: "%" };
const INDEXES: Bound =
    Bound { of: "indexes of a table that is mostly written", warn: 8.0, critical: NEVER, unit: "{index}" };

/// Smaller B-trees are not worth it, in bytes.
pub(super) const LARGE_INDEX: f64 = 104_857_600.0;
/// Tables with fewer rows need no partial index.
const MANY_ROWS: f64 = 100_000.0;
/// As many writes for each read make a table mostly written.
const WRITES_PER_READ: f64 = 100.0;
/// Fewer writes say nothing.
const ENOUGH_WRITES: f64 = 10_000.0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "foreign-keys-without-index",
        title: "Foreign keys without an index",
        looks_at: "foreign keys of large tables whose columns no index begins with: each DELETE of a parent reads the whole table. \
                   Also of smaller ones, where parents are deleted or changed.",
        bounds: &[&CHILD_ROWS],
        well: "every foreign key of a large table has an index",
        sql: "SELECT conrelid::regclass, conname, confrelid::regclass FROM pg_constraint WHERE contype = 'f'",
        judge: foreign_keys,
    },
    Check {
        id: "duplicate-indexes",
        title: "Indexes that another one replaces",
        looks_at: "indexes that are equal, or whose columns another one begins with: same method, classes, collations, orders and \
                   predicate. Those of constraints, of replica identity and of CLUSTER are never named.",
        bounds: &[],
        well: "no index is replaced by another one",
        sql: "SELECT indrelid::regclass, indexrelid::regclass, indkey FROM pg_index ORDER BY 1, 3",
        judge: duplicates,
    },
    Check {
        id: "invalid-indexes",
        title: "Invalid indexes",
        looks_at: "indexes that CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY left behind: they cost at every write and serve \
                   no read. Those that are being built are not meant. Critical where the index is unique.",
        bounds: &[],
        well: "every index is valid",
        sql: "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid OR NOT indisready",
        judge: invalid,
    },
    Check {
        id: "index-bloat",
        title: "Bloat of B-trees",
        looks_at: "the estimate of what REINDEX would give back.",
        bounds: &[&BLOAT],
        well: "no large B-tree is bloated",
        sql: "SELECT oid::regclass, relpages, reltuples FROM pg_class WHERE relkind = 'i' ORDER BY relpages DESC LIMIT 20",
        judge: bloat,
    },
    Check {
        id: "mostly-null-indexes",
        title: "Indexes of columns that are mostly null",
        looks_at: "indexes on one column of tables of at least 100,000 rows: a partial index is smaller.",
        bounds: &[&NULLS],
        well: "no large index holds mostly nulls",
        sql: "SELECT schemaname, tablename, attname, null_frac FROM pg_stats WHERE null_frac > 0.5 ORDER BY null_frac DESC LIMIT 50",
        judge: mostly_null,
    },
    Check {
        id: "many-indexes",
        title: "Many indexes on a table that is mostly written",
        looks_at: "tables with a hundred writes for each read: every index makes each write dearer.",
        bounds: &[&INDEXES],
        well: "no table that is mostly written has many indexes",
        sql: "SELECT indrelid::regclass, count(*) FROM pg_index GROUP BY 1 ORDER BY 2 DESC LIMIT 20",
        judge: many_indexes,
    },
];

fn foreign_keys(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        let keys = match &schema.foreign_keys.rows {
            Ok(keys) => keys,
            Err(why) => {
                found.push(unknown(why));
                continue;
            }
        };
        for key in keys {
            let changes_hurt = key.parent_changes > 0.0 && key.rows >= 1_000.0;
            if CHILD_ROWS.exceeded(key.rows).is_none() && !changes_hurt {
                continue;
            }
            let text = format!(
                "{} has no index on ({}): each DELETE in {} reads all its {} rows",
                key.table,
                key.columns,
                key.parent,
                amount(key.rows, "1")
            );
            found.push(
                finding(CheckStatus::Warn, text)
                    .about(Subject::new(SubjectKind::Constraint, format!("{}.{}", key.table, key.name)))
                    .figure("rows", key.rows, "{row}")
                    .figure("parent_changes", key.parent_changes, "{change}")
                    .fix(
                        format!("CREATE INDEX CONCURRENTLY ON {} ({})", key.table, key.columns),
                        "outside a transaction; if it fails, drop the invalid index that it leaves",
                    ),
            );
        }
    }
    Ok(found)
}

/// Whether `index` is not needed because of `other`.
fn replaced_by(index: &Definition, other: &Definition) -> bool {
    let comparable = index.table == other.table
        && index.name != other.name
        && index.method == other.method
        && index.is_valid
        && other.is_valid
        && !index.is_needed
        && !index.is_part
        && index.predicate == other.predicate;
    if !comparable {
        return false;
    }
    let same = index.keys == other.keys
        && index.expressions == other.expressions
        && index.classes == other.classes
        && index.collations == other.collations
        && index.options == other.options
        && index.key_columns == other.key_columns;
    if same {
        // Of equal ones keep the one that a constraint needs, else a unique one, else the first.
        return match (other.is_needed, index.is_unique, other.is_unique) {
            (true, true, unique) => unique,
            (true, ..) => true,
            (_, true, false) => false,
            (_, false, true) => true,
            _ => other.name < index.name,
        };
    }
    // Expressions are one text for all columns, and what is included has no order: compare plain keys only.
    let plain = index.expressions.is_none() && other.expressions.is_none();
    let keys = index.keys.len();
    plain
        && index.method == "btree"
        && !index.is_unique
        && keys == index.key_columns
        && keys < other.key_columns
        && other.keys.starts_with(&index.keys)
        && other.classes.starts_with(&index.classes)
        && other.collations.starts_with(&index.collations)
        && other.options.starts_with(&index.options)
}

fn duplicates(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        let definitions = schema.definitions.rows.as_ref().map_err(Clone::clone)?;
        for index in definitions {
            let same_table = definitions.iter().filter(|other| other.table == index.table);
            let Some(other) = same_table.clone().find(|other| replaced_by(index, other)) else { continue };
            let text = format!(
                "{} is not needed: {} serves the same, and it takes {}",
                index.name,
                other.name,
                amount(index.bytes, "By")
            );
            found.push(
                finding(CheckStatus::Warn, text)
                    .about(Subject::new(SubjectKind::Index, index.name.clone()))
                    .figure("size", index.bytes, "By")
                    .fix(
                        format!("DROP INDEX CONCURRENTLY {}", index.name),
                        "outside a transaction; look first whether a hint or a statement names it",
                    ),
            );
        }
    }
    Ok(found)
}

fn invalid(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        let definitions = schema.definitions.rows.as_ref().map_err(Clone::clone)?;
        let left = |index: &&Definition| (!index.is_valid || !index.is_ready) && !index.is_built;
        for index in definitions.iter().filter(left) {
            let status = if index.is_unique { CheckStatus::Critical } else { CheckStatus::Warn };
            let text = format!("{} on {} is invalid: no statement uses it", index.name, index.table);
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Index, index.name.clone()))
                    .figure("size", index.bytes, "By")
                    .fix(
                        format!("REINDEX INDEX CONCURRENTLY {}", index.name),
                        "outside a transaction; one that ends in _ccnew or _ccold is dropped: DROP INDEX CONCURRENTLY",
                    ),
            );
        }
    }
    Ok(found)
}

fn bloat(evidence: &Evidence<'_>) -> Findings {
    let fix = |name: &str| format!("REINDEX INDEX CONCURRENTLY {name}");
    of_bloat(evidence, BloatKind::Index, &BLOAT, LARGE_INDEX, SubjectKind::Index, fix)
}

fn mostly_null(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for schema in evidence.schemas()? {
        let rows = schema.mostly_null.rows.as_ref().map_err(Clone::clone)?;
        for one in rows.iter().filter(|one| one.rows >= MANY_ROWS) {
            let share = one.null_share * 100.0;
            let Some(status) = NULLS.exceeded(share) else { continue };
            let text = format!("{share:.0} % of the entries of {} are null", one.index);
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Index, one.index.clone()))
                    .figure("nulls", share, "%")
                    .figure("rows", one.rows, "{row}")
                    .fix(
                        format!(
                            "CREATE INDEX CONCURRENTLY ON {} ({col}) WHERE {col} IS NOT NULL",
                            one.table,
                            col = one.column
                        ),
                        "then drop the old one; a query for IS NULL needs the old one",
                    ),
            );
        }
        found.extend(unreadable(schema));
    }
    Ok(found)
}

/// That the statistics of some tables are not for this role: without them nothing is concluded.
pub(super) fn unreadable(schema: &crate::SchemaLook) -> Option<crate::CheckResult> {
    match &schema.unreadable.rows {
        Ok(rows) => {
            let tables = rows.first().map_or(0.0, |row| row.tables);
            (tables > 0.0).then(|| {
                unknown(format!(
                    "the statistics of {tables} tables are not for this role: GRANT pg_read_all_data TO it"
                ))
            })
        }
        Err(why) => Some(unknown(why)),
    }
}

fn many_indexes(evidence: &Evidence<'_>) -> Findings {
    let mut found = Vec::new();
    for database in evidence.now.by_database.values() {
        let (tables, indexes) = (known(&database.tables)?, known(&database.indexes)?);
        for table in tables {
            let own: Vec<_> = indexes.iter().filter(|index| index.table_oid == table.oid).collect();
            let writes = (table.n_tup_ins + table.n_tup_upd + table.n_tup_del) as f64;
            let reads = table.seq_scan as f64 + own.iter().map(|index| index.idx_scan as f64).sum::<f64>();
            if writes < ENOUGH_WRITES || writes / reads.max(1.0) < WRITES_PER_READ {
                continue;
            }
            let Some(status) = INDEXES.exceeded(own.len() as f64) else { continue };
            let name = qualified(&table.schemaname, &table.relname);
            let text = format!("{name} has {} indexes and {writes} writes for {reads} reads", own.len());
            found.push(
                finding(status, text)
                    .about(Subject::new(SubjectKind::Table, name))
                    .figure("indexes", own.len() as f64, "{index}")
                    .figure("writes", writes, "{row}")
                    .figure("reads", reads, "{scan}"),
            );
        }
    }
    if evidence.now.by_database.is_empty() {
        Err("no database was looked at yet".to_owned())
    } else {
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(name: &str, keys: &[i64]) -> Definition {
        Definition {
            table: "t".to_owned(),
            name: name.to_owned(),
            method: "btree".to_owned(),
            keys: keys.to_vec(),
            classes: vec![1; keys.len()],
            collations: vec![0; keys.len()],
            options: vec![0; keys.len()],
            key_columns: keys.len(),
            is_valid: true,
            is_ready: true,
            ..Definition::default()
        }
    }

    fn check(index: &Definition, other: &Definition, expected: bool) {
        assert_eq!(replaced_by(index, other), expected, "{index:?} by {other:?}");
    }

    #[test]
    fn an_index_is_replaced_by_a_longer_one_that_begins_with_it() {
        check(&index("a", &[1]), &index("b", &[1, 2]), true);
        check(&index("a", &[2]), &index("b", &[1, 2]), false);
        check(&index("b", &[1, 2]), &index("a", &[1]), false);
        check(&Definition { is_unique: true, ..index("a", &[1]) }, &index("b", &[1, 2]), false);
        check(
            &Definition { predicate: Some("p".to_owned()), ..index("a", &[1]) },
            &index("b", &[1, 2]),
            false,
        );
        check(&Definition { options: vec![3], ..index("a", &[1]) }, &index("b", &[1, 2]), false);
        check(&Definition { method: "gin".to_owned(), ..index("a", &[1]) }, &index("b", &[1, 2]), false);
    }

    #[test]
    fn of_two_equal_indexes_one_is_kept() {
        check(&index("b", &[1]), &index("a", &[1]), true);
        check(&index("a", &[1]), &index("b", &[1]), false);
    }

    #[test]
    fn what_a_constraint_needs_is_kept() {
        let primary = Definition { is_needed: true, is_unique: true, ..index("z_pkey", &[1]) };
        check(&primary, &index("a", &[1]), false);
        check(&index("a", &[1]), &primary, true);
        check(&Definition { is_unique: true, ..index("a", &[1]) }, &index("b", &[1]), false);
    }
}

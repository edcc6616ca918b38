//! Which indexes serve nobody: exact duplicates, prefixes of others, and those that nothing reads.
//!
//! Never one that a constraint, uniqueness, a replica identity or CLUSTER stands on, and never the last one
//! that a foreign key of its table looks up by. Counters prove little: what is unused needs a long window,
//! and standbys read too.

use serde::Serialize;

use super::catalog::{Catalog, IndexKey, Table, TableIndex};

/// Counters younger than this, in days, say nothing of what is unused.
pub const YOUNGEST_WINDOW_DAYS: f64 = 14.0;

/// Smaller indexes, in bytes, are not worth a word when they are unused.
const SMALLEST_UNUSED: f64 = 1_048_576.0;

/// An index that could go.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Drop {
    /// The index.
    pub index: String,
    /// Its table.
    pub table: String,
    /// `duplicate`, `prefix` or `unused`.
    pub kind: &'static str,
    /// Why, and what does its work.
    pub why: String,
    /// The statement that drops it without blocking anybody.
    pub sql: String,
    /// What it takes up.
    pub bytes: u64,
    /// What one should know: that this role may not drop it, or that statistics go with it.
    pub notes: Vec<String>,
}

pub(crate) fn drops(catalog: &Catalog, notes: &mut Vec<super::Note>) -> Vec<Drop> {
    let mut found: Vec<Drop> = Vec::new();
    for table in &catalog.tables {
        let mut gone: Vec<i64> = Vec::new();
        let mut indexes: Vec<&TableIndex> = table.indexes.iter().filter(|index| may_go(index)).collect();
        // The younger goes first, and so does the one with the longer name where both came at once.
        indexes.sort_by_key(|index| std::cmp::Reverse(index.oid));
        for index in indexes {
            let others = table.indexes.iter().filter(|other| other.oid != index.oid && other.valid);
            let others = others.filter(|other| !gone.contains(&other.oid));
            let Some((other, kind)) =
                others.filter_map(|other| Some((other, replaces(other, index)?))).next()
            else {
                continue;
            };
            gone.push(index.oid);
            let why = match kind {
                "duplicate" => format!("{} is the same", other.shown),
                _ => format!("{} begins with the same keys and does its work", other.shown),
            };
            found.push(drop_of(table, index, kind, why));
        }
        found.extend(unused(catalog, table, &gone));
    }
    if catalog.window_days.is_none_or(|days| days < YOUNGEST_WINDOW_DAYS) {
        let since =
            catalog.window_days.map_or("nobody knows since when the counters count".to_owned(), |days| {
                format!("the counters were reset {days:.1} days ago")
            });
        notes.push(super::Note::general(
            "young_statistics",
            format!("{since}: which indexes are unused is not judged before {YOUNGEST_WINDOW_DAYS} days"),
        ));
    }
    found
}

/// Whether nothing but queries can depend on it.
fn may_go(index: &TableIndex) -> bool {
    index.valid
        && !index.unique
        && !index.constraint
        && !index.replica_identity
        && !index.clustered
        && !index.partitioned
        && !index.building
}

/// Whether the other one does all that this one does, and how.
fn replaces(other: &TableIndex, index: &TableIndex) -> Option<&'static str> {
    let same = |a: &IndexKey, b: &IndexKey| {
        a.text == b.text && a.opclass == b.opclass && a.collation == b.collation && a.options == b.options
    };
    let opposite = |a: &IndexKey, b: &IndexKey| {
        a.text == b.text && a.opclass == b.opclass && a.collation == b.collation && a.options == 3 - b.options
    };
    if other.method != index.method || other.predicate != index.predicate || other.partitioned {
        return None;
    }
    let has = |name: &String| other.include.contains(name) || other.keys.iter().any(|key| key.text == *name);
    if !index.include.iter().all(has) {
        return None;
    }
    let pairs = || other.keys.iter().zip(&index.keys);
    let forward = pairs().all(|(a, b)| same(a, b));
    // A B-tree is read backward just as well.
    let backward = index.method == "btree" && pairs().all(|(a, b)| opposite(a, b));
    if !(forward || backward) {
        return None;
    }
    let ordered = matches!(index.method.as_str(), "btree");
    if other.keys.len() == index.keys.len() {
        let plain = index.include.len() >= other.include.len() || other.constraint || other.unique;
        return Some(if plain && forward { "duplicate" } else { "prefix" });
    }
    if ordered && other.keys.len() > index.keys.len() { Some("prefix") } else { None }
}

fn unused(catalog: &Catalog, table: &Table, gone: &[i64]) -> Vec<Drop> {
    let Some(days) = catalog.window_days.filter(|days| *days >= YOUNGEST_WINDOW_DAYS) else {
        return Vec::new();
    };
    // What a standby reads is counted there only.
    if catalog.standbys > 0 || catalog.standby {
        return Vec::new();
    }
    let candidates = table.indexes.iter().filter(|index| may_go(index) && !gone.contains(&index.oid));
    candidates
        .filter(|index| {
            index.scans == 0.0 && index.bytes >= SMALLEST_UNUSED && !backs_foreign_key(catalog, table, index)
        })
        .map(|index| {
            drop_of(table, index, "unused", format!("nothing has read it for {days:.0} days, on this server"))
        })
        .collect()
}

/// Whether a foreign key of this table finds its rows by this index.
fn backs_foreign_key(catalog: &Catalog, table: &Table, index: &TableIndex) -> bool {
    catalog.foreign_keys.iter().filter(|key| key.table == table.oid).any(|key| {
        let first: Vec<&str> =
            index.keys.iter().take(key.columns.len()).map(|key| key.text.as_str()).collect();
        index.predicate.is_none() && key.columns.iter().all(|column| first.contains(&column.as_str()))
    })
}

fn drop_of(table: &Table, index: &TableIndex, kind: &'static str, why: String) -> Drop {
    Drop {
        index: index.name.clone(),
        table: table.shown.clone(),
        kind,
        why,
        sql: format!("DROP INDEX CONCURRENTLY {}", index.shown),
        bytes: index.bytes as u64,
        notes: notes(table, index, kind),
    }
}

fn notes(table: &Table, index: &TableIndex, kind: &'static str) -> Vec<String> {
    let mut notes = Vec::new();
    if !table.owned {
        notes.push(format!("this role cannot drop it: {} belongs to {}", table.shown, table.owner));
    }
    // Nothing reads it, and yet ANALYZE gathers for it how often each value of the expression is there.
    let is_column = |key: &IndexKey| table.column(key.text.trim_matches('"')).is_some();
    if kind == "unused" && !index.keys.iter().all(is_column) {
        notes.push(format!(
            "the statistics of its expression go with it, and plans may depend on them: CREATE \
             STATISTICS on the same expression of {} keeps them",
            table.shown
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_unused_index_on_an_expression_takes_its_statistics_along() {
        let index = |key: &str| {
            json!({
                "name": "i", "shown": "i", "method": "btree", "unique": false, "valid": true,
                "constraint": false, "replica_identity": false, "clustered": false,
                "partitioned": false, "predicate": null,
                "keys": [{ "text": key, "opclass": "text_ops", "default_opclass": true, "collation": 100,
                    "own_collation": true, "options": 0 }],
                "bytes": 2e6, "scans": 0.0, "oid": 7, "building": false,
            })
        };
        let table: Table = serde_json::from_value(json!({
            "oid": 1, "schema": "public", "name": "t", "shown": "t", "kind": "r", "rows": 1e6, "pages": 1e4,
            "visible_pages": 1e4, "root": null, "owned": true, "owner": "ann", "may_create": true,
            "changed_since_analyze": 0.0, "inserts": 0.0, "updates": 0.0, "hot_updates": 0.0,
            "columns": [{ "name": "Email", "kind": "text", "category": "S", "c_collation": true,
                "width": 20.0, "distinct": -1.0, "correlation": 0.0 }],
        }))
        .unwrap();
        let of = |key: &str, kind| {
            let index: TableIndex = serde_json::from_value(index(key)).unwrap();
            notes(&table, &index, kind).join("; ")
        };
        assert!(of("lower(email)", "unused").contains("CREATE STATISTICS on the same expression of t"));
        assert_eq!(
            (of("\"Email\"", "unused"), of("lower(email)", "duplicate")),
            (String::new(), String::new())
        );
    }
}

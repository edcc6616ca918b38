//! What a backup has lost since the one before it: databases, a good part of the tables, half of the bytes.
//!
//! Somebody may have cleaned up. Or a schema was dropped, or another cluster is backed up under the same
//! name, and retention will soon have removed the last backup that has it. Whoever is told decides.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Cluster;
use crate::manifest::{File, Kind, Root, Summary, What};

/// The note that says how many relations each database has: tables, indexes and what holds their long values.
pub(crate) const RELATIONS: &str = "relations";
/// The note of a dump that says how many rows each table has.
const ROWS: &str = crate::logical::ROWS;
/// The note of a dump that says whether they were counted.
pub(crate) const COUNTED: &str = "counted";
/// The first number that a relation of a user's can have. Below it are the catalogs.
const FIRST_OF_USERS: u32 = 16_384;
/// Fewer are not compared: of three tables, one that goes is a third.
const FEW: u64 = 8;
/// So many names are told.
const MOST_NAMES: usize = 5;

/// How many relations of users each database has, by the names of its files.
pub(crate) fn relations(files: &[File], databases: &BTreeMap<u32, String>) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<String, u64> =
        databases.values().map(|database| (database.clone(), 0)).collect();
    for file in files.iter().filter(|file| matches!(file.what, What::File { .. })) {
        let Some(database) = database_of(file).and_then(|oid| databases.get(&oid)) else { continue };
        if let Some(count) = counts.get_mut(database) {
            *count = count.saturating_add(1);
        }
    }
    counts
}

/// The database of which a file is the first of a relation of a user's.
fn database_of(file: &File) -> Option<u32> {
    let mut parts = file.path.split('/');
    // `base/16385/16399`, and in a tablespace `PG_17_202406281/16385/16399`.
    match (&file.root, parts.next()?) {
        (Root::Data, "base") | (Root::Tablespace(_), _) => {}
        _ => return None,
    }
    let database = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    // Further segments and forks have something behind the number.
    let number: u32 = name.strip_prefix("INCREMENTAL.").unwrap_or(name).parse().ok()?;
    (number >= FIRST_OF_USERS && parts.next().is_none()).then_some(database)
}

/// What `now` does not have and the newest backup of its kind before it had. Nothing where the repository may
/// not be read.
pub(crate) async fn since_the_last(cluster: &Cluster, now: &Summary) -> Vec<String> {
    // A host whose credentials may only put cannot look.
    if cluster.inside.writes_only {
        return Vec::new();
    }
    let Ok(backups) = cluster.backups().await else { return Vec::new() };
    let same = |other: &&Summary| {
        other.kind.is_physical() == now.kind.is_physical()
            && other.id != now.id
            && other.notes.get("tables") == now.notes.get("tables")
    };
    // Their names say the second, and several may be of one.
    let before = backups.whole.iter().filter(same).max_by_key(|other| other.ended);
    let mut lost = before.map(|before| in_content(before, now)).unwrap_or_default();
    // An incremental backup says nothing of the size of the whole.
    let whole = |other: &Summary| other.kind != Kind::Incremental;
    let of_size = backups.whole.iter().filter(|other| same(other) && whole(other) && whole(now));
    let before = of_size.max_by_key(|other| other.ended);
    lost.extend(before.and_then(|before| in_bytes(before, now)));
    lost
}

fn in_bytes(before: &Summary, now: &Summary) -> Option<String> {
    let (bytes, then) = (now.figures.plain_bytes, before.figures.plain_bytes);
    let is_less = now.databases == before.databases && bytes < then / 2;
    is_less.then(|| {
        format!(
            "this backup has {bytes} bytes, and {} had {then}: see whether something is missing",
            before.id
        )
    })
}

fn in_content(before: &Summary, now: &Summary) -> Vec<String> {
    let mut lost = Vec::new();
    // Which databases a dump has was asked for.
    if now.kind.is_physical() {
        let gone = before.databases.iter().filter(|database| !now.databases.contains(database));
        lost.extend(gone.map(|database| {
            format!("the database {database} is gone: {} is the last backup that has it", before.id)
        }));
    }
    let (had, has) = (relations_of(before), relations_of(now));
    for (database, then) in had {
        let Some(left) = has.get(&database) else { continue };
        if then >= FEW && *left < then - then / 4 {
            lost.push(format!(
                "{database} has {left} tables and indexes, and {} had {then}: see whether some are missing",
                before.id
            ));
        }
    }
    lost.extend(tables(before, now));
    lost
}

fn relations_of(summary: &Summary) -> BTreeMap<String, u64> {
    let Some(Value::Object(all)) = summary.notes.get(RELATIONS) else { return BTreeMap::new() };
    all.iter().filter_map(|(database, count)| Some((database.clone(), count.as_u64()?))).collect()
}

/// What dumps tell: each table by its name, with its rows.
fn tables(before: &Summary, now: &Summary) -> Vec<String> {
    // Where nobody counted nothing is known.
    let (Some(had), Some(has), Some(Value::Bool(true))) = (rows(before), rows(now), now.notes.get(COUNTED))
    else {
        return Vec::new();
    };
    let mut lost = Vec::new();
    for (database, had) in had {
        let Some(has) = has.get(&database) else { continue };
        let gone: Vec<&str> =
            had.keys().filter(|table| !has.contains_key(*table)).map(String::as_str).collect();
        if !gone.is_empty() && gone.len().saturating_mul(4) >= had.len() {
            let names = gone.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
            let more = match gone.len().saturating_sub(MOST_NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            lost.push(format!("{database} has no {names}{more} any more, which {} had", before.id));
        }
        let sum = |of: &BTreeMap<String, u64>| of.values().copied().fold(0, u64::saturating_add);
        let (left, then) = (sum(has), sum(&had));
        if left < then / 2 {
            lost.push(format!("the tables of {database} have {left} rows, and had {then} in {}", before.id));
        }
    }
    lost
}

/// The rows of each table of each database, if they were counted.
fn rows(summary: &Summary) -> Option<BTreeMap<String, BTreeMap<String, u64>>> {
    serde_json::from_value(summary.notes.get(ROWS)?.clone()).ok()
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::json;

    use super::*;

    fn file(root: Root, path: &str) -> File {
        let what = What::File { extent: crate::Extent::default() };
        File { path: path.to_owned(), root, what, mode: 0o600, modified: Utc::now() }
    }

    fn summary(kind: Kind, notes: Value) -> Summary {
        let mut summary = Summary::new(kind, Default::default(), Utc::now());
        summary.databases = vec!["app".to_owned()];
        summary.figures.plain_bytes = 1_000;
        summary.notes = serde_json::from_value(notes).unwrap();
        summary
    }

    #[track_caller]
    fn check(before: &Summary, now: &Summary, expected: &[&str]) {
        let mut lost = in_content(before, now);
        lost.extend(in_bytes(before, now));
        assert_eq!(lost.len(), expected.len(), "{lost:?}");
        for (lost, expected) in lost.iter().zip(expected) {
            assert!(lost.contains(expected), "{lost}");
        }
    }

    #[test]
    fn each_relation_of_a_user_is_counted_once_and_no_catalog() {
        let names = BTreeMap::from([(5, "postgres".to_owned()), (16_400, "app".to_owned())]);
        let of_data = ["base/16400/16501", "base/16400/16501.1", "base/16400/16501_fsm", "base/16400/1259"];
        let mut files: Vec<File> = of_data.iter().map(|path| file(Root::Data, path)).collect();
        files.push(file(Root::Data, "base/16400/INCREMENTAL.16502"));
        files.push(file(Root::Tablespace(16_390), "PG_15_202209061/16400/16503"));
        files.push(file(Root::Data, "global/16504"));
        let counts = relations(&files, &names);
        assert_eq!(counts, BTreeMap::from([("postgres".to_owned(), 0), ("app".to_owned(), 3)]));
    }

    #[test]
    fn a_quarter_of_the_relations_and_a_database_that_go_are_told_and_a_few_are_not() {
        let of = |count: u64| summary(Kind::Full, json!({ RELATIONS: { "app": count } }));
        check(&of(100), &of(76), &[]);
        check(&of(100), &of(70), &["app has 70 tables and indexes, and"]);
        check(&of(4), &of(2), &[]);
        check(&summary(Kind::Full, json!({})), &of(2), &[]);
        let mut without = of(100);
        without.databases = vec!["other".to_owned()];
        check(&of(100), &without, &["the database app is gone"]);
    }

    #[test]
    fn half_of_the_bytes_are_told() {
        let (before, mut now) = (summary(Kind::Full, json!({})), summary(Kind::Full, json!({})));
        now.figures.plain_bytes = 501;
        check(&before, &now, &[]);
        now.figures.plain_bytes = 499;
        check(&before, &now, &["this backup has 499 bytes"]);
    }

    #[test]
    fn a_dump_names_the_tables_that_are_gone_and_counts_their_rows() {
        let of = |rows: Value, counted: bool| {
            summary(Kind::Logical, json!({ ROWS: { "app": rows }, COUNTED: counted }))
        };
        let before = of(json!({ "public.a": 100, "public.b": 100, "public.c": 0 }), true);
        check(&before, &of(json!({ "public.a": 100, "public.b": 100, "public.c": 0 }), true), &[]);
        check(
            &before,
            &of(json!({ "public.a": 100, "public.b": 100 }), true),
            &["app has no public.c any more"],
        );
        check(
            &before,
            &of(json!({ "public.a": 9, "public.b": 9, "public.c": 0 }), true),
            &["have 18 rows, and had 200"],
        );
        check(&before, &of(json!({}), false), &[]);
    }
}

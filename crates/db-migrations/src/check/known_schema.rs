//! A schema that is read again only where the catalogs changed.
//!
//! To print every object takes the server ten times as long as to say where the rows of its catalogs stand.
//! What stands where it stood prints as it did, unless a name in it has changed: then everything is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::difference::Difference;
use super::error::CheckError;
use super::fingerprint::{Fingerprint, Object, Placed, prepared, rows, rows_printed};

/// A schema at one moment, and where the rows of its catalogs stood.
#[derive(Debug, Clone)]
pub(crate) struct KnownSchema {
    /// The objects of each table, view and sequence; those of none are at 0.
    groups: BTreeMap<i64, Arc<Group>>,
    marks: BTreeMap<i64, Mark>,
    /// Whether every name is as it was in the schema that it was read behind.
    pub(crate) has_old_names: bool,
}

type Group = BTreeMap<String, Object>;

/// Where the rows stand that are of one relation; without what the transaction wrote, where that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    all: i64,
    old: i64,
}

/// What is of no relation, what only views tell, and what belongs to extensions.
const NONE: i64 = 0;
const VIEWS: i64 = -1;
const EXTENSIONS: i64 = -2;

#[derive(QueryableByName)]
struct MarkRow {
    #[diesel(sql_type = BigInt)]
    rel: i64,
    #[diesel(sql_type = BigInt)]
    mark: i64,
    #[diesel(sql_type = BigInt)]
    old: i64,
}

impl KnownSchema {
    /// Reads all of it.
    pub(crate) async fn read(conn: &mut AsyncPgConnection) -> Result<Self, CheckError> {
        prepared(conn).await?;
        let marks = marks(conn).await?;
        let groups = grouped(rows(conn, "EXECUTE db_migrations_fingerprint").await?);
        Ok(KnownSchema { groups, marks, has_old_names: false })
    }

    /// Reads what differs from this one, in the transaction that made it differ and in a session that prints
    /// plainly.
    pub(crate) async fn next(&self, conn: &mut AsyncPgConnection) -> Result<Self, CheckError> {
        let marks = marks(conn).await?;
        let mark = |marks: &BTreeMap<i64, Mark>, rel: i64| marks.get(&rel).map(|mark| mark.all);
        let same = |rel: i64| mark(&marks, rel) == mark(&self.marks, rel);
        let only_added = marks.get(&NONE).map(|mark| mark.old) == mark(&self.marks, NONE);
        if !same(VIEWS) || !same(EXTENSIONS) || !(same(NONE) || only_added) {
            return Self::read(conn).await;
        }
        let relations = self.marks.keys().chain(marks.keys()).copied().filter(|rel| *rel > NONE);
        let changed: BTreeSet<i64> = relations.filter(|rel| !same(*rel)).collect();
        let mut groups = self.groups.clone();
        if !changed.is_empty() {
            let listed: Vec<String> = changed.iter().map(i64::to_string).collect();
            let some = rows_printed(conn, &format!("EXECUTE db_migrations_some('{{{}}}')", listed.join(",")))
                .await?;
            let mut some = grouped(some);
            for rel in &changed {
                let is = some.remove(rel);
                let was = groups.remove(rel);
                if let (Some(was), Some(is)) = (&was, &is)
                    && renamed(was, is)
                {
                    return Self::read(conn).await;
                }
                if let Some(is) = is {
                    groups.insert(*rel, is);
                }
            }
            groups.extend(some);
        }
        // A publication of all tables names each.
        let publishes =
            || groups.get(&NONE).is_some_and(|rest| rest.keys().any(|name| name.starts_with("publication ")));
        if !same(NONE) || !changed.is_empty() && publishes() {
            let mut rest = grouped(rows_printed(conn, "EXECUTE db_migrations_rest").await?);
            groups.insert(NONE, rest.remove(&NONE).unwrap_or_default());
        }
        Ok(KnownSchema { groups, marks, has_old_names: true })
    }

    /// What differs from here to there.
    pub(crate) fn diff(&self, found: &KnownSchema) -> Vec<Difference> {
        let (expected, found) = (self.unlike(found), found.unlike(self));
        expected.diff(&found)
    }

    /// Whether all objects are the same.
    pub(crate) fn is_same(&self, other: &KnownSchema) -> bool {
        self.unlike(other) == other.unlike(self)
    }

    /// The objects of the groups that are not the very same ones there.
    fn unlike(&self, other: &KnownSchema) -> Fingerprint {
        let groups = self.groups.iter().filter(|(rel, group)| {
            other.groups.get(rel).is_none_or(|there| !Arc::ptr_eq(group, there) && group != &there)
        });
        let objects =
            groups.flat_map(|(_, group)| group.iter().map(|(name, object)| (name.clone(), object.clone())));
        Fingerprint { objects: objects.collect() }
    }
}

/// Whether something that others may name has another name: the relation, or one of its columns.
fn renamed(was: &Group, is: &Group) -> bool {
    let lost = |word: &str| was.keys().any(|name| name.starts_with(word) && !is.contains_key(name));
    let new = |word: &str| is.keys().any(|name| name.starts_with(word) && !was.contains_key(name));
    let head = |group: &Group| {
        group.iter().find(|(_, object)| object.parent.is_none()).map(|(name, _)| name.clone())
    };
    head(was) != head(is) || lost("column ") && new("column ")
}

fn grouped(rows: Vec<Placed>) -> BTreeMap<i64, Arc<Group>> {
    let mut groups: BTreeMap<i64, Group> = BTreeMap::new();
    for (of, name, object) in rows {
        groups.entry(of).or_default().insert(name, object);
    }
    groups.into_iter().map(|(of, group)| (of, Arc::new(group))).collect()
}

async fn marks(conn: &mut AsyncPgConnection) -> Result<BTreeMap<i64, Mark>, CheckError> {
    let rows: Vec<MarkRow> = sql_query("EXECUTE db_migrations_marks").get_results(conn).await?;
    Ok(rows.into_iter().map(|MarkRow { rel, mark, old }| (rel, Mark { all: mark, old })).collect())
}

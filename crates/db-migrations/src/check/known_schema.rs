//! A schema that is read again only where the catalogs changed.
//!
//! To print every object takes the server ten times as long as to say where the rows of its catalogs stand.
//! What stands where it stood prints as it did, unless a name in it has changed: then everything is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use diesel_async::AsyncPgConnection;

use super::difference::Difference;
use super::error::CheckError;
use super::fingerprint::{self, Fingerprint, Object, Placed};
use super::marks::{Marks, Rest};

/// A schema at one moment, and where the rows of its catalogs stood.
#[derive(Debug, Clone)]
pub(crate) struct KnownSchema {
    /// The objects of each table, view and sequence; those of none are at 0.
    groups: BTreeMap<i64, Arc<Group>>,
    marks: Marks,
    /// Whether every name is as it was in the schema that it was read behind.
    pub(crate) has_old_names: bool,
}

type Group = BTreeMap<String, Object>;

/// What is of no relation.
const NONE: i64 = 0;

impl KnownSchema {
    /// Reads all of it.
    pub(crate) async fn read(conn: &mut AsyncPgConnection) -> Result<Self, CheckError> {
        let before = fingerprint::print_plainly(conn).await?;
        let marks = Marks::read(&*conn).await?;
        let all = Self::all(marks, conn).await?;
        fingerprint::print_as(conn, before).await?;
        Ok(all)
    }

    async fn all(marks: Marks, conn: &mut AsyncPgConnection) -> Result<Self, CheckError> {
        let groups = grouped(fingerprint::all(conn).await?);
        Ok(KnownSchema { groups, marks, has_old_names: false })
    }

    /// The same at the beginning of a transaction, from which on its changes are counted.
    pub(crate) async fn counted(&self, conn: &AsyncPgConnection) -> Result<Self, CheckError> {
        Ok(KnownSchema { marks: self.marks.counted(conn).await?, ..self.clone() })
    }

    /// Where the rows of the catalogs stand at a later moment of the transaction, at whose beginning the
    /// schema was `before`; all of them are looked at where the counts may lie.
    pub(crate) async fn marks_now(
        &self,
        before: &KnownSchema,
        conn: &AsyncPgConnection,
        counts_may_lie: bool,
    ) -> Result<Marks, CheckError> {
        if counts_may_lie {
            self.marks.read_all(conn).await
        } else {
            self.marks.later(&before.marks, conn).await
        }
    }

    /// Reads what differs from this one, in the transaction that made it differ and in a session that prints
    /// plainly.
    pub(crate) async fn next(&self, marks: Marks, conn: &mut AsyncPgConnection) -> Result<Self, CheckError> {
        let rest = marks.rest(&self.marks);
        if rest == Rest::Changed {
            return Self::all(marks, conn).await;
        }
        let changed = marks.changed_relations(&self.marks);
        let mut groups = self.groups.clone();
        if !changed.is_empty() {
            let listed: Vec<i64> = changed.iter().copied().collect();
            let mut some = grouped(fingerprint::some(conn, listed, Vec::new()).await?);
            let mut moved = Vec::new();
            for relation in &changed {
                let is = some.remove(relation);
                let was = groups.remove(relation);
                if let (Some(was), Some(is)) = (&was, &is) {
                    if renamed(was, is) {
                        return Self::all(marks, conn).await;
                    }
                    if reordered(was, is) {
                        moved.push(*relation);
                    }
                }
                if let Some(is) = is {
                    groups.insert(*relation, is);
                }
            }
            groups.extend(some);
            if !moved.is_empty() {
                // Columns may have changed their names among each other, which foreign keys print.
                groups.extend(grouped(fingerprint::some(conn, Vec::new(), moved).await?));
            }
        }
        // A publication of all tables names each.
        let publishes =
            || groups.get(&NONE).is_some_and(|rest| rest.keys().any(|name| name.starts_with("publication ")));
        if rest != Rest::Same || !changed.is_empty() && publishes() {
            let mut rest = grouped(fingerprint::rest(conn).await?);
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

/// Whether columns that stay are in another order.
fn reordered(was: &Group, is: &Group) -> bool {
    let order = |group: &Group| -> Vec<String> {
        let head = group.values().find(|object| object.parent.is_none());
        let head = head.and_then(|head| serde_json::from_str::<serde_json::Value>(&head.definition).ok());
        let order = head.as_ref().and_then(|head| head.get("column order")?.as_str());
        order.unwrap_or_default().split(", ").map(str::to_owned).collect()
    };
    let (was, is) = (order(was), order(is));
    let stay = was.iter().filter(|name| is.contains(name));
    stay.ne(is.iter().filter(|name| was.contains(name)))
}

fn grouped(rows: Vec<Placed>) -> BTreeMap<i64, Arc<Group>> {
    let mut groups: BTreeMap<i64, Group> = BTreeMap::new();
    for (of, name, object) in rows {
        groups.entry(of).or_default().insert(name, object);
    }
    groups.into_iter().map(|(of, group)| (of, Arc::new(group))).collect()
}

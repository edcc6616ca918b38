//! The steps of a conversion, each as the owner of the table.

use std::time::Duration;

use super::super::cover::Point;
use super::super::key::Key;
use super::super::siblings::Carried;
use super::super::step::range;
use super::state::{Facts, Mark, Plain};
use super::{Conversion, WAITS};
use crate::error::Result;
use crate::name::{TableName, bounded, identifier, literal};
use crate::session::{Check, Session};

impl Conversion {
    /// The partitioned table, empty, with the partition that comes after the old table.
    pub(super) async fn prepare(
        &self,
        session: &mut Session<'_>,
        facts: &Facts,
        bound: &Point,
        key: Key,
    ) -> Result<()> {
        let Some(table) = &facts.plain else { return Ok(()) };
        let (names, old) = (self.names(), self.table.quoted());
        let parent = names.parent.quoted();
        let carried = Carried::read(session.client(), table.oid, &self.table.to_string()).await?;
        let mut sql = vec![format!(
            "CREATE TABLE {parent} (LIKE {old} INCLUDING ALL EXCLUDING INDEXES EXCLUDING IDENTITY) \
             PARTITION BY RANGE ({})",
            identifier(&self.column)
        )];
        if facts.check.is_some() {
            sql.push(format!("ALTER TABLE {parent} DROP CONSTRAINT {}", identifier(&names.check)));
        }
        // Until the swap the names are the plain table's.
        let mut indexes: Vec<(String, String)> = Vec::new();
        let mut named = |name: &str| {
            let until_then = bounded(&self.table.name, &format!("_dbm_{}", indexes.len()));
            indexes.push((name.to_owned(), until_then.clone()));
            identifier(&until_then)
        };
        sql.extend(facts.primary_key.iter().map(|primary| {
            format!(
                "ALTER TABLE {parent} ADD CONSTRAINT {} PRIMARY KEY ({})",
                named(&primary.name),
                primary.widened(&self.column).join(", ")
            )
        }));
        sql.extend(facts.indexes.iter().map(|index| {
            let name = named(&index.name);
            match &index.constraint {
                Some(definition) => format!("ALTER TABLE {parent} ADD CONSTRAINT {name} {definition}"),
                None => format!("CREATE {}INDEX {name} ON {parent} {}", index.unique, index.rest),
            }
        }));
        let mark = Mark { table: table.oid, bound: bound.text.clone(), indexes }.text();
        sql.extend(facts.foreign_keys.iter().map(|(name, definition)| {
            format!("ALTER TABLE {parent} ADD CONSTRAINT {} {definition}", identifier(name))
        }));
        let next = self.every.next(bound.at, chrono_tz::Tz::UTC).unwrap_or(bound.at);
        let bounds = range(&bound.text, &key.text(next, chrono_tz::Tz::UTC));
        let first = self.next_partition(bound).quoted();
        sql.push(format!("CREATE TABLE {first} PARTITION OF {parent} {bounds}{}", carried.options));
        sql.extend(carried.statements(&first));
        sql.extend(carried.grants(&parent));
        sql.push(format!("COMMENT ON TABLE {parent} IS {}", literal(&mark)));
        session.step(&self.what(), Some(&table.owner), &sql, Some(&facts.still_is(&self.table))).await
    }

    pub(super) async fn check(
        &self,
        session: &mut Session<'_>,
        facts: &Facts,
        bound: &Point,
    ) -> Result<Duration> {
        let Some(table) = &facts.plain else { return Ok(Duration::ZERO) };
        let column = identifier(&self.column);
        let sql = [format!(
            "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({column} IS NOT NULL AND {column} < {}) NOT VALID",
            self.table.quoted(),
            identifier(&self.names().check),
            typed(&bound.text, table)
        )];
        self.exclusively(session, facts, &sql, &facts.still_is(&self.table)).await
    }

    pub(super) async fn index(&self, session: &mut Session<'_>, facts: &Facts) -> Result<()> {
        let (Some(table), Some(primary)) = (&facts.plain, &facts.primary_key) else { return Ok(()) };
        let names = self.names();
        if facts.index == Some(false) {
            // What was left by a build that was killed: nobody else builds an index of this name.
            let index = TableName::new(&self.table.schema, &names.index).quoted();
            let sql = format!("DROP INDEX CONCURRENTLY {index}");
            session.at_length(&self.what(), Some(&table.owner), &sql, WAITS).await?;
        }
        let sql = format!(
            "CREATE UNIQUE INDEX CONCURRENTLY {} ON {} ({})",
            identifier(&names.index),
            self.table.quoted(),
            primary.widened(&self.column).join(", ")
        );
        session.at_length(&self.what(), Some(&table.owner), &sql, WAITS).await
    }

    pub(super) async fn swap(
        &self,
        session: &mut Session<'_>,
        facts: &Facts,
        bound: &Point,
    ) -> Result<Duration> {
        let Some(table) = &facts.plain else { return Ok(Duration::ZERO) };
        let (names, old) = (self.names(), self.table.quoted());
        let mut sql = Vec::new();
        // The validated CHECK proves it: nothing is scanned.
        sql.push(format!("ALTER TABLE {old} ALTER COLUMN {} SET NOT NULL", identifier(&self.column)));
        let schema = &self.table.schema;
        for (number, (name, until_now)) in facts.mark.iter().flat_map(|mark| &mark.indexes).enumerate() {
            let kept = bounded(&names.partition.name, &format!("_{number}"));
            match &facts.primary_key {
                Some(primary) if primary.name == *name && facts.needs_index() => sql.push(format!(
                    "ALTER TABLE {old} DROP CONSTRAINT {}, ADD CONSTRAINT {} PRIMARY KEY USING INDEX {}",
                    identifier(name),
                    identifier(&kept),
                    identifier(&names.index)
                )),
                _ => sql.push(format!(
                    "ALTER INDEX IF EXISTS {} RENAME TO {}",
                    TableName::new(schema, name).quoted(),
                    identifier(&kept)
                )),
            }
            // What names a constraint or an index of the table means the whole table's from now on.
            sql.push(format!(
                "ALTER INDEX IF EXISTS {} RENAME TO {}",
                TableName::new(schema, until_now).quoted(),
                identifier(name)
            ));
        }
        let (parent, partition) = (names.parent.quoted(), names.partition.quoted());
        for (number, identity) in facts.identities.iter().enumerate() {
            let name = bounded(&self.table.name, &format!("_dbm_s{number}"));
            let until_then = TableName::new(&identity.sequence.schema, name);
            sql.push(identity.goes_on_at(&parent, &until_then));
            sql.push(format!(
                "ALTER TABLE {old} ALTER COLUMN {} DROP IDENTITY",
                identifier(&identity.column)
            ));
            // What calls nextval() by the sequence's name goes on working.
            sql.push(format!(
                "ALTER SEQUENCE {} RENAME TO {}",
                until_then.quoted(),
                identifier(&identity.sequence.name)
            ));
        }
        sql.push(format!("ALTER TABLE {old} RENAME TO {}", identifier(&names.partition.name)));
        sql.push(format!("ALTER TABLE {parent} RENAME TO {}", identifier(&self.table.name)));
        sql.push(format!(
            "ALTER TABLE {old} ATTACH PARTITION {partition} FOR VALUES FROM (MINVALUE) TO ({})",
            literal(&bound.text)
        ));
        for (sequence, column) in &facts.sequences {
            sql.push(format!("ALTER SEQUENCE {} OWNED BY {old}.{}", sequence.quoted(), identifier(column)));
        }
        // The mark goes, and what people had written comes back.
        let comment = table.comment.as_deref().map_or_else(|| "NULL".to_owned(), literal);
        sql.push(format!("COMMENT ON TABLE {old} IS {comment}"));
        let check = Check {
            sql: format!(
                "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = {} AND inhparent = {})",
                table.oid, facts.parent
            ),
            otherwise: "the names mean other tables now".to_owned(),
        };
        self.exclusively(session, facts, &sql, &check).await
    }

    /// A step that locks the table exclusively; how long it held the lock.
    async fn exclusively(
        &self,
        session: &mut Session<'_>,
        facts: &Facts,
        sql: &[String],
        check: &Check,
    ) -> Result<Duration> {
        let Some(table) = &facts.plain else { return Ok(Duration::ZERO) };
        let locks = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", self.table.quoted());
        session.exclusive_step(&self.what(), &table.owner, &locks, &sql.join("; "), check).await
    }

    /// The partition that comes after the table.
    fn next_partition(&self, bound: &Point) -> TableName {
        let tail = bound.at.format("_p%Y%m%d").to_string();
        TableName::new(&self.table.schema, bounded(&self.table.name, &tail))
    }

    /// Drops the CHECK, which the bounds say as well.
    pub(super) async fn tidy(&self, session: &mut Session<'_>, facts: &Facts) -> Result<()> {
        let (Some(owner), Some(_)) = (&facts.partition_owner, facts.partition_check) else { return Ok(()) };
        let names = self.names();
        let sql = [format!(
            "ALTER TABLE {} DROP CONSTRAINT {}",
            names.partition.quoted(),
            identifier(&names.check)
        )];
        session.step(&self.what(), Some(owner), &sql, None).await
    }
}

/// A value of the key's own type: as a text it would be compared as one.
fn typed(text: &str, table: &Plain) -> String {
    format!("{}::{}", literal(text), table.key_type.as_deref().unwrap_or("text"))
}

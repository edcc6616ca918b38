//! The SQL that the relay needs in the database, and that a table needs which others write to. All names are
//! quoted.

use super::RelayConfig;
use super::message::Message;
use crate::tag::Tag;

impl RelayConfig {
    /// What the relay needs in the database: a schema with its state, the outbox and two functions, and an
    /// empty publication.
    ///
    /// The relay runs it by itself unless [`RelayConfig::installs`] is off. It may run again.
    pub fn install_sql(&self) -> String {
        let (schema, name) = (identifier(&self.name), literal(&self.name));
        format!(
            "CREATE SCHEMA IF NOT EXISTS {schema};
GRANT USAGE ON SCHEMA {schema} TO PUBLIC;
CREATE TABLE IF NOT EXISTS {schema}.\"relay\" (
    \"name\" text PRIMARY KEY, \"way\" text NOT NULL, \"system\" bigint NOT NULL, \"timeline\" bigint NOT NULL,
    \"acknowledged\" pg_catalog.pg_lsn);
CREATE TABLE IF NOT EXISTS {schema}.\"outbox\" (
    \"id\" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \"body\" text NOT NULL);
CREATE OR REPLACE FUNCTION {schema}.\"emit\"(text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $emit$
BEGIN
    IF coalesce(current_setting('effective_wal_level', true), current_setting('wal_level')) = 'logical' THEN
        PERFORM pg_logical_emit_message(true, {name}, $1);
    ELSE
        INSERT INTO {schema}.\"outbox\" (\"body\") VALUES ($1);
    END IF;
END $emit$;
CREATE OR REPLACE FUNCTION {schema}.\"touched\"() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $touched$
BEGIN
    PERFORM {schema}.\"emit\"(TG_ARGV[0]);
    RETURN NULL;
END $touched$;
DO $publication$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname OPERATOR(pg_catalog.=) {name}) THEN
        CREATE PUBLICATION {schema};
    END IF;
END $publication$;"
        )
    }

    /// One statement that belongs into a transaction that touches these slots. It needs what
    /// [`RelayConfig::install_sql`] makes.
    pub fn sql(&self, message: &Message) -> String {
        format!("SELECT {}.\"emit\"({})", identifier(&self.name), literal(&message.to_string()))
    }

    /// Makes every write to a table invalidate `tag`, whoever writes: psql, another service, a cascade. Once
    /// per statement, and for TRUNCATE too.
    ///
    /// Row tags stay as they are: an entry that must see such writes carries the tag that is given here. A
    /// subscription's apply worker fires no triggers of this kind.
    ///
    /// ```
    /// use db_cache::Tag;
    /// use db_cache::relay::RelayConfig;
    ///
    /// let sql = RelayConfig::default().watch_sql("public", "users", &Tag::table("users"));
    /// assert!(sql.contains(r#"ON "public"."users""#));
    /// ```
    pub fn watch_sql(&self, schema: &str, table: &str, tag: &Tag) -> String {
        let message = Message { writer: None, slots: vec![tag.slot()] };
        format!(
            "CREATE OR REPLACE TRIGGER {trigger} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION {own}.\"touched\"({message});
ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger};",
            trigger = identifier(&format!("{}_touched", self.name)),
            table = format_args!("{}.{}", identifier(schema), identifier(table)),
            own = identifier(&self.name),
            message = literal(&message.to_string()),
        )
    }

    /// Takes back what [`RelayConfig::watch_sql`] made.
    pub fn unwatch_sql(&self, schema: &str, table: &str) -> String {
        format!(
            "DROP TRIGGER IF EXISTS {} ON {}.{};",
            identifier(&format!("{}_touched", self.name)),
            identifier(schema),
            identifier(table)
        )
    }
}

/// A name, quoted.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted, whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        assert_eq!(identifier("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\' OR"), " E'\\\\'' OR'");
    }
}

//! What the catalog says of a table that is to be converted, and how far that is.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use crate::error::Result;
use crate::name::{TableName, identifier, literal};
use crate::session::Check;

/// What a conversion calls what it makes.
pub(super) struct Names {
    /// The partitioned table, until the swap.
    pub(super) parent: TableName,
    /// The table that was there, after the swap.
    pub(super) partition: TableName,
    pub(super) check: String,
    pub(super) index: String,
}

/// The comment of a partitioned table that a conversion prepared.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mark {
    /// The plain table, by its number.
    pub(super) table: u32,
    pub(super) bound: String,
    /// Its indexes, with what the partitioned table's are called until the swap.
    #[serde(default)]
    pub(super) indexes: Vec<(String, String)>,
}

const BEGINS: &str = "[db-maintenance convert] ";

impl Mark {
    pub(super) fn text(&self) -> String {
        format!("{BEGINS}{}", serde_json::to_string(self).unwrap_or_default())
    }

    fn of(comment: &str) -> Option<Mark> {
        serde_json::from_str(comment.strip_prefix(BEGINS)?).ok()
    }
}

/// The table before the swap.
#[derive(Debug, Clone)]
pub(super) struct Plain {
    pub(super) oid: u32,
    pub(super) owner: String,
    pub(super) kind: String,
    pub(super) key_type: Option<String>,
    pub(super) key_is_not_null: bool,
    pub(super) key_is_generated: bool,
    pub(super) comment: Option<String>,
}

/// The primary key.
#[derive(Debug, Clone)]
pub(super) struct PrimaryKey {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

/// An index that the partitioned table gets as well.
#[derive(Debug, Clone)]
pub(super) struct Index {
    pub(super) name: String,
    /// Where it is a unique constraint's: its definition.
    pub(super) constraint: Option<String>,
    /// `UNIQUE ` or nothing.
    pub(super) unique: &'static str,
    /// From USING on.
    pub(super) rest: String,
}

/// An identity column.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) column: String,
    generated: &'static str,
    pub(super) sequence: TableName,
    increment: i64,
    cache: i64,
}

/// All that a conversion goes by.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) plain: Option<Plain>,
    /// The table, where it is partitioned by now.
    pub(super) partitioned: Option<u32>,
    /// What was prepared, and its number.
    pub(super) mark: Option<Mark>,
    pub(super) parent: u32,
    /// Names that something else has.
    pub(super) taken: Vec<String>,
    /// Whether the CHECK is validated, where there is one.
    pub(super) check: Option<bool>,
    /// Whether the index is valid, where there is one.
    pub(super) index: Option<bool>,
    pub(super) primary_key: Option<PrimaryKey>,
    key_column: String,
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: Vec<(String, String)>,
    pub(super) identities: Vec<Identity>,
    pub(super) sequences: Vec<(TableName, String)>,
    /// Of the first partition, after the swap.
    pub(super) partition_owner: Option<String>,
    pub(super) partition_check: Option<bool>,
}

const TABLE: &str = "SELECT c.oid, o.rolname::text, c.relkind::text, format_type(a.atttypid, NULL), \
    coalesce(a.attnotnull, false), coalesce(a.attgenerated <> '' OR a.attidentity <> '', false), \
    obj_description(c.oid, 'pg_class') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_roles o ON o.oid = c.relowner LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = \
    $3::text \
    AND a.attnum > 0 AND NOT a.attisdropped WHERE n.nspname = $1::text AND c.relname = $2::text";

const CONSTRAINT: &str = "SELECT convalidated FROM pg_constraint WHERE conrelid = $1 AND conname = $2::text";

impl Facts {
    pub(super) async fn read(client: &Client, table: &TableName, column: &str) -> Result<Self> {
        let names = Names::of(table);
        let mut facts = Facts { key_column: column.to_owned(), ..Facts::default() };
        let look =
            async |name: &TableName| client.query_opt(TABLE, &[&name.schema, &name.name, &column]).await;
        let Some(row) = look(table).await? else { return Ok(facts) };
        let plain = Plain {
            oid: row.try_get(0)?,
            owner: row.try_get(1)?,
            kind: row.try_get(2)?,
            key_type: row.try_get(3)?,
            key_is_not_null: row.try_get(4)?,
            key_is_generated: row.try_get(5)?,
            comment: row.try_get(6)?,
        };
        if plain.kind == "p" {
            facts.partitioned = Some(plain.oid);
            if let Some(row) = look(&names.partition).await? {
                let (oid, owner): (u32, String) = (row.try_get(0)?, row.try_get(1)?);
                facts.partition_owner = Some(owner);
                let check = client.query_opt(CONSTRAINT, &[&oid, &names.check]).await?;
                facts.partition_check = check.map(|row| row.try_get(0)).transpose()?;
            }
            return Ok(facts);
        }
        if let Some(row) = look(&names.parent).await? {
            let (parent, owner): (u32, String) = (row.try_get(0)?, row.try_get(1)?);
            let comment: Option<String> = row.try_get(6)?;
            let mark = comment.as_deref().and_then(Mark::of);
            match mark.filter(|mark| mark.table == plain.oid && owner == plain.owner) {
                Some(mark) => (facts.mark, facts.parent) = (Some(mark), parent),
                None => facts.taken.push(names.parent.to_string()),
            }
        }
        if look(&names.partition).await?.is_some() {
            facts.taken.push(names.partition.to_string());
        }
        let check = client.query_opt(CONSTRAINT, &[&plain.oid, &names.check]).await?;
        facts.check = check.map(|row| row.try_get(0)).transpose()?;
        facts.read_keys(client, plain.oid, &names).await?;
        facts.read_sequences(client, plain.oid).await?;
        facts.plain = Some(plain);
        Ok(facts)
    }

    async fn read_keys(&mut self, client: &Client, table: u32, names: &Names) -> Result<()> {
        // The definition begins with words and names that are known, and what follows fits any table.
        let sql = "SELECT x.relname::text, i.indisvalid, i.indisprimary, i.indisunique, f.conname::text, \
            ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(n, o) JOIN \
            pg_attribute a \
              ON a.attrelid = i.indrelid AND a.attnum = k.n ORDER BY k.o), \
            starts_with(d.text, d.head), substr(d.text, length(d.head) + 1), \
            CASE WHEN f.contype = 'u' THEN pg_get_constraintdef(f.oid) END \
            FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid \
            JOIN pg_namespace n ON n.oid = c.relnamespace \
            LEFT JOIN pg_constraint f ON f.conindid = i.indexrelid AND f.conrelid = i.indrelid AND \
            f.contype IN ('p', 'u') \
            CROSS JOIN LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS text, \
              format('CREATE %sINDEX %I ON %I.%I ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, \
              x.relname, \
              n.nspname, c.relname) AS head) d WHERE i.indrelid = $1 ORDER BY i.indexrelid";
        for row in client.query(sql, &[&table]).await? {
            let (name, is_valid, is_primary, is_unique): (String, bool, bool, bool) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
            let constraint: Option<String> = row.try_get(4)?;
            let (columns, is_read, rest): (Vec<String>, bool, String) =
                (row.try_get(5)?, row.try_get(6)?, row.try_get(7)?);
            if name == names.index {
                self.index = Some(is_valid);
            } else if is_primary {
                self.primary_key = Some(PrimaryKey { name: constraint.unwrap_or(name), columns });
            } else if is_valid && is_read {
                let unique = if is_unique { "UNIQUE " } else { "" };
                self.indexes.push(Index { name, constraint: row.try_get(8)?, unique, rest });
            }
        }
        let sql = "SELECT conname::text, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1 \
            AND contype = 'f' ORDER BY oid";
        for row in client.query(sql, &[&table]).await? {
            self.foreign_keys.push((row.try_get(0)?, row.try_get(1)?));
        }
        Ok(())
    }

    async fn read_sequences(&mut self, client: &Client, table: u32) -> Result<()> {
        let sql = "SELECT n.nspname::text, s.relname::text, a.attname::text, a.attidentity::text, \
            q.seqincrement, q.seqcache \
            FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace n \
            ON n.oid = s.relnamespace JOIN pg_sequence q ON q.seqrelid = s.oid JOIN pg_attribute a \
            ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
            WHERE d.refobjid = $1 AND d.classid = 'pg_class'::regclass AND d.refclassid = \
            'pg_class'::regclass \
            AND d.deptype IN ('a', 'i') ORDER BY s.oid";
        for row in client.query(sql, &[&table]).await? {
            let sequence = TableName::new(row.try_get::<_, String>(0)?, row.try_get::<_, String>(1)?);
            let (column, identity): (String, String) = (row.try_get(2)?, row.try_get(3)?);
            let generated = match identity.as_str() {
                "a" => "ALWAYS",
                "d" => "BY DEFAULT",
                _ => {
                    self.sequences.push((sequence, column));
                    continue;
                }
            };
            let (increment, cache) = (row.try_get(4)?, row.try_get(5)?);
            self.identities.push(Identity { column, generated, sequence, increment, cache });
        }
        Ok(())
    }

    /// Whether there is nothing left to do.
    pub(super) fn is_done(&self) -> bool {
        self.partitioned.is_some()
    }

    /// Whether the primary key must take in the key column.
    pub(super) fn needs_index(&self) -> bool {
        self.primary_key.as_ref().is_some_and(|primary| !primary.columns.contains(&self.key_column))
    }

    /// Whether the name still means the table that was looked at.
    pub(super) fn still_is(&self, table: &TableName) -> Check {
        let oid = self.plain.as_ref().map_or(0, |plain| plain.oid);
        let sql = format!(
            "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.oid = {oid} AND n.nspname = {} AND c.relname = {})",
            literal(&table.schema),
            literal(&table.name)
        );
        Check { sql, otherwise: "the name means another table now".to_owned() }
    }
}

impl PrimaryKey {
    /// Its columns with the key column, in double quotes.
    pub(super) fn widened(&self, key: &str) -> Vec<String> {
        let more = (!self.columns.iter().any(|column| column == key)).then_some(key);
        self.columns.iter().map(String::as_str).chain(more).map(identifier).collect()
    }
}

impl Identity {
    /// Gives another table's column the identity, from the next value on; the body is a text, so no name ends
    /// it.
    pub(super) fn goes_on_at(&self, parent: &str, until_then: &TableName) -> String {
        let adds = format!(
            "ALTER TABLE {parent} ALTER COLUMN {} ADD GENERATED {} AS IDENTITY (SEQUENCE NAME {} INCREMENT \
             BY {} CACHE {} START WITH ",
            identifier(&self.column),
            self.generated,
            until_then.quoted(),
            self.increment,
            self.cache
        );
        let body = format!(
            "DECLARE next bigint; BEGIN SELECT CASE WHEN is_called THEN last_value + {} ELSE last_value \
             END INTO next \
             FROM {}; EXECUTE {} || next || ')'; END",
            self.increment,
            self.sequence.quoted(),
            literal(&adds)
        );
        format!("DO {}", literal(&body))
    }
}

//! What the catalog says of sets, their partitions, and what was detached: a few statements for all sets
//! together.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tokio_postgres::Client;

use super::bound::Bounds;
use super::mark::Mark;
use crate::error::Result;
use crate::name::TableName;

/// A table of a policy, as the catalog has it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) name: TableName,
    pub(crate) owner: String,
    /// r, l or h; none where it is not partitioned.
    pub(crate) strategy: Option<String>,
    pub(crate) key_columns: i16,
    /// The first column of the key and its type; none where that is an expression.
    pub(crate) key: Option<(String, String)>,
    pub(crate) is_temporary: bool,
    /// Foreign keys of other tables that refer to it.
    pub(crate) incoming: i64,
}

/// A partition, or a table that was one.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) parent: u32,
    pub(crate) oid: u32,
    pub(crate) name: TableName,
    pub(crate) owner: String,
    pub(crate) text: String,
    pub(crate) bounds: Option<Bounds>,
    pub(crate) is_pending: bool,
    pub(crate) is_partitioned: bool,
    pub(crate) comment: Option<String>,
    pub(crate) mark: Option<Mark>,
    pub(crate) bytes: i64,
}

/// What was read at once.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) tables: HashMap<TableName, Table>,
    pub(crate) children: HashMap<u32, Vec<Child>>,
    /// Marked tables that are no partitions any more, by the set that their mark names.
    pub(crate) detached: HashMap<u32, Vec<Child>>,
}

const TABLES: &str = "SELECT c.oid, n.nspname, c.relname, o.rolname, p.partstrat::text, \
    coalesce(p.partnatts, 0::int2), \
    a.attname, format_type(a.atttypid, NULL), c.relpersistence = 't', \
    (SELECT count(*) FROM pg_constraint f WHERE f.confrelid = c.oid AND f.contype = 'f' AND f.conrelid <> \
    c.oid) \
    FROM unnest($1::text[], $2::text[]) w(s, t) JOIN pg_namespace n ON n.nspname = w.s \
    JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t AND c.relkind IN ('r', 'p', 'm', 'v', 'f') \
    JOIN pg_roles o ON o.oid = c.relowner LEFT JOIN pg_partitioned_table p ON p.partrelid = c.oid \
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = p.partattrs[0] AND a.attnum > 0";

const COLUMNS: &str = "c.oid, n.nspname, c.relname, o.rolname, \
    coalesce(pg_get_expr(c.relpartbound, c.oid), ''), c.relkind = 'p', d.description, c.relpages::bigint * \
    current_setting('block_size')::bigint";

const JOINS: &str = "JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner \
    LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0";

impl Catalog {
    /// Reads these tables with their partitions, and everything that carries a mark.
    pub(crate) async fn read(client: &Client, names: &[TableName]) -> Result<Self> {
        let mut catalog = Catalog::default();
        let (schemas, tables): (Vec<&str>, Vec<&str>) =
            names.iter().map(|name| (name.schema.as_str(), name.name.as_str())).unzip();
        for row in client.query(TABLES, &[&schemas, &tables]).await? {
            let name = TableName::new(row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?);
            let (column, type_name): (Option<String>, Option<String>) = (row.try_get(6)?, row.try_get(7)?);
            let table = Table {
                oid: row.try_get(0)?,
                name: name.clone(),
                owner: row.try_get(3)?,
                strategy: row.try_get(4)?,
                key_columns: row.try_get(5)?,
                key: column.zip(type_name),
                is_temporary: row.try_get(8)?,
                incoming: row.try_get(9)?,
            };
            catalog.tables.insert(name, table);
        }
        let parents: Vec<u32> = catalog.tables.values().map(|table| table.oid).collect();
        let sql = format!(
            "SELECT {COLUMNS}, i.inhparent, i.inhdetachpending FROM pg_inherits i JOIN pg_class c ON \
             c.oid = i.inhrelid \
             {JOINS} WHERE i.inhparent = ANY($1) AND (c.relispartition OR i.inhdetachpending) ORDER BY c.oid"
        );
        for row in client.query(&sql, &[&parents]).await? {
            let child = child(&row, row.try_get(8)?, row.try_get(9)?)?;
            catalog.children.entry(child.parent).or_default().push(child);
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM pg_description m JOIN pg_class c ON c.oid = m.objoid {JOINS} \
             WHERE m.classoid = 'pg_class'::regclass AND m.objsubid = 0 AND m.description LIKE \
             '%[db-maintenance] {{%' \
             AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.oid"
        );
        for row in client.query(&sql, &[]).await? {
            let mut child = child(&row, 0, false)?;
            let Some(mark) = &child.mark else { continue };
            // A pending one still is in pg_inherits, and was read there.
            child.parent = mark.parent;
            let known = catalog.children.get(&child.parent).into_iter().flatten();
            if known.into_iter().all(|partition| partition.oid != child.oid) {
                catalog.detached.entry(child.parent).or_default().push(child);
            }
        }
        Ok(catalog)
    }
}

fn child(row: &tokio_postgres::Row, parent: u32, is_pending: bool) -> Result<Child> {
    let text: String = row.try_get(4)?;
    let comment: Option<String> = row.try_get(6)?;
    Ok(Child {
        parent,
        oid: row.try_get(0)?,
        name: TableName::new(row.try_get::<_, String>(1)?, row.try_get::<_, String>(2)?),
        owner: row.try_get(3)?,
        bounds: Bounds::parse(&text),
        text,
        is_pending,
        is_partitioned: row.try_get(5)?,
        mark: comment.as_deref().and_then(Mark::of),
        comment,
        bytes: row.try_get(7)?,
    })
}

/// The server's clock, and whether it is a standby, where nothing can be done.
pub(crate) async fn clock(client: &Client) -> Result<(DateTime<Utc>, bool)> {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint, pg_is_in_recovery()";
    let row = client.query_one(sql, &[]).await?;
    let millis: i64 = row.try_get(0)?;
    Ok((DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::<Utc>::MAX_UTC), row.try_get(1)?))
}

/// Which of these names of a schema a table or a type has already.
pub(crate) async fn taken(client: &Client, schema: &str, names: &[String]) -> Result<Vec<String>> {
    let sql = "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = ANY($2::text[]) \
        UNION SELECT t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
        WHERE n.nspname = $1 AND t.typname = ANY($2::text[])";
    let rows = client.query(sql, &[&schema, &names]).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

//! Moves sequences past the rows that were loaded, so that the next row that is inserted does not collide
//! with them.
//!
//! A sequence fills a column by an identity, by `serial`, or by a default that calls `nextval`. It is only
//! moved forward, in steps of its increment from its start, so that interleaved sequences stay so. PostgreSQL
//! does not undo `setval`: a load that is rolled back leaves a gap, and no row.

use tokio_postgres::Transaction;

use crate::ledger::quoted;
use crate::table::Table;

/// The sequences behind the columns `$2` of the table `$1` whose values are whole numbers: owned by the
/// column, or called by its default.
const BEHIND: &str = "SELECT DISTINCT a.attname::text, format('%I.%I', n.nspname, c.relname),
        s.seqincrement, s.seqstart, s.seqmin, s.seqmax
    FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
    JOIN LATERAL (
        SELECT objid AS sequence FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
            AND refobjid = a.attrelid AND refobjsubid = a.attnum
        UNION
        SELECT refobjid FROM pg_depend JOIN pg_attrdef ON pg_attrdef.oid = objid
        WHERE classid = 'pg_attrdef'::regclass AND refclassid = 'pg_class'::regclass
            AND adrelid = a.attrelid AND adnum = a.attnum
    ) AS behind ON true
    JOIN pg_sequence AS s ON s.seqrelid = sequence JOIN pg_class AS c ON c.oid = sequence
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE a.attrelid = $1 AND a.attname = ANY ($2::text[]) AND NOT a.attisdropped
        AND coalesce(nullif(t.typbasetype, 0), t.oid) IN (20, 21, 23, 1700)";

/// One sequence, and the column that it fills.
struct Behind {
    column: String,
    /// The sequence with its schema, quoted.
    sequence: String,
    increment: i64,
    start: i64,
    min: i64,
    max: i64,
}

/// Moves the sequences behind these columns of a table past what is in it. `search_path` must be the server's
/// own.
pub(crate) async fn move_past(
    transaction: &Transaction<'_>,
    table: &Table,
    columns: &[&str],
) -> Result<(), tokio_postgres::Error> {
    let rows = transaction.query(BEHIND, &[&table.oid, &columns]).await?;
    for row in &rows {
        let behind = Behind {
            column: row.get(0),
            sequence: row.get(1),
            increment: row.get(2),
            start: row.get(3),
            min: row.get(4),
            max: row.get(5),
        };
        transaction.batch_execute(&behind.moved(&table.name)).await?;
    }
    Ok(())
}

impl Behind {
    /// The statement that moves the sequence, unless it is beyond the table's values already.
    fn moved(&self, table: &str) -> String {
        let Behind { column, sequence, increment, start, min, max } = self;
        let (column, text) = (quoted(column), sequence.replace('\'', "''"));
        let (far, beyond) = if *increment > 0 { ("max", ">") } else { ("min", "<") };
        format!(
            "SELECT setval('{text}'::regclass, greatest({min}, least({max}, {start}::numeric + ceil((reached \
             - {start}::numeric) / ({increment})) * ({increment})))::bigint) FROM (SELECT \
             {far}({column})::numeric AS reached FROM {table} WHERE {column} BETWEEN {min} AND {max}) AS \
             loaded, {sequence} AS now WHERE reached {beyond} last_value OR (reached = last_value AND NOT \
             is_called)"
        )
    }
}

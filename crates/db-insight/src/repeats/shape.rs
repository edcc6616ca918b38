//! What the text of a statement says about its repetition: a read, a write, or nothing that counts.

use db_statement::{ValueRole, normalize, touched, values};

/// What repeats of a statement would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A query that reads rows.
    Read,
    /// A statement that writes rows.
    Write,
    /// It steers the session, asks the catalogue, is a ping, or takes many rows at once: repeats of it are no
    /// fault.
    Exempt,
}

/// What one text says, read once for all its executions.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) kind: Kind,
    /// `search_path`, a role or a setting is changed: what follows on the connection is for another tenant.
    pub(crate) context: bool,
    /// A transaction begins or ends.
    pub(crate) boundary: bool,
    /// Its values may be a page's: it has a limit, and a cursor or an offset.
    pub(crate) pages: bool,
    /// The limit, where the text has it.
    pub(crate) limit: Option<u64>,
    /// Each execution gives something else, or is meant to: `nextval`, `SKIP LOCKED`.
    pub(crate) volatile: bool,
    /// It takes an array: many in one execution, unless the array has one element.
    pub(crate) takes_array: bool,
    /// The tables that it reads and writes.
    pub(crate) reads: Vec<String>,
    pub(crate) writes: Vec<String>,
    /// The text without values, for people.
    pub(crate) text: String,
}

impl Shape {
    pub(crate) fn of(sql: &str) -> Self {
        let text = normalize(sql);
        let touched = touched(sql);
        let found = values(sql);
        let has = |role: ValueRole| found.iter().any(|value| value.role == role);
        let limit = found.iter().find(|value| value.role == ValueRole::Limit);
        let name = |table: &db_statement::Table| table.to_string();
        let reads: Vec<String> = touched.reads.iter().map(name).collect();
        let writes: Vec<String> = touched.writes.iter().map(name).collect();
        let context = changes_context(&text);
        Shape {
            kind: if context { Kind::Exempt } else { kind(sql, &text, &reads, &writes, touched.complete) },
            context,
            boundary: is_boundary(&text),
            pages: limit.is_some() && (has(ValueRole::Cursor) || text.contains(" offset ")),
            limit: limit.and_then(|value| value.number),
            volatile: VOLATILE.iter().any(|call| text.contains(call)),
            takes_array: takes_array(&text),
            reads,
            writes,
            text,
        }
    }
}

const VOLATILE: [&str; 9] = [
    "skip locked",
    "nextval(",
    "random()",
    "gen_random_uuid()",
    "clock_timestamp()",
    "uuid_generate",
    "uuidv7()",
    "pg_sleep",
    "currval(",
];

/// Functions that a query without tables may call for the session's or the catalogue's sake.
const SYSTEM_CALLS: [&str; 3] = ["set_config(", "current_setting(", "version()"];

fn kind(sql: &str, text: &str, reads: &[String], writes: &[String], complete: bool) -> Kind {
    let first = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').find(|word| !word.is_empty());
    let is_query = matches!(first, Some("select" | "with" | "table" | "values"));
    let is_change = matches!(first, Some("insert" | "update" | "delete" | "merge"));
    if !(is_query || is_change) || text.contains("pg_advisory_") || text.contains("pg_try_advisory_") {
        return Kind::Exempt;
    }
    if !writes.is_empty() || is_change {
        return if is_multi_row(sql, text) { Kind::Exempt } else { Kind::Write };
    }
    if !reads.is_empty() {
        return if reads.iter().all(|table| is_system(table)) || is_in_list(sql) {
            Kind::Exempt
        } else {
            Kind::Read
        };
    }
    // Without a table only a function of the service's own may ask for rows.
    let system = SYSTEM_CALLS.iter().any(|call| text.contains(call)) || text.contains("pg_");
    if complete || system { Kind::Exempt } else { Kind::Read }
}

fn is_system(table: &str) -> bool {
    let name = table.rsplit('.').next().unwrap_or(table);
    table.starts_with("information_schema.") || table.starts_with("pg_catalog.") || name.starts_with("pg_")
}

fn is_boundary(text: &str) -> bool {
    ["begin", "start transaction", "commit", "rollback", "abort", "end"].iter().any(|word| {
        text.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ';']))
    }) && !text.starts_with("rollback to")
}

fn changes_context(text: &str) -> bool {
    let sets = text.starts_with("set ") && !text.starts_with("set transaction");
    sets || text.starts_with("reset ") || text.contains("set_config(") || text.starts_with("discard ")
}

fn takes_array(text: &str) -> bool {
    text.contains("any(") || text.contains("any (") || text.contains("unnest(") || text.contains("all(")
}

/// Whether an `INSERT` has several rows: one statement for many is what a loop should have been.
fn is_multi_row(sql: &str, text: &str) -> bool {
    if text.contains("unnest(") || text.contains("json_to_recordset") || text.contains("jsonb_to_recordset") {
        return true;
    }
    text.contains("values (") && has_between_parentheses(sql, "values", ')', ',', '(') || is_in_list(sql)
}

/// Whether behind `word` there is `close`, `comma`, `open`, with nothing but spaces between: another row.
fn has_between_parentheses(sql: &str, word: &str, close: char, comma: char, open: char) -> bool {
    let lower = sql.to_ascii_lowercase();
    let Some(at) = lower.find(word) else { return false };
    let mut rest = lower.get(at + word.len()..).unwrap_or_default();
    let mut depth = 0_i32;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\'' => rest = rest.split_once('\'').map_or("", |(_, rest)| rest),
            _ => {}
        }
        if c == close && depth == 0 {
            let behind = rest.trim_start();
            let row = behind.strip_prefix(comma).map(str::trim_start);
            return row.is_some_and(|row| row.starts_with(open));
        }
    }
    false
}

/// Whether there is an `IN` with several elements that are values.
fn is_in_list(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let mut rest = lower.as_str();
    while let Some(at) = rest.find(" in ").or_else(|| rest.find(" in(")) {
        rest = rest.get(at + 3..).unwrap_or_default().trim_start();
        let Some(inner) = rest.strip_prefix('(') else { continue };
        let inner = inner.split(')').next().unwrap_or_default();
        let elements: Vec<&str> = inner.split(',').map(str::trim).collect();
        // Two or three kinds are a condition; a list of keys is longer.
        let value =
            |one: &&str| one.starts_with(['$', '\'', '-']) || one.starts_with(|c: char| c.is_ascii_digit());
        if elements.len() >= 4 && elements.iter().all(value) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_asks_the_catalogue_or_takes_many_is_exempt() {
        for text in [
            "BEGIN",
            "COMMIT",
            "SAVEPOINT a",
            "SET LOCAL search_path TO a",
            "SELECT set_config('a.b', $1, true)",
            "SELECT pg_advisory_xact_lock($1)",
            "FETCH 100 FROM c",
            "COPY t FROM STDIN",
            "SELECT 1",
            "SELECT now()",
            "SHOW work_mem",
            "SELECT * FROM pg_class WHERE oid = $1",
            "SELECT * FROM information_schema.tables WHERE table_name = $1",
            "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4)",
            "INSERT INTO t SELECT * FROM unnest($1::int[], $2::text[])",
            "SELECT * FROM t WHERE id IN ($1, $2, $3, $4, $5)",
        ] {
            assert_eq!(Shape::of(text).kind, Kind::Exempt, "{text}");
        }
    }

    #[test]
    fn what_takes_one_row_counts() {
        for text in [
            "SELECT * FROM t WHERE id = $1",
            "SELECT count(*) FROM t WHERE a = 5 FOR UPDATE",
            "WITH a AS (SELECT 1) SELECT * FROM t",
            "SELECT price_of($1)",
            "SELECT * FROM t WHERE id IN ($1)",
            "SELECT * FROM t WHERE a = $1 AND status IN ('a', 'b')",
        ] {
            assert_eq!(Shape::of(text).kind, Kind::Read, "{text}");
        }
        for text in [
            "INSERT INTO t (a, b) VALUES ($1, 'a), (')",
            "UPDATE t SET a = $1 WHERE id = $2",
            "DELETE FROM t WHERE id = $1",
            "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
            "WITH n AS (UPDATE t SET a = 1 WHERE id = $1 RETURNING *) SELECT * FROM n",
        ] {
            assert_eq!(Shape::of(text).kind, Kind::Write, "{text}");
        }
    }
}

//! Statements that leave something behind, each in another spelling, place and protocol.

/// What is run on a connection before it goes back.
pub(super) struct Left {
    pub(super) sql: String,
    /// Whether it is prepared and bound instead of sent as text.
    pub(super) prepared: bool,
    /// Whether it copies, so that its answer is cut off with a cancel.
    pub(super) copies: bool,
}

/// Calls that leave something behind, and the schema of each function; `{n}` is another number each time.
const CALLS: &[(&str, &str, &str)] = &[
    ("pg_catalog", "set_config", "('app.user', 'ann{n}', false)"),
    ("pg_catalog", "set_config", "('search_path', 'evil{n}', NOT true)"),
    ("pg_catalog", "pg_advisory_lock", "({n})"),
    ("pg_catalog", "pg_try_advisory_lock_shared", "({n}, 7)"),
    ("pg_catalog", "nextval", "('ids')"),
    ("pg_catalog", "setval", "('ids', {n})"),
    ("pg_catalog", "setseed", "(0.5)"),
    ("public", "sneak", "({n})"),
    ("public", "by_aggregate", "({n})"),
];

/// Calls that leave nothing behind.
const HARMLESS: &[(&str, &str, &str)] = &[
    ("pg_catalog", "lower", "('ANN{n}')"),
    ("pg_catalog", "pg_advisory_xact_lock", "({n})"),
    ("pg_catalog", "jsonb_build_object", "('a', {n})"),
    ("pg_catalog", "set_config", "('app.user', 'ann{n}', true)"),
    ("pg_catalog", "now", "()"),
    ("public", "remembered", "()"),
];

/// Where a call may stand; `{x}` is the call.
const PLACES: &[&str] = &[
    "SELECT {x}",
    "SELECT 1 WHERE ({x}) IS NOT NULL",
    "SELECT * FROM {x} AS a",
    "WITH w AS MATERIALIZED (SELECT {x} AS a) SELECT count(a) FROM w",
    "SELECT (SELECT {x}), ARRAY(SELECT 1)",
    "SELECT CASE WHEN ({x}) IS NULL THEN 1 ELSE 2 END",
    "EXPLAIN (ANALYZE) SELECT {x}",
    "INSERT INTO notes (word) SELECT 'x' WHERE ({x}) IS NULL ON CONFLICT DO NOTHING",
    "UPDATE notes SET word = 'y' WHERE ({x}) IS NULL",
    "DELETE FROM notes WHERE ({x}) IS NULL RETURNING (word)",
    "BEGIN; SELECT {x}; COMMIT",
    "BEGIN; SAVEPOINT s; SELECT {x}; RELEASE s; COMMIT",
    "BEGIN; DECLARE c CURSOR FOR SELECT {x}; FETCH c; COMMIT",
    "SELECT 1; SELECT {x}; SELECT ';'",
];

/// What the text names besides calls.
const NAMED: &[&str] = &[
    "SET search_path = evil{n}",
    "SET SESSION statement_timeout = 1{n}",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SELECT U&\"set\\005fconfig\"('app.user', 'ann{n}', false)",
    "UPDATE pg_settings SET setting = 'evil{n}' WHERE name = 'search_path'",
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION pg_monitor",
    "CREATE TEMP TABLE t{n} (n int)",
    "CREATE TABLE pg_temp.t{n} (n int)",
    "SELECT 1 AS n INTO pg_temp.t{n}",
    "SELECT 1 AS n INTO TEMP t{n}",
    "CREATE FUNCTION pg_temp.f{n}() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "BEGIN; SET LOCAL search_path = 'pg_temp'; CREATE TABLE t{n} (n int); COMMIT",
    "LISTEN gossip{n}",
    "BEGIN; DECLARE c{n} CURSOR WITH HOLD FOR SELECT 1; COMMIT",
    "PREPARE p{n} AS SELECT {n}",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "BEGIN; INSERT INTO ledger VALUES ({n})",
    "BEGIN; SELECT 1 / 0",
    "DO $$ BEGIN PERFORM set_config('app.user', 'do{n}', false); END $$",
    "CALL settle({n})",
    "SELECT prepares({n})",
    "COPY (SELECT generate_series(1, {n})) TO STDOUT",
    "COPY ledger FROM STDIN",
    "LOAD 'plpgsql'",
];

/// What no text tells, for pools that always reset.
const HIDDEN: &[&str] = &[
    "INSERT INTO by_default (other) VALUES ({n})",
    "INSERT INTO by_trigger VALUES ({n})",
    "SELECT * FROM by_view",
    "SELECT {n} OPERATOR(public.@!) 1",
    "SELECT {n}::by_domain",
    "SELECT (ledger).by_row FROM (VALUES ({n}::bigint)) AS ledger (n)",
];

/// A source of numbers that says the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        usize::try_from((mixed ^ (mixed >> 27)) >> 33).unwrap_or_default() % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

/// The leftover with this number.
pub(super) fn leftover(number: usize, hidden: bool) -> Left {
    let mut dice = Dice(number as u64);
    let sql = match dice.roll(if hidden { 4 } else { 3 }) {
        0 => disguised(&mut dice, NAMED[number % NAMED.len()]),
        3 => dice.pick(HIDDEN).to_owned(),
        _ => placed(&mut dice, CALLS),
    };
    left(&mut dice, sql, number)
}

/// A statement with this number that leaves nothing behind.
pub(super) fn harmless(number: usize) -> Left {
    let mut dice = Dice(number as u64);
    let sql = placed(&mut dice, HARMLESS);
    left(&mut dice, sql, number)
}

fn left(dice: &mut Dice, sql: String, number: usize) -> Left {
    let sql = sql.replace("{n}", &(number + 1).to_string());
    let copies = sql.to_uppercase().contains("COPY");
    let prepared = dice.roll(2) == 0 && !sql.contains(';') && !copies;
    Left { copies, prepared, sql }
}

fn placed(dice: &mut Dice, calls: &[(&str, &str, &str)]) -> String {
    let (schema, name, arguments) = dice.pick(calls);
    let upper = name.to_uppercase();
    let name = match dice.roll(8) {
        0 => format!("{schema}.{name}"),
        1 => format!("\"{schema}\" . \"{name}\""),
        2 => format!("\"{name}\""),
        3 => upper,
        4 => format!("{schema} /* . ( */ .\n\t{upper}"),
        5 => format!("{name} -- (\n"),
        6 => format!("{name} /* /* ' */ */ "),
        _ => name.to_owned(),
    };
    dice.pick(PLACES).replace("{x}", &format!("{name}{arguments}"))
}

fn disguised(dice: &mut Dice, sql: &str) -> String {
    let first = sql.split(' ').next().unwrap_or_default();
    let rest = &sql[first.len()..];
    match dice.roll(4) {
        0 => format!("{}{rest}", first.to_lowercase()),
        1 => format!("/* '; */ {first}/* here */{rest}"),
        2 => format!("-- ;\n\t{first}\n{rest}"),
        _ => sql.to_owned(),
    }
}

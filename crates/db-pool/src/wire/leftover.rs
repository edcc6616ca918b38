//! What a statement may leave behind in its session, read off its text.
//!
//! The reading errs on the side of cleaning up once too often: a call of any function that is not known to be
//! harmless counts. What no text tells it cannot see: what a trigger, a view, a column's default or an
//! operator calls.

use super::calls::{Calls, Known};
use super::tokens::{Token, Tokens};

/// What a statement, or a session, may have left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Leftover {
    /// Settings, roles, LISTEN, advisory locks, temporary tables, cursors WITH HOLD: what a reset takes away.
    pub(crate) state: bool,
    /// The session's prepared statements changed behind the client library's back.
    pub(crate) prepared: bool,
    /// What ends with the session only: a loaded library, a temporary replication slot, a connection to
    /// elsewhere.
    pub(crate) lasting: bool,
    /// It commits a transaction: whoever cancels it may undo the wait for a synchronous standby.
    pub(crate) commits: bool,
}

impl Leftover {
    /// Anything at all: for a text of which only a part is known.
    pub(crate) const ANYTHING: Leftover =
        Leftover { state: true, prepared: true, lasting: false, commits: true };
    const LASTING: Leftover = Leftover { state: true, prepared: false, lasting: true, commits: false };
    const STATE: Leftover = Leftover { state: true, prepared: false, lasting: false, commits: false };
    const NOTHING: Leftover = Leftover { state: false, prepared: false, lasting: false, commits: false };
    const COMMITS: Leftover = Leftover { state: false, prepared: false, lasting: false, commits: true };

    pub(crate) fn is_empty(self) -> bool {
        !self.state && !self.prepared && !self.lasting
    }

    pub(crate) fn add(&mut self, other: Leftover) {
        self.state |= other.state;
        self.prepared |= other.prepared;
        self.lasting |= other.lasting;
        self.commits |= other.commits;
    }

    /// What running `sql` may leave behind, and the first function that it calls of which nothing is known.
    pub(crate) fn read(sql: &str, known: &Known) -> (Self, Option<Box<str>>) {
        let (mut all, mut statement, mut calls, mut unknown) =
            (Leftover::NOTHING, Statement::default(), Calls::default(), None);
        for (token, _) in Tokens::of(sql) {
            if token == Token::Sign(b';') {
                all.add(statement.leftover());
                (statement, calls) = (Statement::default(), Calls::default());
                continue;
            }
            statement.read(token);
            if let Some(call) = calls.read(token, known) {
                all.state = true;
                unknown = unknown.or_else(|| call.ours.then(|| call.name.into()));
            }
        }
        all.add(statement.leftover());
        all.state |= names_pg_temp(sql);
        (all, unknown)
    }
}

/// One statement, as far as it was read.
#[derive(Default)]
struct Statement<'a> {
    first: &'a [u8],
    words: usize,
    before: Option<Token<'a>>,
    depth: usize,
    set_config: Option<SetConfig>,
    /// A word by which a statement changes rows.
    changes_rows: bool,
    /// It names the view through which settings can be changed.
    pg_settings: bool,
    found: Leftover,
}

/// A call of `set_config` whose last argument has not come.
#[derive(Clone, Copy)]
struct SetConfig {
    /// The parentheses around it.
    depth: usize,
    /// Tokens of the argument that was begun last.
    tokens: usize,
}

impl<'a> Statement<'a> {
    fn read(&mut self, token: Token<'a>) {
        if let Some(call) = &mut self.set_config {
            let next = token == Token::Sign(b',') && self.depth == call.depth + 1;
            call.tokens = if next { 0 } else { call.tokens + 1 };
        }
        match token {
            Token::Word(word) => self.word(word),
            Token::Quoted(name) => self.name(name),
            Token::Escaped => self.found.add(Leftover::ANYTHING),
            Token::Sign(b'(') => self.depth += 1,
            Token::Sign(b')') => self.close(),
            Token::Sign(_) | Token::Constant => {}
        }
        self.before = Some(token);
    }

    fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        let Some(call) = self.set_config.filter(|call| call.depth == self.depth) else { return };
        self.set_config = None;
        // `set_config(name, value, true)` ends with the transaction; the parenthesis is a token, too.
        let is_true = matches!(self.before, Some(Token::Word(word)) if is(word, &["true"]));
        self.found.state |= !(is_true && call.tokens == 2);
    }

    fn word(&mut self, word: &'a [u8]) {
        let after = |words: &[&str]| matches!(self.before, Some(Token::Word(before)) if is(before, words));
        self.words += 1;
        match self.words {
            1 => {
                self.first = word;
                self.found.add(by_first_word(word));
            }
            2 if is(self.first, &["set"]) && is(word, &["local", "transaction", "constraints"]) => {
                self.found = Leftover::NOTHING;
            }
            _ if is(word, &["temp", "temporary"]) => {
                self.found.state |= after(&["create", "replace", "local", "global", "into"]);
            }
            _ if is(word, &["hold"]) => self.found.state |= after(&["with"]),
            _ => self.name(word),
        }
        self.changes_rows |= is(word, &["update", "insert", "merge"]);
    }

    /// What has a name, in quotes or not.
    fn name(&mut self, name: &[u8]) {
        if is(name, &["set_config"]) {
            self.set_config = Some(SetConfig { depth: self.depth, tokens: 0 });
        } else if is(name, LASTING) {
            self.found.add(Leftover::LASTING);
        } else if is(name, &["pg_settings"]) {
            self.pg_settings = true;
        }
    }

    fn leftover(&self) -> Leftover {
        let mut found = if self.set_config.is_some() { Leftover::ANYTHING } else { self.found };
        found.state |= self.changes_rows && self.pg_settings;
        found
    }
}

/// Functions that leave behind what ends with the session only: temporary slots, libraries that decoding
/// loads, connections to elsewhere, a backup.
const LASTING: &[&str] = &[
    "pg_create_physical_replication_slot",
    "pg_create_logical_replication_slot",
    "pg_copy_physical_replication_slot",
    "pg_copy_logical_replication_slot",
    "pg_logical_slot_get_changes",
    "pg_logical_slot_get_binary_changes",
    "pg_logical_slot_peek_changes",
    "pg_logical_slot_peek_binary_changes",
    "pg_replication_slot_advance",
    "pg_sync_replication_slots",
    "pg_replication_origin_session_setup",
    "pg_backup_start",
    "pg_start_backup",
    "dblink_connect",
    "dblink_connect_u",
];

fn by_first_word(word: &[u8]) -> Leftover {
    if is(word, &["set", "listen", "do", "call"]) {
        Leftover::STATE
    } else if is(word, &["prepare", "deallocate", "discard"]) {
        Leftover::ANYTHING
    } else if is(word, &["load"]) {
        Leftover::LASTING
    } else if is(word, &["commit", "end"]) {
        Leftover::COMMITS
    } else {
        Leftover::NOTHING
    }
}

/// Whether the text names the schema of temporary objects, in a name or in a constant that may become a
/// search_path.
fn names_pg_temp(sql: &str) -> bool {
    sql.as_bytes().windows(PG_TEMP.len()).any(|part| part.eq_ignore_ascii_case(PG_TEMP))
}

const PG_TEMP: &[u8] = b"pg_temp";

fn is(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(sql: &str) -> Leftover {
        Leftover::read(sql, &Known::default()).0
    }

    #[track_caller]
    fn check(expected: Leftover, texts: &[&str]) {
        for sql in texts {
            assert_eq!(of(sql), expected, "{sql}");
            assert_eq!(of(&format!("/* ; */ SELECT 1; -- ;\n{}", sql.to_uppercase())), expected, "{sql}");
        }
    }

    #[test]
    fn what_outlives_its_transaction_is_seen() {
        check(
            Leftover::STATE,
            &[
                "SET search_path = evil",
                "/* '; */ set role admin",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
                "SELECT set_config('app.user', lower('X'), false)",
                "LISTEN channel",
                "SELECT set_config('a.b', 'x', NOT true)",
                "SELECT set_config('a.b', 'x', \"true\")",
                "SELECT set_config('a.b', 'x', 'true')",
                "SELECT set_config('a.b', 'x', (SELECT true))",
                "SELECT \"set_config\"('a.b', 'x', true AND false), 1, true",
                "UPDATE pg_settings SET setting = 'x' WHERE name = 'a.b'",
                "WITH w AS (UPDATE pg_catalog.\"pg_settings\" SET setting = 'x') SELECT 1",
                "SELECT * INTO pg_temp.u FROM t",
                "CREATE TABLE \"pg_temp\".t (n int)",
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "SET LOCAL search_path = 'pg_temp'",
                "SELECT set_config('search_path', 'pg_temp', true)",
                "SELECT setseed(0.5)",
                "SELECT pg_catalog . /* here */ pg_advisory_lock -- and\n (1)",
                "SELECT query_to_xml('SELECT pg_advisory_lock(1)', true, true, '')",
                "SELECT pg_advisory_lock(1)",
                "SELECT nextval('ids')",
                "SELECT settle(1), public.\"Settle\"(2)",
                "SELECT pg_catalog.\"pg_try_advisory_lock_shared\"(1, 2)",
                "CREATE TEMP TABLE t (id int)",
                "CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1",
                "EXPLAIN ANALYZE CREATE LOCAL TEMP TABLE t AS SELECT 1",
                "SELECT * INTO TEMP t FROM u",
                "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
                "DO $$ BEGIN PERFORM pg_advisory_lock(1); END $$",
                "CALL settle()",
                "SELECT ';'; SET TimeZone = 'X'",
                "SELECT $a$ ; $b$ $a$; SET TimeZone = 'X'",
            ],
        );
        check(Leftover::ANYTHING, &["PREPARE p AS SELECT 1", "DEALLOCATE ALL", "DISCARD ALL"]);
        check(Leftover::ANYTHING, &["SELECT U&\"pg\\005fadvisory_lock\"(1)"]);
        check(Leftover::COMMITS, &["COMMIT", "end"]);
        let lasting = "SELECT pg_create_physical_replication_slot('s', false, true)";
        check(Leftover::LASTING, &["LOAD 'auto_explain'", lasting, "SELECT dblink_connect('c', 'dbname=x')"]);
    }

    #[test]
    fn what_ends_with_its_transaction_is_not() {
        check(
            Leftover::NOTHING,
            &[
                "",
                "SELECT 1",
                "UPDATE t SET a = 1, listen = 2",
                "SET LOCAL statement_timeout = 5",
                "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                "SELECT set_config('app.user', coalesce($1, (SELECT 'x')), true), 1",
                "SELECT pg_advisory_xact_lock(1)",
                "SELECT temp, hold FROM sensors WHERE temporary",
                "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
                "INSERT INTO notes VALUES ('; SET x = 1', E'\\'; SET y = 2')",
                "SELECT \"set\" FROM t",
                "SELECT $1, $$ ; SET x = 1 $$",
                "SELECT setting FROM pg_settings FOR SHARE",
                "SELECT U&'\\0441', u & 1 FROM t",
            ],
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(sql in "[-/*'\"$;()a-z\\\\ \u{e9}]{0,60}") {
            let _ = of(&sql);
        }
    }
}

//! What a statement may leave behind in its session, read off its text.
//!
//! The reading errs on the side of cleaning up once too often. What it cannot see is what a function does inside:
//! `SELECT my_lock()` where `my_lock` takes an advisory lock.

use super::tokens::{Token, Tokens};

/// What a statement, or a session, may have left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Leftover {
    /// Settings, roles, LISTEN, advisory locks, temporary tables, cursors WITH HOLD: what a reset takes away.
    pub(crate) state: bool,
    /// The session's prepared statements changed behind the client library's back.
    pub(crate) prepared: bool,
    /// It commits a transaction: whoever cancels it may undo the wait for a synchronous standby.
    pub(crate) commits: bool,
}

impl Leftover {
    /// Anything at all: for a text of which only a part is known.
    pub(crate) const ANYTHING: Leftover = Leftover { state: true, prepared: true, commits: true };
    const STATE: Leftover = Leftover { state: true, prepared: false, commits: false };
    const NOTHING: Leftover = Leftover { state: false, prepared: false, commits: false };
    const COMMITS: Leftover = Leftover { state: false, prepared: false, commits: true };

    pub(crate) fn is_empty(self) -> bool {
        !self.state && !self.prepared
    }

    pub(crate) fn add(&mut self, other: Leftover) {
        self.state |= other.state;
        self.prepared |= other.prepared;
        self.commits |= other.commits;
    }

    /// What running `sql` may leave behind.
    pub(crate) fn of(sql: &str) -> Self {
        let (mut all, mut statement) = (Leftover::NOTHING, Statement::default());
        for (token, _) in Tokens::of(sql) {
            if token == Token::Sign(b';') {
                all.add(statement.leftover());
                statement = Statement::default();
            } else {
                statement.read(token);
            }
        }
        all.add(statement.leftover());
        all
    }
}

/// One statement, as far as it was read.
#[derive(Default)]
struct Statement<'a> {
    first: &'a [u8],
    words: usize,
    before: Option<Token<'a>>,
    depth: usize,
    /// The parentheses around a call of `set_config` whose last argument has not come.
    set_config: Option<usize>,
    found: Leftover,
}

impl<'a> Statement<'a> {
    fn read(&mut self, token: Token<'a>) {
        match token {
            Token::Word(word) => self.word(word),
            Token::Sign(b'(') => self.depth += 1,
            Token::Sign(b')') => {
                self.depth = self.depth.saturating_sub(1);
                if self.set_config == Some(self.depth) {
                    self.set_config = None;
                    // `set_config(name, value, true)` ends with the transaction.
                    let local = matches!(self.before, Some(Token::Word(word)) if is(word, &["true"]));
                    self.found.state |= !local;
                }
            }
            Token::Sign(_) | Token::Constant => {}
        }
        self.before = Some(token);
    }

    fn word(&mut self, word: &'a [u8]) {
        let after = |words: &[&str]| matches!(self.before, Some(Token::Word(before)) if is(before, words));
        self.words += 1;
        match self.words {
            1 => {
                self.first = word;
                self.found = by_first_word(word);
            }
            2 if is(self.first, &["set"]) && is(word, &["local", "transaction", "constraints"]) => {
                self.found = Leftover::NOTHING;
            }
            _ if is(word, &["temp", "temporary"]) => {
                self.found.state |= after(&["create", "replace", "local", "global", "into"]);
            }
            _ if is(word, &["hold"]) => self.found.state |= after(&["with"]),
            _ if is(word, &["set_config"]) => self.set_config = Some(self.depth),
            _ if is(word, SESSION_LOCKS) => self.found.state = true,
            _ => {}
        }
    }

    fn leftover(&self) -> Leftover {
        if self.set_config.is_some() { Leftover::ANYTHING } else { self.found }
    }
}

const SESSION_LOCKS: &[&str] =
    &["pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared"];

fn by_first_word(word: &[u8]) -> Leftover {
    if is(word, &["set", "listen", "do", "call"]) {
        Leftover::STATE
    } else if is(word, &["prepare", "deallocate", "discard"]) {
        Leftover::ANYTHING
    } else if is(word, &["commit", "end"]) {
        Leftover::COMMITS
    } else {
        Leftover::NOTHING
    }
}

fn is(word: &[u8], names: &[&str]) -> bool {
    names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(expected: Leftover, texts: &[&str]) {
        for sql in texts {
            assert_eq!(Leftover::of(sql), expected, "{sql}");
            assert_eq!(Leftover::of(&format!("/* ; */ SELECT 1; -- ;\n{}", sql.to_uppercase())), expected);
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
                "SELECT pg_advisory_lock(1)",
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
            ],
        );
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(sql in "[-/*'\"$;()a-z\\\\ \u{e9}]{0,60}") {
            let _ = Leftover::of(&sql);
        }
    }
}

//! What a statement asks of the runner: whether it may run in a transaction, and how to go on where a crash
//! cut it off.

use crate::split::{Lexer, Statement, Token};

/// What a statement asks of the runner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Runs in a transaction with its neighbours.
    Plain,
    /// Changes the session for what follows, so it is run again where the runner starts in the middle of a
    /// file.
    Setting,
    /// Cannot run in a transaction.
    Alone(Alone),
    /// Opens a transaction of the file's own.
    Begin,
    /// Ends it.
    Commit,
    /// Cannot run in a migration; the text says why and what to do.
    Refused(&'static str),
}

/// A statement that runs outside a transaction, and what it leaves behind where it is cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Alone {
    pub(crate) what: What,
    /// Whether it takes only locks that stop neither readers nor writers, so that it may wait for them at
    /// length.
    pub(crate) patient: bool,
}

/// What a statement outside a transaction makes or removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// CREATE INDEX CONCURRENTLY: cut off, it leaves an INVALID index.
    CreateIndex {
        /// The index, as written; none where the server chooses the name.
        index: Option<String>,
        /// Its table, as written.
        table: String,
    },
    /// DROP INDEX CONCURRENTLY: cut off, it leaves an INVALID index of the old name.
    DropIndex {
        /// The index, as written.
        index: String,
    },
    /// REINDEX CONCURRENTLY: cut off, it leaves INVALID indexes whose names end with `_ccnew` or `_ccold`.
    Reindex,
    /// DETACH PARTITION CONCURRENTLY: cut off, it waits for FINALIZE.
    Detach {
        /// The partitioned table, as written.
        parent: String,
        /// The partition, as written.
        partition: String,
    },
    /// CREATE or DROP of something that belongs to the whole server or database: cut off, it was done or not.
    Object {
        /// Finds it by the name in `$1`.
        lookup: &'static str,
        /// Its name, as written.
        name: String,
        /// Whether it is created, not dropped.
        create: bool,
    },
    /// DISCARD ALL, which would release the runner's lock: it makes the session clean in its own way.
    DiscardAll,
    /// Anything that can simply run again, such as VACUUM.
    Repeatable,
}

/// The words and marks of a statement, as far as telling its kind needs them.
pub(crate) struct Words<'a> {
    tokens: Vec<(Token, &'a str)>,
    at: usize,
}

/// What tells a statement's kind stands near its beginning; an INSERT may have millions of values.
const MOST_TOKENS: usize = 20_000;

impl<'a> Words<'a> {
    pub(crate) fn of(statement: &'a str) -> Self {
        let tokens = Lexer::new(statement, false)
            .filter(|(token, _)| *token != Token::Blank)
            .filter_map(|(token, range)| Some((token, statement.get(range)?)))
            .take(MOST_TOKENS)
            .collect();
        Words { tokens, at: 0 }
    }

    pub(crate) fn peek(&self, ahead: usize) -> Option<&'a str> {
        self.tokens.get(self.at + ahead).map(|(_, text)| *text)
    }

    /// Passes over the next token.
    pub(crate) fn skip(&mut self) {
        self.at += 1;
    }

    /// Takes the next token if it is this word.
    pub(crate) fn take(&mut self, word: &str) -> bool {
        let is = self.tokens.get(self.at).is_some_and(|(token, text)| {
            matches!(token, Token::Word | Token::Mark(_)) && text.eq_ignore_ascii_case(word)
        });
        self.at += usize::from(is);
        is
    }

    /// Takes all of these words, or none.
    pub(crate) fn take_all(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let all = words.iter().all(|word| self.take(word));
        if !all {
            self.at = start;
        }
        all
    }

    /// The tokens outside parentheses from here on.
    fn outside(&self) -> impl Iterator<Item = &(Token, &'a str)> {
        let mut depth = 0_usize;
        self.tokens.iter().skip(self.at).filter(move |(token, _)| {
            match token {
                Token::Mark(b'(') => depth += 1,
                Token::Mark(b')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth == 0
        })
    }

    /// Whether a word stands anywhere outside parentheses from here on.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.outside().any(|(token, text)| *token == Token::Word && text.eq_ignore_ascii_case(word))
    }

    /// Whether a word stands anywhere from here on, in parentheses too.
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.tokens
            .iter()
            .skip(self.at)
            .any(|(token, text)| *token == Token::Word && text.eq_ignore_ascii_case(word))
    }

    /// Whether a comma stands outside parentheses from here on.
    pub(crate) fn commas(&self) -> bool {
        self.outside().any(|(token, _)| *token == Token::Mark(b','))
    }

    /// Whether an option stands in the parentheses that come next, as in `VACUUM (FULL, ANALYZE)`.
    fn has_option(&self, option: &str) -> bool {
        let inside = self.tokens.iter().skip(self.at).take_while(|(token, _)| *token != Token::Mark(b')'));
        self.peek(0) == Some("(")
            && inside.clone().any(|(token, text)| *token == Token::Word && text.eq_ignore_ascii_case(option))
    }

    /// Takes a name with its schema, as written.
    pub(crate) fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        loop {
            let (token, text) = self.tokens.get(self.at)?;
            if !matches!(token, Token::Word | Token::Quoted) {
                return None;
            }
            name.push_str(text);
            self.at += 1;
            if !self.take(".") {
                return Some(name);
            }
            name.push('.');
        }
    }
}

const ROLLBACK: &str = "the runner rolls back what fails; remove it";
const PREPARE: &str = "a prepared transaction would outlive the migration; remove it";
const CHAIN: &str = "the runner begins each transaction; write COMMIT and BEGIN";
const STDIN: &str =
    "COPY FROM STDIN needs a client that sends rows; write INSERT, or load the rows as a seed";
const STDOUT: &str =
    "COPY TO STDOUT needs a client that takes rows, and the runner has nowhere to put them; remove it";
const PSQL: &str = "a line that begins with a backslash is for psql only; remove it";

/// Tells what a statement asks of the runner.
pub(crate) fn kind(statement: &Statement<'_>) -> Kind {
    let mut words = Words::of(statement.text);
    let first = words.peek(0).unwrap_or_default().to_ascii_lowercase();
    words.at = 1;
    match first.as_str() {
        "\\" => Kind::Refused(PSQL),
        "begin" => Kind::Begin,
        "start" if words.take("transaction") => Kind::Begin,
        "prepare" if words.take("transaction") => Kind::Refused(PREPARE),
        "commit" if words.take("prepared") => alone(What::Repeatable, false),
        "rollback" if words.take("prepared") => alone(What::Repeatable, false),
        "commit" | "end" if words.has("chain") && !words.has("no") => Kind::Refused(CHAIN),
        "commit" | "end" => Kind::Commit,
        "rollback" if words.has("to") => Kind::Plain,
        "rollback" | "abort" => Kind::Refused(ROLLBACK),
        "copy" if words.has("from") && words.has("stdin") => Kind::Refused(STDIN),
        "copy" if words.has("to") && words.has("stdout") => Kind::Refused(STDOUT),
        "set" => setting(&mut words),
        "reset" => Kind::Setting,
        "select" if set_config(&mut words) => Kind::Setting,
        "create" => create(words),
        "drop" => drop_statement(words),
        "alter" => alter(words),
        "reindex" => reindex(words),
        "vacuum" => alone(What::Repeatable, !words.has("full") && !words.has_option("full")),
        "discard" if words.take("all") => alone(What::DiscardAll, true),
        "cluster" if words.peek(0).is_none_or(|word| word == "(" || word.eq_ignore_ascii_case("verbose")) => {
            alone(What::Repeatable, false)
        }
        _ => Kind::Plain,
    }
}

fn alone(what: What, patient: bool) -> Kind {
    Kind::Alone(Alone { what, patient })
}

fn setting(words: &mut Words<'_>) -> Kind {
    match words.peek(0).unwrap_or_default().to_ascii_lowercase().as_str() {
        "local" | "transaction" | "constraints" => Kind::Plain,
        _ => Kind::Setting,
    }
}

/// `SELECT set_config(…, false)`, as pg_dump writes it.
fn set_config(words: &mut Words<'_>) -> bool {
    words.take_all(&["pg_catalog", "."]);
    words.take_all(&["set_config", "("])
        && words.tokens.iter().any(|(_, text)| text.eq_ignore_ascii_case("false"))
}

fn create(mut words: Words<'_>) -> Kind {
    let unique = words.take("unique");
    if words.take("index") {
        if !words.take("concurrently") {
            return Kind::Plain;
        }
        words.take_all(&["if", "not", "exists"]);
        let index = if words.take("on") { None } else { words.name().filter(|_| words.take("on")) };
        words.take("only");
        return match words.name() {
            Some(table) => alone(What::CreateIndex { index, table }, true),
            None => alone(What::Repeatable, true),
        };
    }
    if unique { Kind::Plain } else { object(words, true) }
}

fn drop_statement(mut words: Words<'_>) -> Kind {
    if words.take("index") {
        if !words.take("concurrently") {
            return Kind::Plain;
        }
        words.take_all(&["if", "exists"]);
        return match words.name() {
            Some(index) => alone(What::DropIndex { index }, true),
            None => alone(What::Repeatable, true),
        };
    }
    object(words, false)
}

const OBJECTS: [(&str, &str); 3] = [
    ("database", "SELECT EXISTS (SELECT FROM pg_database WHERE datname = (parse_ident($1))[1]) AS yes"),
    ("tablespace", "SELECT EXISTS (SELECT FROM pg_tablespace WHERE spcname = (parse_ident($1))[1]) AS yes"),
    (
        "subscription",
        "SELECT EXISTS (SELECT FROM pg_subscription WHERE subname = (parse_ident($1))[1]) AS yes",
    ),
];

fn object(mut words: Words<'_>, create: bool) -> Kind {
    let lookup = OBJECTS.iter().find(|(word, _)| words.take(word));
    let Some((_, lookup)) = lookup else { return Kind::Plain };
    words.take_all(&["if", "exists"]);
    alone(What::Object { lookup, name: words.name().unwrap_or_default(), create }, false)
}

fn alter(mut words: Words<'_>) -> Kind {
    if words.take("system") {
        return alone(What::Repeatable, true);
    }
    if words.take("database") && words.has("tablespace") {
        return alone(What::Repeatable, false);
    }
    if words.take("subscription") && (words.has("publication") || words.has("set")) {
        return alone(What::Repeatable, false);
    }
    if words.take("table") && words.has("detach") && words.has("concurrently") {
        words.take_all(&["if", "exists"]);
        words.take("only");
        let parent = words.name();
        let partition = words.take_all(&["detach", "partition"]).then(|| words.name()).flatten();
        if let (Some(parent), Some(partition)) = (parent, partition) {
            return alone(What::Detach { parent, partition }, true);
        }
    }
    Kind::Plain
}

fn reindex(mut words: Words<'_>) -> Kind {
    let concurrently = words.has_option("concurrently") || words.has("concurrently");
    let options = words.peek(0) == Some("(");
    while options && !words.take(")") && words.peek(0).is_some() {
        words.at += 1;
    }
    let whole = ["schema", "database", "system"].iter().any(|word| words.take(word));
    match (concurrently, whole) {
        (true, _) => alone(What::Reindex, true),
        (false, true) => alone(What::Repeatable, false),
        (false, false) => Kind::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::split;

    #[track_caller]
    fn kind_of(sql: &str) -> Kind {
        kind(split(sql).first().unwrap())
    }

    #[test]
    fn what_cannot_run_in_a_transaction_is_known() {
        let index = |index: Option<&str>, table: &str| {
            alone(What::CreateIndex { index: index.map(str::to_owned), table: table.to_owned() }, true)
        };
        let check = |sql: &str, expected: Kind| assert_eq!(kind_of(sql), expected, "{sql}");
        check("CREATE INDEX CONCURRENTLY i ON t (a)", index(Some("i"), "t"));
        check(
            "create unique index /* now */ concurrently if not exists \"I i\" on only s . \"T\" using btree (a)",
            index(Some("\"I i\""), "s.\"T\""),
        );
        check("CREATE INDEX CONCURRENTLY ON t (a)", index(None, "t"));
        check(
            "DROP INDEX CONCURRENTLY IF EXISTS s.i",
            alone(What::DropIndex { index: "s.i".to_owned() }, true),
        );
        check(
            "ALTER TABLE IF EXISTS ONLY a.p DETACH PARTITION c CONCURRENTLY",
            alone(What::Detach { parent: "a.p".to_owned(), partition: "c".to_owned() }, true),
        );
        check("REINDEX (VERBOSE) TABLE CONCURRENTLY t", alone(What::Reindex, true));
        check("REINDEX (CONCURRENTLY) INDEX i", alone(What::Reindex, true));
        check("REINDEX DATABASE d", alone(What::Repeatable, false));
        check("VACUUM t", alone(What::Repeatable, true));
        check("VACUUM (FULL, ANALYZE) t", alone(What::Repeatable, false));
        check("ALTER SYSTEM SET work_mem = '1MB'", alone(What::Repeatable, true));
        check("CLUSTER", alone(What::Repeatable, false));
        let database = What::Object { lookup: OBJECTS[0].1, name: "d".to_owned(), create: true };
        check("CREATE DATABASE d", alone(database, false));
    }

    #[test]
    fn what_can_run_in_a_transaction_stays_in_it() {
        for sql in [
            "CREATE INDEX i ON t (a)",
            "CREATE TABLE concurrently (a int)",
            "CREATE TABLE index (concurrently int)",
            "ALTER TABLE t DETACH PARTITION c",
            "ALTER TABLE t ADD COLUMN system int",
            "ALTER TYPE e ADD VALUE 'x'",
            "REFRESH MATERIALIZED VIEW CONCURRENTLY m",
            "REINDEX TABLE t",
            "CLUSTER t USING i",
            "COPY t FROM '/tmp/x'",
            "SET LOCAL lock_timeout = '1s'",
            "ROLLBACK TO SAVEPOINT a",
            "SELECT 'CREATE INDEX CONCURRENTLY i ON t (a)'",
            "DO $$ BEGIN END $$",
        ] {
            assert_eq!(kind_of(sql), Kind::Plain, "{sql}");
        }
    }

    #[test]
    fn settings_and_transactions_of_the_file_are_known() {
        assert_eq!(kind_of("SET search_path = a"), Kind::Setting);
        assert_eq!(kind_of("SET ROLE a"), Kind::Setting);
        assert_eq!(kind_of("SELECT pg_catalog.set_config('search_path', '', false)"), Kind::Setting);
        assert_eq!(kind_of("SELECT set_config('search_path', '', true)"), Kind::Plain);
        assert_eq!(kind_of("BEGIN"), Kind::Begin);
        assert_eq!(kind_of("START TRANSACTION READ WRITE"), Kind::Begin);
        assert_eq!(kind_of("END"), Kind::Commit);
        assert_eq!(kind_of("ROLLBACK"), Kind::Refused(ROLLBACK));
        assert_eq!(kind_of("COMMIT AND CHAIN"), Kind::Refused(CHAIN));
        assert_eq!(kind_of("COPY t (a) FROM STDIN"), Kind::Refused(STDIN));
        assert_eq!(kind_of("COPY (SELECT 1) TO STDOUT"), Kind::Refused(STDOUT));
        assert_eq!(kind_of("\\restrict abc"), Kind::Refused(PSQL));
    }
}

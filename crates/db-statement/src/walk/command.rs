//! The first words of a statement: what it does, and where its tables and its query are.

use super::frame::{State, Verb};
use super::{Access, Lower, Visitor, Walker};

impl<V: Visitor> Walker<'_, V> {
    /// The first word of a statement, or of the one that a `WITH` belongs to.
    pub(super) fn command(&mut self, word: &Lower) {
        match word.as_str() {
            "select" => self.select("SELECT"),
            "values" => self.select("VALUES"),
            "table" => {
                self.select("TABLE");
                self.top().expect = Some(Access::Read);
            }
            "with" => self.with(),
            "insert" => self.change("INSERT", "into", Verb::Insert),
            "update" => self.change("UPDATE", "", Verb::Update),
            "delete" => self.change("DELETE", "from", Verb::Using),
            "merge" => self.change("MERGE", "into", Verb::Using),
            "truncate" => self.list("TRUNCATE", Access::Write),
            "lock" => self.list("LOCK", Access::Read),
            "copy" => self.copy(),
            "create" => self.create(),
            "drop" => self.drop_objects(),
            "alter" => self.alter(),
            "refresh" => {
                self.visitor.operation("REFRESH MATERIALIZED VIEW");
                self.skip_words(&["materialized", "view", "concurrently"]);
                self.end_with_name();
            }
            "explain" => {
                self.visitor.operation("EXPLAIN");
                // Behind its options comes a statement.
            }
            "analyze" | "analyse" | "verbose" if self.is_explained() => {}
            "prepare" if !self.next_is("transaction") => {
                self.visitor.operation("PREPARE");
                self.top().state = State::Before("as");
            }
            "declare" => {
                self.visitor.operation("DECLARE");
                self.top().state = State::Before("for");
            }
            verb => {
                if !verb.is_empty() {
                    self.visitor.operation(&verb.to_ascii_uppercase());
                }
                self.top().state = State::Ignored;
                if !STEERING.contains(&verb) {
                    self.visitor.unknown();
                }
            }
        }
    }

    fn is_explained(&self) -> bool {
        self.before[0].is_any(&["explain", "analyze", "analyse"])
    }

    /// `INSERT`, `UPDATE`, `DELETE` or `MERGE`, whose table comes behind `preposition`.
    fn change(&mut self, operation: &str, preposition: &str, verb: Verb) {
        self.visitor.operation(operation);
        if !preposition.is_empty() {
            self.skip_words(&[preposition]);
        }
        let frame = self.top();
        (frame.state, frame.verb) = (State::Query, verb);
        (frame.comma, frame.expect) = (None, Some(Access::Write));
        frame.needs_rows = verb == Verb::Insert;
    }

    fn list(&mut self, operation: &str, access: Access) {
        self.visitor.operation(operation);
        self.skip_words(&["table"]);
        let frame = self.top();
        (frame.state, frame.verb) = (State::Before(""), Verb::List);
        (frame.comma, frame.expect) = (Some(access), Some(access));
    }

    fn copy(&mut self) {
        self.visitor.operation("COPY");
        if self.next_is_mark(b'(') {
            self.top().state = State::Before("copy");
        } else {
            self.copied_name();
        }
    }

    fn create(&mut self) {
        self.skip_words(&[
            "or",
            "replace",
            "global",
            "local",
            "temp",
            "temporary",
            "unlogged",
            "recursive",
            "materialized",
        ]);
        let object = self.peek_word();
        if !matches!(object.as_str(), "table" | "view") {
            self.other("CREATE", &object);
            return;
        }
        self.visitor.operation(if object.as_str() == "table" { "CREATE TABLE" } else { "CREATE VIEW" });
        self.skip();
        let frame = self.top();
        (frame.state, frame.verb) = (State::Before("as"), Verb::List);
        frame.expect = Some(Access::Write);
    }

    fn drop_objects(&mut self) {
        self.skip_words(&["materialized", "foreign"]);
        let object = self.peek_word();
        if !matches!(object.as_str(), "table" | "view") {
            self.other("DROP", &object);
            return;
        }
        self.skip();
        self.list(if object.as_str() == "table" { "DROP TABLE" } else { "DROP VIEW" }, Access::Write);
    }

    fn alter(&mut self) {
        self.skip_words(&["materialized", "foreign"]);
        let object = self.peek_word();
        if object.as_str() != "table" {
            self.other("ALTER", &object);
            return;
        }
        self.visitor.operation("ALTER TABLE");
        self.skip();
        self.end_with_name();
    }

    /// A table that is written, in a command whose rest is not looked at.
    fn end_with_name(&mut self) {
        self.visitor.unknown();
        self.skip_words(&["if", "exists", "only"]);
        if self.next_is_name() {
            let table = self.token().map(|token| self.name(token, Lower::EMPTY));
            table.into_iter().for_each(|table| self.found(table, Access::Write));
        }
        self.top().state = State::Ignored;
    }

    /// A command on something that is no table.
    fn other(&mut self, operation: &str, object: &Lower) {
        let words = [operation, &object.as_str().to_ascii_uppercase()].join(" ");
        self.visitor.operation(words.trim_end());
        self.visitor.unknown();
        self.top().state = State::Ignored;
    }

    fn skip_words(&mut self, words: &[&str]) {
        while words.contains(&self.peek_word().as_str()) {
            self.skip();
        }
    }
}

/// Commands that touch no table: they steer the session or the transaction.
const STEERING: &[&str] = &[
    "abort",
    "begin",
    "checkpoint",
    "close",
    "commit",
    "deallocate",
    "discard",
    "end",
    "listen",
    "notify",
    "prepare",
    "release",
    "reset",
    "rollback",
    "savepoint",
    "set",
    "show",
    "start",
    "unlisten",
];

//! The clauses of queries and of changes of rows: where they name tables.

use super::frame::{Frame, State, Verb};
use super::{Access, Lower, Visitor, Walker};
use crate::lexer::Token;
use crate::table;

impl<V: Visitor> Walker<'_, V> {
    /// A word where no table's name is expected.
    pub(super) fn word(&mut self, token: Token, word: Lower) {
        if word.as_str() == "operator" && self.next_is_mark(b'(') {
            self.remember(token, word);
            self.operator();
            return;
        }
        match self.top().state {
            State::Ignored => {}
            State::Start => self.command(&word),
            State::With => self.with_word(token, &word),
            State::Query => self.query_word(&word),
            State::Arguments => self.argument_word(&word),
            State::Copy => self.copy_word(&word),
            State::Before(last) => self.word_before(last, &word),
        }
    }

    pub(super) fn select(&mut self, operation: &str) {
        self.visitor.operation(operation);
        let frame = self.top();
        (frame.state, frame.verb, frame.needs_rows) = (State::Query, Verb::Select, false);
        (frame.comma, frame.expect) = (None, None);
    }

    pub(super) fn with(&mut self) {
        let frame = self.top();
        let (ctes, is_cte_body) = (frame.ctes, frame.is_cte_body);
        *frame = Frame { ctes, is_cte_body, ..Frame::new(State::With) };
    }

    /// Whether a word may stand before a table's name, so that the name is still to come.
    pub(super) fn stands_before_table(&mut self, word: &Lower) -> bool {
        let next = self.peek_word();
        let stays = match word.as_str() {
            "only" | "lateral" => true,
            "table" => self.top().verb != Verb::Select || self.before[0].is_any(INTO),
            "temp" | "temporary" | "unlogged" | "local" | "global" => {
                self.before[0].is_any(INTO) && self.next_is_name() && next.as_str() != "from"
            }
            "if" => matches!(next.as_str(), "not" | "exists"),
            "not" => self.before[0].is("if"),
            "exists" => self.before[0].is_any(&["if", "not"]),
            "concurrently" => true,
            _ => false,
        };
        if word.as_str() == "rows" && next.as_str() == "from" {
            // `ROWS FROM (f(…), g(…))`: functions only.
            self.top().expect = None;
            self.skip();
            return true;
        }
        stays
    }

    fn query_word(&mut self, word: &Lower) {
        let [before, earlier, _] = self.before;
        if before.is("as") {
            // `AS` takes any word for a label.
            return;
        }
        let conflict_goes_on = word.as_str() == "conflict" && self.conflict_goes_on();
        let frame = self.top();
        match word.as_str() {
            // `ON CONFLICT DO SELECT` (19) is a part of the INSERT.
            "select" if before.is("do") && frame.verb == Verb::Insert => frame.comma = None,
            "select" => self.select("SELECT"),
            "values" if before.is_mark(b'(') || before.is_any(SET_OPERATIONS) => self.select("VALUES"),
            "values" | "default" if frame.needs_rows => frame.needs_rows = false,
            "with" if frame.needs_rows || before.is_mark(b'(') => {
                self.with();
            }
            "table" if frame.needs_rows || before.is_mark(b'(') || before.is_any(SET_OPERATIONS) => {
                self.select("TABLE");
                self.top().expect = Some(Access::Read);
            }
            "from" if before.is("distinct") => {}
            "from" if frame.in_portion => frame.in_portion = false,
            "from" => (frame.expect, frame.comma) = (Some(Access::Read), Some(Access::Read)),
            "join" => frame.expect = Some(Access::Read),
            "using" if frame.verb == Verb::Using => {
                frame.verb = Verb::Update;
                (frame.expect, frame.comma) = (Some(Access::Read), Some(Access::Read));
            }
            "into" => frame.expect = Some(Access::Write),
            "of" if before.is("portion") && earlier.is("for") => frame.in_portion = true,
            "conflict" if before.is("on") && conflict_goes_on => frame.comma = None,
            "where" | "group" | "having" | "window" | "order" | "limit" | "offset" | "fetch" | "for"
            | "union" | "intersect" | "except" | "returning" | "when" => frame.comma = None,
            _ => {}
        }
    }

    /// Whether `ON CONFLICT` is the clause, and not a join on a column of that name.
    fn conflict_goes_on(&mut self) -> bool {
        self.next_is_mark(b'(') || self.next_is("do") || self.next_is("on")
    }

    fn argument_word(&mut self, word: &Lower) {
        let [before, ..] = self.before;
        if before.is("as") {
            return;
        }
        let opens = before.is_mark(b'(');
        match word.as_str() {
            // Reserved, so it is a query wherever it stands.
            "select" => self.select("SELECT"),
            "with" if opens => self.with(),
            "values" if opens || before.is_any(SET_OPERATIONS) => self.select("VALUES"),
            "table" if opens || before.is_any(SET_OPERATIONS) => {
                self.select("TABLE");
                self.top().expect = Some(Access::Read);
            }
            "insert" | "merge" if opens && self.next_is("into") => self.command(word),
            "delete" if opens && self.next_is("from") => self.command(word),
            "update" if opens && self.next_is_name() => self.command(word),
            _ => {}
        }
    }

    fn with_word(&mut self, token: Token, word: &Lower) {
        let [before, ..] = self.before;
        let next_is_query = !self.next_is("as") && !self.next_is_mark(b'(');
        let frame = self.top();
        let continues = before.is_mark(b',') || before.is_any(&["by", "cycle", "set", "using", "first"]);
        match word.as_str() {
            "recursive" if before.is("with") && next_is_query => frame.is_recursive = true,
            "as" | "materialized" => {}
            "select" | "table" => self.main(word),
            "values" if frame.has_cte && !continues => self.main(word),
            "insert" | "update" | "delete" | "merge" if frame.has_cte && !continues => self.main(word),
            _ if before.is_mark(b',') || before.is_any(&["with", "recursive"]) => {
                let name = table::name(token.kind, self.lexer.text(token));
                self.top().cte = Some(name);
            }
            _ => {}
        }
    }

    /// The statement that a `WITH` belongs to begins.
    fn main(&mut self, word: &Lower) {
        self.top().state = State::Start;
        self.command(word);
    }

    fn copy_word(&mut self, word: &Lower) {
        let access = match word.as_str() {
            "from" => Access::Write,
            "to" => Access::Read,
            _ => return,
        };
        let frame = self.top();
        frame.state = State::Arguments;
        if let Some(table) = frame.copied.take() {
            self.found(table, access);
        }
    }

    /// A word of a command whose query comes behind `last`.
    fn word_before(&mut self, last: &'static str, word: &Lower) {
        let [before, ..] = self.before;
        if before.is(last) && matches!(word.as_str(), "select" | "values" | "with" | "table") {
            self.main(word);
        } else if before.is(last) && last == "as" {
            match word.as_str() {
                // `PREPARE p AS INSERT …`.
                "insert" | "update" | "delete" | "merge" => self.main(word),
                "execute" => self.visitor.unknown(),
                _ => {}
            }
        } else if word.as_str() == "of" && before.is("partition") {
            self.top().expect = Some(Access::Write);
        } else if word.as_str() == "cascade" && last.is_empty() {
            self.visitor.unknown();
        } else if word.as_str() == "in" {
            self.top().comma = None;
        }
    }

    /// The name behind `COPY`.
    pub(super) fn copied_name(&mut self) {
        let token = if self.next_is_name() { self.token() } else { None };
        let Some(token) = token else {
            self.top().state = State::Ignored;
            self.visitor.unknown();
            return;
        };
        let table = self.name(token, Lower::EMPTY);
        let frame = self.top();
        (frame.state, frame.copied) = (State::Copy, Some(table));
    }
}

/// Words between `INTO` and the name of the table that `SELECT` makes.
const INTO: &[&str] = &["into", "local", "global", "temp", "temporary", "unlogged"];

/// Behind these comes a query.
const SET_OPERATIONS: &[&str] = &["union", "intersect", "except", "all", "distinct"];

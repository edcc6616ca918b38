//! Parentheses: which are queries, joins, columns, and which are calls of functions that nobody here knows.

use super::frame::{Frame, State};
use super::{Access, Before, Visitor, Walker};
use crate::lexer::Kind;
use crate::table::{self, Table};
use crate::{catalogue, keyword};

impl<V: Visitor> Walker<'_, V> {
    /// An opening parenthesis; `None` if it is one too many.
    pub(super) fn open(&mut self) -> Option<()> {
        let [before, ..] = self.before;
        let frame = self.top();
        let (state, expect) = (frame.state, frame.expect.take());
        let mut inner = Frame::new(State::Arguments);
        match state {
            State::Ignored => {}
            // `FROM (a JOIN b …)`, `FROM (SELECT …)`, `ONLY (a)`.
            _ if expect.is_some() => {
                inner.state = State::Query;
                inner.expect = expect;
            }
            State::Start if before.is("explain") && !self.next_begins_query() => inner.state = State::Ignored,
            State::Start => {
                self.top().state = State::Query;
                inner.state = State::Start;
            }
            State::With if before.is_any(&["as", "materialized"]) => {
                inner.state = State::Start;
                inner.is_cte_body = true;
                let frame = self.top();
                let name = if frame.is_recursive { frame.cte.clone() } else { None };
                self.push(inner)?;
                if let Some(name) = name {
                    // Seen by its own query; once that ends it is seen by the others.
                    self.see_cte(name);
                }
                return Some(());
            }
            State::With if self.top().has_cte && before.is_mark(b')') => {
                self.top().state = State::Query;
                inner.state = State::Start;
            }
            State::Before(word) if before.is(word) => {
                self.top().state = State::Query;
                inner.state = State::Start;
            }
            // Columns, types of parameters, options: what they call is not called now.
            State::Before(_) => inner.state = State::Ignored,
            State::Copy | State::With => {}
            State::Query | State::Arguments => self.call(),
        }
        self.push(inner)
    }

    /// Whether a query begins behind the parenthesis of `EXPLAIN (`, and not its options.
    fn next_begins_query(&mut self) -> bool {
        let words = ["select", "with", "values", "table", "insert", "update", "delete", "merge"];
        self.next_is_mark(b'(') || words.contains(&self.peek_word().as_str())
    }

    /// A function in `FROM`.
    pub(super) fn function_in_from(&mut self, function: &Table) {
        // `XMLTABLE (`, `JSON_TABLE (`: keywords with a grammar of their own.
        let is_construct = function.schema.is_none() && keyword::is_reserved(function.name.as_bytes());
        if !is_construct && !is_known(function.schema.as_deref(), &function.name) {
            self.visitor.unknown();
        }
    }

    /// A parenthesis where an expression can be: tells the visitor if it calls a function that is not the
    /// catalogue's.
    fn call(&mut self) {
        let [name, before, qualifier] = self.before;
        let is_name = matches!(name.kind, Kind::Word | Kind::Quoted | Kind::Unicode);
        // A token without a text is a table's name that was read already.
        if !is_name || (name.kind == Kind::Word && is_construct(&name)) || before.token.end == 0 {
            return;
        }
        let text = |before: &Before| table::name(before.token.kind, self.lexer.text(before.token));
        let schema = before.is_mark(b'.').then(|| text(&qualifier));
        if (schema.is_none() && is_behind_name(&before)) || is_known(schema.as_deref(), &text(&name)) {
            return;
        }
        self.visitor.unknown();
    }

    /// `OPERATOR(schema.+)`: what stands behind it is an operand.
    pub(super) fn operator(&mut self) {
        while self.peek().is_some_and(|token| !matches!(token.kind, Kind::Mark(b')' | b';'))) {
            self.skip();
        }
        if self.next_is_mark(b')') {
            self.skip();
            self.before[0].kind = Kind::Operator;
        }
    }

    /// The query of a CTE has ended: its name can be seen from here on.
    pub(super) fn cte_body_ended(&mut self) {
        let frame = self.top();
        frame.has_cte = true;
        if let Some(name) = frame.cte.take() {
            self.see_cte(name);
        }
    }

    /// `COPY` whose direction never came is taken for the worse one.
    pub(super) fn copy_ended(&mut self) {
        if let Some(table) = self.frames.first_mut().and_then(|frame| frame.copied.take()) {
            self.found(table, Access::Write);
        }
    }
}

fn is_known(schema: Option<&str>, name: &str) -> bool {
    matches!(schema, None | Some("pg_catalog")) && catalogue::touches_nothing(name)
}

/// Whether a keyword before a parenthesis is no function's name.
fn is_construct(word: &Before) -> bool {
    let is_clause = matches!(
        word.word.as_str(),
        "by" | "columns"
            | "conflict"
            | "cube"
            | "filter"
            | "include"
            | "insert"
            | "key"
            | "materialized"
            | "of"
            | "over"
            | "passing"
            | "range"
            | "rollup"
            | "set"
            | "sets"
            | "varying"
            | "zone"
    );
    is_clause || keyword::is_reserved(word.word.as_bytes())
}

/// Whether this token makes a name behind it an alias or a type, so that a parenthesis begins columns or a
/// length.
fn is_behind_name(before: &Before) -> bool {
    match before.kind {
        Kind::Cast | Kind::Quoted | Kind::Unicode | Kind::Mark(b')') => true,
        Kind::Word => before.is_any(&["as", "tablesample"]) || !keyword::is_keyword(before.word.as_bytes()),
        _ => false,
    }
}

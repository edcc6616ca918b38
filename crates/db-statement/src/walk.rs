//! Goes through a text and tells a visitor its operations and tables, in one pass and without recursion.
//!
//! It is no parser: it knows where PostgreSQL's grammar has names of tables, and what else stands there.
//! Where it is not sure it says so, or tells of a table too many: a cache that misses a write serves stale
//! rows, one that sees a table too many only loads again.

mod calls;
mod command;
mod frame;
mod query;

use std::collections::HashMap;

use crate::keyword;
use crate::lexer::{Kind, Lexer, Token};
use crate::normal::within_limit;
use crate::table::{self, Table};

use frame::{Frame, State};

/// What a statement does to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// What is told of a text, in its order.
pub(crate) trait Visitor {
    /// An operation, in upper case.
    fn operation(&mut self, verb: &str);
    /// A table.
    fn table(&mut self, table: Table, access: Access);
    /// Something that may touch tables which the text does not name.
    fn unknown(&mut self);
}

/// How deep parentheses may nest: beyond that nothing is looked at, and the visitor is told that something is
/// unknown.
const DEEPEST: usize = 500;

/// How many CTEs are kept in mind at a time; what goes beyond is taken for tables.
const MOST_CTES: usize = 1000;

/// Tells `visitor` what is in `text`.
pub(crate) fn walk(text: &str, visitor: &mut impl Visitor) {
    let read = within_limit(text);
    if read.len() < text.len() {
        visitor.unknown();
    }
    let mut walker = Walker {
        lexer: Lexer::new(read),
        ahead: None,
        visitor,
        frames: vec![Frame::new(State::Start)],
        before: [Before::NOTHING; 3],
        visible: HashMap::new(),
        ctes: Vec::new(),
    };
    while let Some(token) = walker.token() {
        if walker.step(token).is_none() {
            walker.visitor.unknown();
            break;
        }
    }
    walker.end_statement();
}

/// A word in lower case, as far as commands and clauses are told apart by it; empty if it is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lower {
    bytes: [u8; Self::LONGEST],
    len: usize,
}

impl Lower {
    const LONGEST: usize = 24;
    const EMPTY: Lower = Lower { bytes: [0; Self::LONGEST], len: 0 };

    fn of(word: &str) -> Self {
        let mut lower = Lower::EMPTY;
        if let Some(bytes) = lower.bytes.get_mut(..word.len()) {
            bytes.copy_from_slice(word.as_bytes());
            bytes.make_ascii_lowercase();
            lower.len = word.len();
        }
        lower
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// A token that went by: what it is, and its word.
#[derive(Debug, Clone, Copy)]
struct Before {
    kind: Kind,
    word: Lower,
    token: Token,
}

impl Before {
    const NOTHING: Before = Before {
        kind: Kind::Mark(b';'),
        word: Lower::EMPTY,
        token: Token { kind: Kind::Mark(b';'), start: 0, end: 0 },
    };

    fn is(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.word.as_str() == word
    }

    fn is_any(&self, words: &[&str]) -> bool {
        self.kind == Kind::Word && words.contains(&self.word.as_str())
    }

    fn is_mark(&self, byte: u8) -> bool {
        self.kind == Kind::Mark(byte)
    }
}

struct Walker<'a, V> {
    lexer: Lexer<'a>,
    ahead: Option<Token>,
    visitor: &'a mut V,
    /// The open parentheses; never empty.
    frames: Vec<Frame>,
    /// The last tokens, the latest first.
    before: [Before; 3],
    /// How many CTEs of a name can be seen here.
    visible: HashMap<String, usize>,
    /// The CTEs that can be seen here, the latest last.
    ctes: Vec<String>,
}

impl<V: Visitor> Walker<'_, V> {
    /// Takes one token in; `None` if the text nests too deep.
    fn step(&mut self, token: Token) -> Option<()> {
        let word = if token.kind == Kind::Word { Lower::of(self.lexer.text(token)) } else { Lower::EMPTY };
        match token.kind {
            Kind::Mark(b';') => self.end_statement(),
            Kind::Mark(b')' | b']') => self.close(),
            Kind::Mark(b'[') => self.push(Frame::new(State::Arguments))?,
            Kind::Mark(b'(') => self.open()?,
            Kind::Mark(b',') => self.comma(),
            Kind::Word | Kind::Quoted | Kind::Unicode if !self.before[0].is_mark(b'.') => {
                let (expected, state) = (self.top().expect, self.top().state);
                match expected {
                    Some(access) if state != State::Ignored => self.table(token, word, access),
                    _ => self.word(token, word),
                }
            }
            _ => {}
        }
        // Reading a name may have gone further than this token.
        if self.before[0].token.start < token.start || self.before[0].token.end == 0 {
            self.remember(token, word);
        }
        Some(())
    }

    fn token(&mut self) -> Option<Token> {
        match self.ahead.take() {
            Some(token) => Some(token),
            None => self.lexer.next(),
        }
    }

    fn peek(&mut self) -> Option<Token> {
        if self.ahead.is_none() {
            self.ahead = self.lexer.next();
        }
        self.ahead
    }

    /// The next token, if it is a word.
    fn peek_word(&mut self) -> Lower {
        match self.peek() {
            Some(token) if token.kind == Kind::Word => Lower::of(self.lexer.text(token)),
            _ => Lower::EMPTY,
        }
    }

    fn next_is(&mut self, word: &str) -> bool {
        self.peek_word().as_str() == word
    }

    fn next_is_mark(&mut self, byte: u8) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Mark(byte))
    }

    fn next_is_name(&mut self) -> bool {
        self.peek().is_some_and(|token| matches!(token.kind, Kind::Word | Kind::Quoted | Kind::Unicode))
    }

    /// Goes over the next token.
    fn skip(&mut self) {
        if let Some(token) = self.token() {
            let word =
                if token.kind == Kind::Word { Lower::of(self.lexer.text(token)) } else { Lower::EMPTY };
            self.remember(token, word);
        }
    }

    fn remember(&mut self, token: Token, word: Lower) {
        self.before = [Before { kind: token.kind, word, token }, self.before[0], self.before[1]];
    }

    fn top(&mut self) -> &mut Frame {
        if self.frames.is_empty() {
            self.frames.push(Frame::new(State::Start));
        }
        let last = self.frames.len() - 1;
        &mut self.frames[last]
    }

    fn push(&mut self, mut frame: Frame) -> Option<()> {
        if self.frames.len() >= DEEPEST {
            return None;
        }
        if self.top().state == State::Ignored {
            frame.state = State::Ignored;
            frame.expect = None;
        }
        frame.ctes = self.ctes.len();
        self.frames.push(frame);
        Some(())
    }

    fn close(&mut self) {
        if self.frames.len() < 2 {
            return;
        }
        if let Some(frame) = self.frames.pop() {
            self.forget(frame.ctes);
            if frame.is_cte_body {
                self.cte_body_ended();
            }
        }
    }

    fn comma(&mut self) {
        let frame = self.top();
        if frame.state != State::With {
            frame.expect = frame.comma;
        }
    }

    fn end_statement(&mut self) {
        self.copy_ended();
        self.frames.truncate(0);
        self.frames.push(Frame::new(State::Start));
        self.forget(0);
    }

    /// The CTEs beyond the first `kept` can be seen no longer.
    fn forget(&mut self, kept: usize) {
        while self.ctes.len() > kept {
            let Some(name) = self.ctes.pop() else { return };
            if let Some(count) = self.visible.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.visible.remove(&name);
                }
            }
        }
    }

    fn see_cte(&mut self, name: String) {
        if self.ctes.len() < MOST_CTES {
            *self.visible.entry(name.clone()).or_default() += 1;
            self.ctes.push(name);
        }
    }

    /// A token where a table's name is expected.
    fn table(&mut self, token: Token, word: Lower, access: Access) {
        if token.kind == Kind::Word && self.stands_before_table(&word) {
            return;
        }
        self.top().expect = None;
        let is_query = word.as_str() == "values" && self.before[0].is_mark(b'(') && self.next_is_mark(b'(');
        if token.kind == Kind::Word && (is_query || !keyword::is_table_name(word.as_bytes())) {
            self.word(token, word);
            return;
        }
        let table = self.name(token, word);
        if access == Access::Read && self.next_is_mark(b'(') {
            self.function_in_from(&table);
            return;
        }
        self.found(table, access);
    }

    fn found(&mut self, table: Table, access: Access) {
        let is_cte =
            access == Access::Read && table.schema.is_none() && self.visible.contains_key(&table.name);
        if !is_cte {
            self.visitor.table(table, access);
        }
    }

    /// The name that begins with `token`, to its end.
    fn name(&mut self, token: Token, word: Lower) -> Table {
        self.remember(token, word);
        let mut found = Table { schema: None, name: table::name(token.kind, self.lexer.text(token)) };
        while self.next_is_mark(b'.') {
            self.skip();
            if !self.next_is_name() {
                break;
            }
            if let Some(part) = self.peek() {
                let part = table::name(part.kind, self.lexer.text(part));
                found = Table { schema: Some(found.name), name: part };
            }
            self.skip();
        }
        // Behind a table's name, a parenthesis begins columns, not arguments.
        self.before[0].kind = Kind::Quoted;
        self.before[1] = Before::NOTHING;
        found
    }
}

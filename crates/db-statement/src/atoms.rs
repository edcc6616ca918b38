//! A statement's tokens as its normal form sees them: which are constants, and which lists they stand in.
//!
//! One pass without recursion and without allocation. What is known of a level of parentheses is one bit for
//! each level; below level 63 nothing is known, so positions in `ORDER BY` become placeholders there and
//! lists keep their length.

use crate::keyword;
use crate::lexer::{self, Kind, Lexer, Token};

/// What a token is to the normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// A constant or a parameter: the same as every other.
    Constant,
    /// A number that means something by itself: a position in `ORDER BY`, a length of a type.
    Kept,
    /// A keyword or a name without quotes, and its code.
    Word(Code),
    /// A quoted name that means the same without its quotes.
    Plain,
    /// A name whose quotes matter.
    Quoted,
    /// An operator.
    Operator,
    /// `::`.
    Cast,
    /// A single character.
    Mark(u8),
}

/// A token of the normal form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Atom {
    pub(crate) sort: Sort,
    pub(crate) token: Token,
}

/// A word of at most eight letters, in lower case, as a number; 0 for a longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Code(u64);

impl Code {
    pub(crate) const fn of(word: &[u8]) -> Self {
        if word.len() > 8 {
            return Code(0);
        }
        let (mut code, mut at) = (0, 0);
        while at < word.len() {
            code = code << 8 | (word[at] | CASE_BIT) as u64;
            at += 1;
        }
        Code(code)
    }

    /// The code of a token's word, read at once where the text goes on for eight bytes.
    #[inline]
    fn at(text: &[u8], token: Token) -> Self {
        let len = token.end.saturating_sub(token.start);
        if let (1..=8, Some(eight)) = (len, text.get(token.start..).and_then(|rest| rest.first_chunk())) {
            let behind = 64 - 8 * len;
            return Code((u64::from_be_bytes(*eight) | u64::from_ne_bytes([CASE_BIT; 8])) >> behind);
        }
        Code::of(text.get(token.start..token.end).unwrap_or_default())
    }
}

/// What tells lower from upper case. It folds no other byte of a name onto a letter.
const CASE_BIT: u8 = 0x20;

macro_rules! codes {
    ($($name:ident $word:literal)*) => { $(pub(crate) const $name: Code = Code::of($word);)* };
}
codes! {
    SELECT b"select" VALUES b"values" WITH b"with" INSERT b"insert" UPDATE b"update" DELETE b"delete" MERGE b"merge"
    TABLE b"table" IN b"in" ARRAY b"array" BY b"by" AS b"as" SETS b"sets" CUBE b"cube" ROLLUP b"rollup" NULL b"null"
    TRUE b"true" FALSE b"false" DEFAULT b"default" VARYING b"varying" WHERE b"where" AND b"and" OR b"or" NOT b"not"
    WHEN b"when" THEN b"then" ELSE b"else" LIMIT b"limit" OFFSET b"offset" BETWEEN b"between" LIKE b"like"
    ILIKE b"ilike" ON b"on" HAVING b"having" CASE b"case" DISTINCT b"distinct" ALL b"all" FROM b"from" TO b"to"
    FOR b"for" ESCAPE b"escape"
}

/// Whether a sign behind this keyword belongs to the number that follows it.
fn takes_operand(code: Code) -> bool {
    matches!(
        code,
        SELECT
            | WHERE
            | AND
            | OR
            | NOT
            | WHEN
            | THEN
            | ELSE
            | LIMIT
            | OFFSET
            | BETWEEN
            | BY
            | IN
            | LIKE
            | ILIKE
            | ON
            | HAVING
            | CASE
            | DISTINCT
            | ALL
            | FROM
            | TO
            | FOR
            | DEFAULT
            | ESCAPE
    )
}

/// How far the name of a type has come, behind `::` or `AS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Typing {
    No,
    Expected,
    Named,
}

/// Goes through a text atom by atom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Atoms<'a> {
    lexer: Lexer<'a>,
    ahead: Option<Token>,
    prev: Sort,
    /// How many parentheses and brackets are open.
    pub(crate) depth: usize,
    /// By level: inside the list of `ORDER BY`, `GROUP BY`.
    by: u64,
    /// By level: between the parentheses of a type.
    lengths: u64,
    /// By level: the elements of `IN (…)`, `ARRAY[…]`, a row of `VALUES`.
    lists: u64,
    /// By level: the rows of `VALUES`.
    rows: u64,
    typing: Typing,
}

impl<'a> Atoms<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Atoms {
            lexer: Lexer::new(text),
            ahead: None,
            prev: Sort::Mark(b';'),
            depth: 0,
            by: 0,
            lengths: 0,
            lists: 0,
            rows: 0,
            typing: Typing::No,
        }
    }

    /// The bytes of an atom, a plain name's without its quotes.
    pub(crate) fn bytes(&self, atom: Atom) -> &'a [u8] {
        let bytes = self.lexer.bytes(atom.token);
        match atom.sort {
            Sort::Plain => bytes.get(1..bytes.len() - 1).unwrap_or_default(),
            _ => bytes,
        }
    }

    /// Whether rows of `VALUES` stand at this level.
    pub(crate) fn in_rows(&self) -> bool {
        self.rows & bit(self.depth) != 0
    }

    /// The place behind a constant that is a whole element of a list, if one is next.
    pub(crate) fn behind_constant(mut self) -> Option<Self> {
        let is_constant = self.step()?.sort == Sort::Constant;
        let ends = self.peek().is_some_and(|next| matches!(next.kind, Kind::Mark(b',' | b')' | b']')));
        (is_constant && ends).then_some(self)
    }

    /// `next`, where it is not worth its size.
    #[inline(never)]
    pub(crate) fn step(&mut self) -> Option<Atom> {
        self.next()
    }

    /// Whether the next token is an opening parenthesis.
    pub(crate) fn before_opening(&mut self) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Mark(b'('))
    }

    // Inlined, or each token goes through memory in parts that the processor cannot forward: a third of the
    // time.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Atom> {
        let token = self.token()?;
        let (sort, token) = self.sort(token);
        let typing = match (sort, self.typing) {
            (Sort::Cast | Sort::Word(AS), _) => Typing::Expected,
            (Sort::Word(_) | Sort::Plain | Sort::Quoted, Typing::Expected) => Typing::Named,
            (Sort::Word(VARYING), Typing::Named) => Typing::Named,
            (Sort::Mark(b'.'), Typing::Named) => Typing::Expected,
            _ => Typing::No,
        };
        match sort {
            Sort::Word(code) => self.word(code),
            Sort::Mark(b'(' | b'[') => self.open(sort),
            Sort::Mark(b')' | b']') => self.depth = self.depth.saturating_sub(1),
            Sort::Mark(b';') => {
                (self.depth, self.by, self.lengths, self.lists, self.rows) = (0, 0, 0, 0, 0);
            }
            _ => {}
        }
        self.typing = typing;
        self.prev = sort;
        Some(Atom { sort, token })
    }

    #[inline(always)]
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

    #[inline(always)]
    fn sort(&mut self, token: Token) -> (Sort, Token) {
        let sort = match token.kind {
            Kind::Word => return (self.constant_word(Code::at(self.lexer.whole(), token)), token),
            Kind::Quoted if self.is_plain(token) => Sort::Plain,
            Kind::Quoted | Kind::Unicode => Sort::Quoted,
            Kind::Integer if self.is_position() => Sort::Kept,
            Kind::Text | Kind::Integer | Kind::Number | Kind::Parameter => Sort::Constant,
            Kind::Operator => return self.signed(token),
            Kind::Cast => Sort::Cast,
            Kind::Mark(byte) => Sort::Mark(byte),
        };
        (sort, token)
    }

    /// `NULL`, `TRUE`, `FALSE` and `DEFAULT` are constants where they are a whole element of a list.
    fn constant_word(&mut self, code: Code) -> Sort {
        let is_value = matches!(code, NULL | TRUE | FALSE | DEFAULT)
            && self.lists & bit(self.depth) != 0
            && matches!(self.prev, Sort::Mark(b'(' | b'[' | b','))
            && self.peek().is_some_and(|next| matches!(next.kind, Kind::Mark(b')' | b']' | b',')));
        if is_value { Sort::Constant } else { Sort::Word(code) }
    }

    /// A quoted name that is what the server makes of the same name without quotes, and no keyword.
    fn is_plain(&self, token: Token) -> bool {
        let bytes = self.lexer.bytes(token);
        let Some(name) = bytes.get(1..bytes.len().saturating_sub(1)) else { return false };
        bytes.len() > 1
            && bytes.ends_with(b"\"")
            && lexer::is_folded_name(name)
            && !keyword::needs_quotes(name)
    }

    /// Whether a number here is a position in `ORDER BY`, or the length of a type.
    fn is_position(&self) -> bool {
        let level = bit(self.depth);
        self.lengths & level != 0
            || (self.by & level != 0 && matches!(self.prev, Sort::Word(BY) | Sort::Mark(b',' | b'(')))
    }

    /// An operator; a sign that belongs to the number behind it becomes a part of that number.
    fn signed(&mut self, token: Token) -> (Sort, Token) {
        let is_sign = matches!(self.lexer.bytes(token), b"-" | b"+");
        let is_unary = match self.prev {
            Sort::Operator => true,
            Sort::Mark(byte) => !matches!(byte, b')' | b']' | b'.'),
            Sort::Word(code) => takes_operand(code),
            _ => false,
        };
        if is_sign && is_unary {
            let number = self.peek().filter(|next| matches!(next.kind, Kind::Integer | Kind::Number));
            if let Some(number) = number {
                self.ahead = None;
                return (Sort::Constant, Token { start: token.start, ..number });
            }
        }
        (Sort::Operator, token)
    }

    fn word(&mut self, code: Code) {
        let level = bit(self.depth);
        match code {
            VALUES => {
                self.rows |= level;
                self.lengths &= !level;
                return;
            }
            BY => self.by |= level,
            SELECT => (self.by, self.lengths) = (self.by & !level, self.lengths & !level),
            WITH | INSERT | UPDATE | DELETE | MERGE | TABLE => self.lengths &= !level,
            _ => {}
        }
        self.rows &= !level;
    }

    fn open(&mut self, sort: Sort) {
        let outer = bit(self.depth);
        let (by, list, rows) = (self.by & outer != 0, self.lists & outer != 0, self.rows & outer != 0);
        let is_element = matches!(self.prev, Sort::Mark(b'(' | b'[' | b','));
        let in_by = by && (is_element || matches!(self.prev, Sort::Word(BY | SETS | CUBE | ROLLUP)));
        let in_list = match self.prev {
            Sort::Word(IN | VALUES) => sort == Sort::Mark(b'('),
            Sort::Word(ARRAY) => sort == Sort::Mark(b'['),
            _ => is_element && (list || rows),
        };
        let in_lengths = self.typing == Typing::Named && sort == Sort::Mark(b'(');
        self.depth = self.depth.saturating_add(1);
        let level = bit(self.depth);
        for (bits, on) in [
            (&mut self.by, in_by),
            (&mut self.lists, in_list),
            (&mut self.lengths, in_lengths),
            (&mut self.rows, false),
        ] {
            *bits = if on { *bits | level } else { *bits & !level };
        }
    }
}

/// A level's bit; none below level 63.
fn bit(depth: usize) -> u64 {
    if depth < 64 { 1 << depth } else { 0 }
}

//! Reads the conditions of a plan, as PostgreSQL prints expressions: with all parentheses.
//!
//! It is no parser of SQL: operators have no precedence here, because the server prints every operation in
//! parentheses of its own. What it does not know is [`Expr::Other`], with what is inside.

mod token;

use token::{Token, tokens};

/// How deep parentheses are followed.
const DEEPEST: usize = 60;

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expr {
    /// A column; without the table's name.
    Column(String),
    /// A constant, without quotes.
    Constant(String),
    /// `$1`, or a subplan that gives one value before the rest runs.
    Parameter,
    /// A function and its arguments.
    Call(String, Vec<Expr>),
    /// `(…)::type`.
    Cast(Box<Expr>, String),
    /// An operator between two: also `= ANY (…)`, as `=`.
    Operator(Box<Expr>, String, Box<Expr>),
    /// All of these.
    And(Vec<Expr>),
    /// One of these.
    Or(Vec<Expr>),
    /// Not this.
    Not(Box<Expr>),
    /// A subplan that runs for each row, or whose rows are hashed.
    Subplan,
    /// `IS NULL` and its kin.
    Is(Box<Expr>),
    /// Something else, and what is in it.
    Other(Vec<Expr>),
}

impl Expr {
    /// Reads an expression. What is damaged is read as far as it goes.
    pub(crate) fn read(text: &str) -> Expr {
        let tokens = tokens(text);
        let mut reader = Reader { tokens: &tokens, at: 0 };
        reader.group(0)
    }

    /// What all must hold: the parts of an AND.
    pub(crate) fn conjuncts(&self) -> Vec<&Expr> {
        match self {
            Expr::And(parts) => parts.iter().flat_map(Expr::conjuncts).collect(),
            one => vec![one],
        }
    }

    /// Its columns, in order, each once.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut columns = Vec::new();
        self.visit(&mut |expr| {
            if let Expr::Column(name) = expr
                && !columns.contains(&name.as_str())
            {
                columns.push(name);
            }
        });
        columns
    }

    /// Whether a subplan is in it.
    pub(crate) fn has_subplan(&self) -> bool {
        let mut found = false;
        self.visit(&mut |expr| found |= matches!(expr, Expr::Subplan));
        found
    }

    /// Whether a parameter is in it.
    pub(crate) fn has_parameter(&self) -> bool {
        let mut found = false;
        self.visit(&mut |expr| found |= matches!(expr, Expr::Parameter));
        found
    }

    /// A column, or one with a cast between kinds of text, which an index does not mind.
    pub(crate) fn bare_column(&self) -> Option<&str> {
        match self {
            Expr::Column(name) => Some(name),
            Expr::Cast(inner, to) if is_text(to) => inner.bare_column(),
            _ => None,
        }
    }

    /// The constant, below casts.
    pub(crate) fn constant(&self) -> Option<&str> {
        match self {
            Expr::Constant(value) => Some(value),
            Expr::Cast(inner, _) => inner.constant(),
            _ => None,
        }
    }

    fn visit<'a>(&'a self, visitor: &mut dyn FnMut(&'a Expr)) {
        visitor(self);
        match self {
            Expr::Call(_, parts) | Expr::And(parts) | Expr::Or(parts) | Expr::Other(parts) => {
                for part in parts {
                    part.visit(visitor);
                }
            }
            Expr::Cast(inner, _) | Expr::Not(inner) | Expr::Is(inner) => inner.visit(visitor),
            Expr::Operator(left, _, right) => {
                left.visit(visitor);
                right.visit(visitor);
            }
            Expr::Column(_) | Expr::Constant(_) | Expr::Parameter | Expr::Subplan => {}
        }
    }
}

/// Types between which a cast changes no bytes.
pub(crate) fn is_text(name: &str) -> bool {
    let name = name.trim_end_matches("[]");
    name == "text" || name.starts_with("character varying") || name == "varchar"
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
}

/// What stands in a group, before it is known what it means.
enum Piece {
    Expr(Expr),
    Symbol(String),
    Word(String),
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn peek_second(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1)
    }

    fn eat(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        self.at += usize::from(is);
        is
    }

    /// Up to a closing parenthesis, a comma or the end, which are left.
    fn group(&mut self, depth: usize) -> Expr {
        let mut pieces = Vec::new();
        while let Some(token) = self.peek() {
            match token {
                Token::Close | Token::Comma | Token::Bracket(false) if depth > 0 => break,
                Token::Close | Token::Comma | Token::Bracket(false) | Token::Cast | Token::Dot => {
                    self.at += 1
                }
                Token::Symbol(symbol) => {
                    pieces.push(Piece::Symbol(symbol.clone()));
                    self.at += 1;
                }
                Token::Word(word) if is_keyword(word) => {
                    pieces.push(Piece::Word(word.clone()));
                    self.at += 1;
                }
                _ => {
                    let expr = self.primary(depth);
                    pieces.push(Piece::Expr(expr));
                }
            }
        }
        meaning(pieces)
    }

    /// The groups up to the closing parenthesis, which is taken.
    fn list(&mut self, depth: usize, close: &Token) -> Vec<Expr> {
        if depth >= DEEPEST {
            self.skip();
            return Vec::new();
        }
        let mut list = Vec::new();
        loop {
            if self.peek().is_none() || self.eat(close) {
                return list;
            }
            let before = self.at;
            list.push(self.group(depth + 1));
            self.eat(&Token::Comma);
            if self.at == before {
                self.at += 1;
            }
        }
    }

    /// Over everything up to the parenthesis that closes this one.
    fn skip(&mut self) {
        let mut open = 1_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::Open | Token::Bracket(true) => open += 1,
                Token::Close | Token::Bracket(false) => open -= 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return;
            }
        }
    }

    fn primary(&mut self, depth: usize) -> Expr {
        let mut expr = self.atom(depth);
        loop {
            if self.eat(&Token::Cast) {
                expr = Expr::Cast(Box::new(expr), self.type_name());
            } else if self.eat(&Token::Bracket(true)) {
                let mut parts = self.list(depth, &Token::Bracket(false));
                parts.insert(0, expr);
                expr = Expr::Other(parts);
            } else if self.peek() == Some(&Token::Dot) {
                // A field of a value, or of an InitPlan's row.
                self.at += 2;
            } else {
                return expr;
            }
        }
    }

    fn atom(&mut self, depth: usize) -> Expr {
        let token = self.peek().cloned();
        self.at += 1;
        match token {
            Some(Token::Open) => {
                if let Some(Token::Word(word)) = self.peek()
                    && matches!(word.as_str(), "SubPlan" | "InitPlan" | "hashed" | "alternatives")
                {
                    let expr = if word == "InitPlan" { Expr::Parameter } else { Expr::Subplan };
                    self.skip();
                    return expr;
                }
                let mut list = self.list(depth, &Token::Close);
                if list.len() == 1 { list.remove(0) } else { Expr::Other(list) }
            }
            Some(Token::Constant(value)) => Expr::Constant(value),
            Some(Token::Parameter) => Expr::Parameter,
            Some(Token::Word(word)) => self.name(word, false, depth),
            Some(Token::Quoted(word)) => self.name(word, true, depth),
            Some(Token::Bracket(true)) => Expr::Other(self.list(depth, &Token::Bracket(false))),
            _ => Expr::Other(Vec::new()),
        }
    }

    /// A column, or a function's call.
    fn name(&mut self, first: String, is_quoted: bool, depth: usize) -> Expr {
        let mut last = first;
        let mut parts = 1;
        while self.peek() == Some(&Token::Dot) {
            match self.peek_second() {
                Some(Token::Word(part) | Token::Quoted(part)) => last = part.clone(),
                _ => break,
            }
            parts += 1;
            self.at += 2;
        }
        if self.eat(&Token::Open) {
            return Expr::Call(last.to_ascii_lowercase(), self.list(depth, &Token::Close));
        }
        if !is_quoted && parts == 1 {
            match last.as_str() {
                "true" | "false" | "NULL" => return Expr::Constant(last),
                "CURRENT_DATE" | "CURRENT_TIMESTAMP" | "CURRENT_USER" | "SESSION_USER" | "LOCALTIMESTAMP" => {
                    return Expr::Parameter;
                }
                "ARRAY" | "ROW" => return Expr::Other(Vec::new()),
                _ => {}
            }
        }
        Expr::Column(last)
    }

    /// A type's name; it may have several words, a length and brackets.
    fn type_name(&mut self) -> String {
        let mut name = String::new();
        loop {
            match self.peek() {
                Some(Token::Word(word)) if name.is_empty() || !is_keyword(word) => {
                    if !name.is_empty() && !name.ends_with('.') {
                        name.push(' ');
                    }
                    name.push_str(word);
                }
                Some(Token::Quoted(word)) if name.is_empty() || name.ends_with('.') => name.push_str(word),
                Some(Token::Dot) => name.push('.'),
                Some(Token::Open) if matches!(self.peek_second(), Some(Token::Constant(_))) => {
                    self.at += 1;
                    while !matches!(self.peek(), None | Some(Token::Close)) {
                        self.at += 1;
                    }
                }
                Some(Token::Bracket(true)) if self.peek_second() == Some(&Token::Bracket(false)) => {
                    self.at += 1;
                    name.push_str("[]");
                }
                _ => return name,
            }
            self.at += 1;
        }
    }
}

fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "AND"
            | "OR"
            | "NOT"
            | "IS"
            | "ANY"
            | "ALL"
            | "COLLATE"
            | "DISTINCT"
            | "FROM"
            | "CASE"
            | "WHEN"
            | "THEN"
            | "ELSE"
            | "END"
            | "AT"
            | "TIME"
            | "ZONE"
            | "IN"
            | "FOR"
            | "EXISTS"
            | "OVERLAPS"
            | "OPERATOR"
    )
}

fn meaning(mut pieces: Vec<Piece>) -> Expr {
    let has = |pieces: &[Piece], word: &str| {
        pieces.iter().any(|piece| matches!(piece, Piece::Word(w) if w == word))
    };
    let first_is = |pieces: &[Piece], word: &str| matches!(pieces.first(), Some(Piece::Word(w)) if w == word);
    if first_is(&pieces, "CASE") {
        return Expr::Other(exprs(pieces));
    }
    for (word, make) in [("OR", Expr::Or as fn(Vec<Expr>) -> Expr), ("AND", Expr::And)] {
        if has(&pieces, word) {
            return make(split(pieces, word).into_iter().map(meaning).collect());
        }
    }
    if first_is(&pieces, "NOT") {
        pieces.remove(0);
        return Expr::Not(Box::new(meaning(pieces)));
    }
    if first_is(&pieces, "EXISTS") || first_is(&pieces, "ANY") || first_is(&pieces, "ALL") {
        pieces.remove(0);
        return meaning(pieces);
    }
    if has(&pieces, "IS") {
        return Expr::Is(Box::new(Expr::Other(exprs(pieces))));
    }
    if has(&pieces, "COLLATE") {
        let before: Vec<Piece> = pieces
            .into_iter()
            .take_while(|piece| !matches!(piece, Piece::Word(w) if w == "COLLATE"))
            .collect();
        return meaning(before);
    }
    // `a op b`, `a op ANY (b)`, `(op a)`.
    let symbol = pieces.iter().position(|piece| matches!(piece, Piece::Symbol(_)));
    if let Some(at) = symbol
        && at > 0
    {
        let right = pieces.split_off(at + 1);
        let Some(Piece::Symbol(symbol)) = pieces.pop() else { return Expr::Other(Vec::new()) };
        return Expr::Operator(Box::new(meaning(pieces)), symbol, Box::new(meaning(right)));
    }
    let mut exprs = exprs(pieces);
    if exprs.len() == 1 { exprs.remove(0) } else { Expr::Other(exprs) }
}

fn exprs(pieces: Vec<Piece>) -> Vec<Expr> {
    pieces
        .into_iter()
        .filter_map(|piece| if let Piece::Expr(expr) = piece { Some(expr) } else { None })
        .collect()
}

fn split(pieces: Vec<Piece>, at: &str) -> Vec<Vec<Piece>> {
    let mut parts = vec![Vec::new()];
    for piece in pieces {
        match piece {
            Piece::Word(word) if word == at => parts.push(Vec::new()),
            piece => {
                if let Some(part) = parts.last_mut() {
                    part.push(piece);
                }
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_casts_are_told_apart() {
        let expr = Expr::read("((o.status)::text = 'paid'::text) AND (lower((email)::text) = $1)");
        assert_eq!(expr.columns(), ["status", "email"]);
        let parts = expr.conjuncts();
        let Expr::Operator(left, equals, right) = parts[0] else { panic!("{parts:?}") };
        assert_eq!(
            (left.bare_column(), equals.as_str(), right.constant()),
            (Some("status"), "=", Some("paid"))
        );
        let Expr::Operator(left, ..) = parts[1] else { panic!("{parts:?}") };
        assert!(matches!(&**left, Expr::Call(name, _) if name == "lower"));
    }

    #[test]
    fn subplans_lists_and_types_of_many_words_are_read() {
        assert!(Expr::read("(NOT (hashed SubPlan 1))").has_subplan());
        assert!(Expr::read("(NOT (ANY (id = (hashed SubPlan 1).col1)))").has_subplan());
        assert!(Expr::read("(amount > (InitPlan 1).col1)").has_parameter());
        let expr = Expr::read("(created_at >= '2026-01-01 00:00:00'::timestamp without time zone)");
        assert_eq!(expr.columns(), ["created_at"]);
        assert_eq!(Expr::read("(id = ANY ('{1,2}'::integer[]))").columns(), ["id"]);
        let deep = "(".repeat(5000) + "a" + &")".repeat(5000);
        let _ = Expr::read(&deep);
        let _ = Expr::read("((((a = ");
        let _ = Expr::read(")))],,::.");
    }
}

//! The reader of expressions: tokens, then operators, casts and calls, with a bound on how deep they nest.

use super::{Column, Expr};

/// Reads one expression; one that is not understood keeps its columns and calls.
pub(super) fn read(text: &str) -> Expr {
    let tokens = tokens(text);
    let mut parser = Parser { text, tokens: &tokens, at: 0, depth: 0 };
    match parser.expression() {
        Some(expr) if parser.at == tokens.len() => expr,
        _ => other(text, &tokens),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Word,
    Quoted,
    Text,
    Number,
    Parameter,
    Operator,
    Mark,
    Cast,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Token {
    kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) fn tokens(text: &str) -> Vec<Token> {
    let bytes = text.as_bytes();
    let mut all = Vec::new();
    let mut at = 0;
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80;
    let while_from = |mut at: usize, test: &dyn Fn(u8) -> bool| {
        while bytes.get(at).is_some_and(|byte| test(*byte)) {
            at += 1;
        }
        at
    };
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        let (kind, end) = match byte {
            b' ' | b'\n' | b'\t' | b'\r' => {
                at += 1;
                continue;
            }
            b'\'' => (Kind::Text, closed(bytes, at + 1, b'\'', false)),
            b'E' | b'B' | b'X' if next == Some(b'\'') => {
                (Kind::Text, closed(bytes, at + 2, b'\'', byte == b'E'))
            }
            b'"' => (Kind::Quoted, closed(bytes, at + 1, b'"', false)),
            b'$' => (Kind::Parameter, while_from(at + 1, &|byte| byte.is_ascii_digit())),
            b'0'..=b'9' => {
                (Kind::Number, while_from(at, &|byte| byte.is_ascii_alphanumeric() || byte == b'.'))
            }
            b':' if next == Some(b':') => (Kind::Cast, at + 2),
            _ if word(byte) => (Kind::Word, while_from(at, &word)),
            _ if b"+-*/<>=~!@#%^&|`?".contains(&byte) => {
                (Kind::Operator, while_from(at, &|byte| b"+-*/<>=~!@#%^&|`?".contains(&byte)))
            }
            _ => (Kind::Mark, at + 1),
        };
        all.push(Token { kind, start: at, end: end.min(text.len()) });
        at = end.max(at + 1);
    }
    all
}

fn closed(bytes: &[u8], mut at: usize, quote: u8, backslashes: bool) -> usize {
    while let Some(&byte) = bytes.get(at) {
        let doubled = byte == quote && bytes.get(at + 1) == Some(&quote);
        if doubled || (byte == b'\\' && backslashes) {
            at += 2;
        } else if byte == quote {
            return at + 1;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn name_of(text: &str, token: Token) -> Option<String> {
    let text = text.get(token.start..token.end)?;
    match token.kind {
        Kind::Word => Some(text.to_owned()),
        Kind::Quoted => Some(text.trim_matches('"').replace("\"\"", "\"")),
        _ => None,
    }
}

/// `alias.column` at this token, unless it is a function or a type.
pub(super) fn column_at(text: &str, tokens: &[Token], at: usize) -> Option<Column> {
    let (first, dot, second) = (tokens.get(at)?, tokens.get(at + 1)?, tokens.get(at + 2)?);
    let is = |token: &Token, mark: &str| text.get(token.start..token.end) == Some(mark);
    let follows = |mark: &str| tokens.get(at + 3).is_some_and(|token| is(token, mark));
    if !is(dot, ".") || follows("(") || follows(".") {
        return None;
    }
    Some(Column { alias: name_of(text, *first)?, name: name_of(text, *second)? })
}

fn other(text: &str, tokens: &[Token]) -> Expr {
    let columns = (0..tokens.len()).filter_map(|at| column_at(text, tokens, at)).collect();
    let calls = tokens
        .windows(2)
        .filter_map(|pair| {
            let [name, open] = pair else { return None };
            let opens = text.get(open.start..open.end) == Some("(") && open.start == name.end;
            if opens { name_of(text, *name) } else { None }
        })
        .collect();
    Expr::Other(text.to_owned(), columns, calls)
}

/// Deeper than this is not read: a plan's text is foreign.
const DEEPEST: usize = 200;

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn token(&self, ahead: usize) -> Option<(Kind, &'a str)> {
        let token = self.tokens.get(self.at + ahead)?;
        Some((token.kind, self.text.get(token.start..token.end)?))
    }

    fn eat(&mut self, what: &str) -> bool {
        let found = self.token(0).is_some_and(|(_, text)| text == what);
        self.at += usize::from(found);
        found
    }

    fn eat_words(&mut self, words: &[&str]) -> bool {
        let all =
            words.iter().enumerate().all(|(ahead, word)| self.token(ahead).is_some_and(|(_, t)| t == *word));
        self.at += if all { words.len() } else { 0 };
        all
    }

    fn expression(&mut self) -> Option<Expr> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return None;
        }
        let first = self.comparison()?;
        let joined = |parser: &mut Self, word: &str, first: Expr| {
            let mut all = vec![first];
            while parser.eat(word) {
                all.push(parser.comparison()?);
            }
            Some(all)
        };
        let expr = match self.token(0) {
            Some((Kind::Word, "AND")) => Expr::And(joined(self, "AND", first)?),
            Some((Kind::Word, "OR")) => Expr::Or(joined(self, "OR", first)?),
            _ => first,
        };
        self.depth -= 1;
        Some(expr)
    }

    fn comparison(&mut self) -> Option<Expr> {
        if self.eat("NOT") {
            return Some(Expr::Not(Box::new(self.comparison()?)));
        }
        let mut left = self.postfix()?;
        loop {
            match self.token(0) {
                Some((Kind::Operator, op)) => {
                    self.at += 1;
                    let any = match self.token(0) {
                        Some((Kind::Word, word @ ("ANY" | "ALL")))
                            if self.token(1).is_some_and(|t| t.1 == "(") =>
                        {
                            self.at += 1;
                            Some(word)
                        }
                        _ => None,
                    };
                    let right = self.postfix()?;
                    left = match any {
                        Some(word) => Expr::Any(Box::new(left), format!("{op} {word}"), Box::new(right)),
                        None => Expr::Operator(Box::new(left), op.to_owned(), Box::new(right)),
                    };
                }
                Some((Kind::Word, "IS")) => {
                    let (is, not) = (self.eat_words(&["IS", "NULL"]), self.eat_words(&["IS", "NOT", "NULL"]));
                    if !is && !not {
                        return None;
                    }
                    left = Expr::IsNull(Box::new(left), is);
                }
                Some((Kind::Word, "COLLATE")) => {
                    self.at += 1;
                    let (_, name) = self.token(0)?;
                    self.at += 1;
                    left = Expr::Collate(Box::new(left), name.to_owned());
                }
                Some((Kind::Word, "AT")) if self.eat_words(&["AT", "TIME", "ZONE"]) => {
                    let zone = self.postfix()?;
                    left = Expr::Operator(Box::new(left), "AT TIME ZONE".to_owned(), Box::new(zone));
                }
                _ => return Some(left),
            }
        }
    }

    fn postfix(&mut self) -> Option<Expr> {
        let mut expr = self.primary()?;
        while self.eat("::") {
            let kind = self.type_name()?;
            expr = match expr {
                Expr::Constant(text) => Expr::Constant(format!("{text}::{kind}")),
                expr => Expr::Cast(Box::new(expr), kind),
            };
        }
        Some(expr)
    }

    fn primary(&mut self) -> Option<Expr> {
        let (kind, text) = self.token(0)?;
        match (kind, text) {
            (Kind::Mark, "(") => {
                self.at += 1;
                if self.is_subplan() {
                    return self.rest_of_parentheses("SubPlan ");
                }
                let inner = self.expression()?;
                if !self.eat(")") { None } else { Some(inner) }
            }
            (Kind::Text | Kind::Number, _) => {
                self.at += 1;
                Some(Expr::Constant(text.to_owned()))
            }
            (Kind::Parameter, _) => {
                self.at += 1;
                Some(Expr::Parameter)
            }
            (Kind::Operator, "-" | "+" | "@" | "~") => {
                self.at += 1;
                match self.primary()? {
                    Expr::Constant(number) => Some(Expr::Constant(format!("{text}{number}"))),
                    _ => None,
                }
            }
            (Kind::Word, "true" | "false" | "NULL") => {
                self.at += 1;
                Some(Expr::Constant(text.to_owned()))
            }
            (Kind::Word, "ROW") if self.token(1).is_some_and(|t| t.1 == "(") => {
                self.at += 2;
                Some(Expr::Row(self.arguments()?))
            }
            (Kind::Word | Kind::Quoted, _) => self.name(),
            _ => None,
        }
    }

    fn is_subplan(&self) -> bool {
        (0..3).any(|ahead| self.token(ahead).is_some_and(|(_, t)| matches!(t, "SubPlan" | "InitPlan")))
            && self.token(0).is_some_and(|(kind, t)| kind == Kind::Word && t != "NOT")
    }

    /// Everything up to the parenthesis that closes the one before; then `.col1`, as 17 writes a subquery's
    /// result.
    fn rest_of_parentheses(&mut self, what: &str) -> Option<Expr> {
        let mut depth = 1;
        let start = self.tokens.get(self.at)?.start;
        let mut end = start;
        while depth > 0 {
            let (_, text) = self.token(0)?;
            depth += match text {
                "(" => 1,
                ")" => -1,
                _ => 0,
            };
            if depth > 0 {
                end = self.tokens.get(self.at)?.end;
            }
            self.at += 1;
        }
        if self.eat(".") {
            self.at += 1;
        }
        let text = self.text.get(start..end)?;
        let Expr::Other(_, columns, calls) = other(text, &tokens(text)) else { return None };
        Some(Expr::Other(format!("{what}{text}"), columns, calls))
    }

    fn name(&mut self) -> Option<Expr> {
        if let Some(column) = column_at(self.text, self.tokens, self.at) {
            self.at += 3;
            return Some(Expr::Column(column));
        }
        let start = self.tokens.get(self.at)?.start;
        let mut name = String::new();
        loop {
            let (kind, text) = self.token(0)?;
            if !matches!(kind, Kind::Word | Kind::Quoted) {
                return None;
            }
            name.push_str(text);
            self.at += 1;
            if !self.eat(".") {
                break;
            }
            name.push('.');
        }
        if !self.eat("(") {
            // CURRENT_DATE and its like.
            if name.starts_with("CURRENT_") || name == "LOCALTIMESTAMP" {
                return Some(Expr::Call(name.to_ascii_lowercase(), Vec::new(), name));
            }
            // Where the plan has one table only, outputs leave its name out.
            let only = self.tokens.get(self.at - 1).and_then(|token| name_of(self.text, *token));
            let keyword =
                matches!(name.as_str(), "CASE" | "PARTIAL" | "ARRAY" | "DISTINCT" | "EXISTS" | "TABLE");
            return only
                .filter(|_| !name.contains('.') && !keyword)
                .map(|name| Expr::Column(Column { alias: String::new(), name }));
        }
        let begin = self.at;
        match self.arguments() {
            Some(args) => {
                let end = self.tokens.get(self.at - 1)?.end;
                Some(Expr::Call(name, args, self.text.get(start..end)?.to_owned()))
            }
            None => {
                // EXTRACT(year FROM x), TRIM(BOTH FROM x) and what else has a grammar of its own.
                self.at = begin;
                self.rest_of_parentheses("")?;
                let end = self.tokens.get(self.at - 1)?.end;
                let text = self.text.get(start..end)?;
                Some(other(text, &tokens(text)))
            }
        }
    }

    fn arguments(&mut self) -> Option<Vec<Expr>> {
        let mut all = Vec::new();
        if self.eat(")") {
            return Some(all);
        }
        loop {
            all.push(self.expression()?);
            if self.eat(")") {
                return Some(all);
            }
            if !self.eat(",") {
                return None;
            }
        }
    }

    fn type_name(&mut self) -> Option<String> {
        let start = self.tokens.get(self.at)?.start;
        let (_, first) = self.token(0)?;
        self.at += 1;
        while self.eat(".") {
            self.at += 1;
        }
        if matches!(first, "double" | "character" | "bit") {
            let _ = self.eat("precision") || self.eat("varying");
        }
        if self.eat("(") {
            while !self.eat(")") {
                self.token(0)?;
                self.at += 1;
            }
        }
        if matches!(first, "timestamp" | "time") {
            let _ = self.eat_words(&["with", "time", "zone"]) || self.eat_words(&["without", "time", "zone"]);
        }
        while self.eat_words(&["[", "]"]) {}
        let end = self.tokens.get(self.at.checked_sub(1)?)?.end;
        self.text.get(start..end).map(str::to_owned)
    }
}

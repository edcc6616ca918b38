//! Parses conditions as `pg_get_expr` prints them, by precedence (Pratt 1973).

use super::expression::{Cast, Expression};
use super::instant;
use super::token::{Token, tokens};
use super::worth::{DAY, Worth};

/// The condition; `None` where it is not understood.
pub(crate) fn parse(text: &str) -> Option<Expression> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expression = parser.expression(0)?;
    (parser.at == parser.tokens.len()).then_some(expression)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

/// A condition that is nested deeper is not understood, in place of a stack that overflows.
const MOST_NESTED: usize = 200;

/// How tightly an operator binds, as the manual's table of precedence has it.
fn binding(operator: &str) -> u8 {
    match operator {
        "^" => 8,
        "*" | "/" | "%" => 7,
        "+" | "-" => 6,
        "<" | ">" | "=" | "<=" | ">=" | "<>" | "!=" => 4,
        _ => 5,
    }
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn word(&mut self, word: &str) -> bool {
        let is = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at += usize::from(is);
        is
    }

    fn take(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        self.at += usize::from(is);
        is
    }

    fn expression(&mut self, least: u8) -> Option<Expression> {
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return None;
        }
        let mut left = self.prefix()?;
        loop {
            left = match self.peek() {
                Some(Token::Cast) => {
                    self.at += 1;
                    let name = self.type_name()?;
                    cast(left, &name)
                }
                Some(Token::OpenBracket) => {
                    self.at += 1;
                    let place = self.expression(0)?;
                    if !self.take(&Token::CloseBracket) {
                        return None;
                    }
                    Expression::Element(Box::new(left), Box::new(place))
                }
                // A field of a composite value: `(address).city`.
                Some(Token::Dot) => {
                    self.at += 1;
                    let (Token::Word(name) | Token::Name(name)) = self.peek()?.clone() else { return None };
                    self.at += 1;
                    Expression::Field(Box::new(left), name)
                }
                Some(Token::Word(word)) if word == "or" && least <= 1 => {
                    self.at += 1;
                    let right = self.expression(2)?;
                    match left {
                        Expression::Or(mut parts) => {
                            parts.push(right);
                            Expression::Or(parts)
                        }
                        left => Expression::Or(vec![left, right]),
                    }
                }
                Some(Token::Word(word)) if word == "and" && least <= 2 => {
                    self.at += 1;
                    let right = self.expression(3)?;
                    match left {
                        Expression::And(mut parts) => {
                            parts.push(right);
                            Expression::And(parts)
                        }
                        left => Expression::And(vec![left, right]),
                    }
                }
                Some(Token::Word(word)) if word == "is" && least <= 4 => {
                    self.at += 1;
                    self.is(left)?
                }
                Some(Token::Word(word)) if word == "collate" => {
                    self.at += 1;
                    self.type_name()?;
                    left
                }
                Some(Token::Word(word)) if word == "at" => {
                    self.at += 1;
                    if !(self.word("time") && self.word("zone")) {
                        return None;
                    }
                    self.expression(9)?;
                    left
                }
                Some(Token::Word(word)) if word == "operator" && least <= 5 => {
                    self.at += 1;
                    let operator = self.qualified_operator()?;
                    self.infix(left, operator, 5)?
                }
                Some(Token::Operator(operator)) if binding(operator) > least => {
                    let operator = operator.clone();
                    self.at += 1;
                    let tight = binding(&operator);
                    self.infix(left, operator, tight)?
                }
                _ => break,
            };
        }
        self.depth -= 1;
        Some(left)
    }

    fn infix(&mut self, left: Expression, operator: String, tight: u8) -> Option<Expression> {
        for (word, all) in [("any", false), ("all", true)] {
            if self.word(word) {
                if !self.take(&Token::Open) {
                    return None;
                }
                let list = self.expression(0)?;
                return self
                    .take(&Token::Close)
                    .then(|| Expression::Any(operator, Box::new(left), Box::new(list), all));
            }
        }
        let right = self.expression(tight)?;
        let operator = if operator == "!=" { "<>".to_owned() } else { operator };
        Some(Expression::Binary(operator, Box::new(left), Box::new(right)))
    }

    /// What follows `IS`.
    fn is(&mut self, left: Expression) -> Option<Expression> {
        let not = self.word("not");
        let found = if self.word("null") {
            Expression::IsNull(Box::new(left))
        } else if self.word("true") {
            left
        } else if self.word("false") {
            Expression::Not(Box::new(left))
        } else if self.word("distinct") && self.word("from") {
            let right = self.expression(4)?;
            Expression::Binary("is distinct from".to_owned(), Box::new(left), Box::new(right))
        } else {
            return None;
        };
        Some(if not { Expression::Not(Box::new(found)) } else { found })
    }

    fn prefix(&mut self) -> Option<Expression> {
        let token = self.peek()?.clone();
        self.at += 1;
        Some(match token {
            Token::Open => {
                let inner = self.expression(0)?;
                if self.peek() == Some(&Token::Comma) {
                    while self.take(&Token::Comma) {
                        self.expression(0)?;
                    }
                    return self.take(&Token::Close).then_some(Expression::Unknown);
                }
                return self.take(&Token::Close).then_some(inner);
            }
            Token::Number(number) => Expression::Number(number),
            Token::Text(text) => Expression::Text(text),
            Token::Operator(operator) if operator == "-" => match self.expression(8)? {
                Expression::Number(number) => Expression::Number(-number),
                other => {
                    Expression::Binary("-".to_owned(), Box::new(Expression::Number(0.0)), Box::new(other))
                }
            },
            Token::Operator(_) => {
                self.expression(8)?;
                Expression::Unknown
            }
            Token::Name(name) => self.named(name)?,
            Token::Word(word) => match word.as_str() {
                "not" => Expression::Not(Box::new(self.expression(3)?)),
                "true" => Expression::Boolean(true),
                "false" => Expression::Boolean(false),
                "null" => Expression::Null,
                "array" => {
                    if !self.take(&Token::OpenBracket) {
                        return None;
                    }
                    let parts = self.list(&Token::CloseBracket)?;
                    Expression::Array(parts)
                }
                "row" => {
                    if !self.take(&Token::Open) {
                        return None;
                    }
                    self.list(&Token::Close)?;
                    Expression::Unknown
                }
                "case" => self.case()?,
                // `POSITION(('@') IN (email))`
                "position" if self.take(&Token::Open) => {
                    let needle = self.expression(5)?;
                    if !self.word("in") {
                        return None;
                    }
                    let hay = self.expression(0)?;
                    if !self.take(&Token::Close) {
                        return None;
                    }
                    Expression::Call("strpos".to_owned(), vec![hay, needle])
                }
                // `SUBSTRING(code FROM 1 FOR 3)`
                "substring" if self.take(&Token::Open) => {
                    let mut parts = vec![self.expression(0)?];
                    while self.take(&Token::Comma) || self.word("from") || self.word("for") {
                        parts.push(self.expression(0)?);
                    }
                    if !self.take(&Token::Close) {
                        return None;
                    }
                    Expression::Call("substring".to_owned(), parts)
                }
                // `EXTRACT(year FROM d)`, as older versions print it too.
                "extract" if self.take(&Token::Open) => {
                    let Some(Token::Word(field)) = self.peek().cloned() else { return None };
                    self.at += 1;
                    if !self.word("from") {
                        return None;
                    }
                    let of = self.expression(0)?;
                    if !self.take(&Token::Close) {
                        return None;
                    }
                    Expression::Call("extract".to_owned(), vec![Expression::Text(field), of])
                }
                "current_date" | "current_timestamp" | "localtimestamp" => {
                    Expression::Call("now".to_owned(), Vec::new())
                }
                _ => self.named(word)?,
            },
            _ => return None,
        })
    }

    /// A column, or a call of a function with or without a schema.
    fn named(&mut self, first: String) -> Option<Expression> {
        let mut name = first;
        while self.take(&Token::Dot) {
            let (Token::Word(next) | Token::Name(next)) = self.peek()?.clone() else { return None };
            self.at += 1;
            name = next;
        }
        if !self.take(&Token::Open) {
            return Some(Expression::Column(name));
        }
        // `TRIM(BOTH FROM x)`
        for word in ["both", "leading", "trailing"] {
            if self.word(word) && !self.word("from") {
                return None;
            }
        }
        Some(Expression::Call(name, self.list(&Token::Close)?))
    }

    fn list(&mut self, close: &Token) -> Option<Vec<Expression>> {
        let mut parts = Vec::new();
        while !self.take(close) {
            if !parts.is_empty() && !self.take(&Token::Comma) {
                return None;
            }
            parts.push(self.expression(0)?);
        }
        Some(parts)
    }

    fn case(&mut self) -> Option<Expression> {
        let operand = match self.word("when") {
            true => None,
            false => {
                let operand = self.expression(0)?;
                if !self.word("when") {
                    return None;
                }
                Some(operand)
            }
        };
        let mut arms = Vec::new();
        loop {
            let condition = self.expression(0)?;
            if !self.word("then") {
                return None;
            }
            let condition = match &operand {
                Some(operand) => {
                    Expression::Binary("=".to_owned(), Box::new(operand.clone()), Box::new(condition))
                }
                None => condition,
            };
            arms.push((condition, self.expression(0)?));
            if !self.word("when") {
                break;
            }
        }
        let otherwise = if self.word("else") { self.expression(0)? } else { Expression::Null };
        self.word("end").then(|| Expression::Case(arms, Box::new(otherwise)))
    }

    fn qualified_operator(&mut self) -> Option<String> {
        if !self.take(&Token::Open) {
            return None;
        }
        loop {
            let token = self.peek()?.clone();
            self.at += 1;
            match token {
                Token::Operator(operator) => return self.take(&Token::Close).then_some(operator),
                Token::Word(_) | Token::Name(_) | Token::Dot => {}
                _ => return None,
            }
        }
    }

    /// A type's name: `numeric(10,2)`, `character varying(20)[]`, `timestamp with time zone`. Returns its
    /// last word before all of that.
    fn type_name(&mut self) -> Option<String> {
        const FURTHER: [&str; 13] = [
            "varying",
            "precision",
            "with",
            "without",
            "time",
            "zone",
            "year",
            "month",
            "day",
            "hour",
            "minute",
            "second",
            "to",
        ];
        let (Token::Word(mut name) | Token::Name(mut name)) = self.peek()?.clone() else { return None };
        self.at += 1;
        loop {
            match self.peek() {
                Some(Token::Dot) => {
                    self.at += 1;
                    let (Token::Word(next) | Token::Name(next)) = self.peek()?.clone() else { return None };
                    self.at += 1;
                    name = next;
                }
                Some(Token::Word(word)) if FURTHER.contains(&word.as_str()) => self.at += 1,
                Some(Token::Open) => {
                    self.at += 1;
                    self.list(&Token::Close)?;
                }
                Some(Token::OpenBracket) if self.tokens.get(self.at + 1) == Some(&Token::CloseBracket) => {
                    self.at += 2;
                    name.push_str("[]");
                }
                _ => return Some(name),
            }
        }
    }
}

/// A value as a type of that name. Most casts change nothing about what a value is worth.
fn cast(value: Expression, name: &str) -> Expression {
    if let Expression::Text(text) = &value {
        let constant = match name {
            "date" => instant::moment(text).map(|micros| Worth::Date((micros / DAY).floor())),
            "timestamp" | "timestamptz" | "time" | "timetz" => instant::moment(text).map(Worth::Time),
            "interval" => instant::interval(text).map(Worth::Time),
            _ => None,
        };
        return constant.map_or(value, Expression::Constant);
    }
    let to = match name {
        "date" => Cast::Date,
        "timestamp" | "timestamptz" => Cast::Timestamp,
        "time" => Cast::Time,
        "integer" | "bigint" | "smallint" if !matches!(value, Expression::Number(_)) => Cast::Integer,
        _ => return value,
    };
    Expression::Cast(Box::new(value), to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, printed: &str) {
        assert_eq!(format!("{:?}", Expression::parse(text)).replace('"', "'"), printed, "{text}");
    }

    #[test]
    fn conditions_are_read_as_the_server_prints_them() {
        check("(price > (0)::numeric)", "Binary('>', Column('price'), Number(0.0))");
        check(
            "((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))",
            "Any('=', Column('status'), Array([Text('a'), Text('b')]), false)",
        );
        check(
            "((a IS NULL) <> (b IS NOT NULL))",
            "Binary('<>', IsNull(Column('a')), Not(IsNull(Column('b'))))",
        );
        check(
            "((VALUE >= 1) AND (VALUE <= 5) AND (VALUE <> 3))",
            "And([Binary('>=', Column('VALUE'), Number(1.0)), Binary('<=', Column('VALUE'), Number(5.0)), \
             Binary('<>', Column('VALUE'), Number(3.0))])",
        );
        check(
            "((ends_at <= (starts_at + '1 day'::interval)))",
            "Binary('<=', Column('ends_at'), Binary('+', Column('starts_at'), Constant(Time(86400000000.0))))",
        );
        check(
            "((price).amount > (0)::numeric)",
            "Binary('>', Field(Column('price'), 'amount'), Number(0.0))",
        );
        check("(a[1] < 2)", "Binary('<', Element(Column('a'), Number(1.0)), Number(2.0))");
        check("((at)::date = day)", "Binary('=', Cast(Column('at'), Date), Column('day'))");
        check("(a IS DISTINCT FROM 1)", "Binary('is distinct from', Column('a'), Number(1.0))");
        check("(mask <> B'01'::\"bit\")", "Binary('<>', Column('mask'), Text('01'))");
        check(
            "CASE WHEN (kind = 'a'::text) THEN (x IS NOT NULL) ELSE true END",
            "Case([(Binary('=', Column('kind'), Text('a')), Not(IsNull(Column('x'))))], Boolean(true))",
        );
        check("(public.is_ok(\"Odd Name\"))", "Call('is_ok', [Column('Odd Name')])");
        check(
            "(email OPERATOR(public.~~) '%@%'::public.citext)",
            "Binary('~~', Column('email'), Text('%@%'))",
        );
        check("(x = '-5'::integer)", "Binary('=', Column('x'), Text('-5'))");
        check(
            "(EXTRACT(year FROM d) = (2024)::numeric)",
            "Binary('=', Call('extract', [Text('year'), Column('d')]), Number(2024.0))",
        );
    }

    #[test]
    fn what_is_not_understood_is_unknown_and_never_a_panic() {
        for text in ["", "(", "a b c", "((((", "SELECT 1", "x = ANY", "'open", "a ::", "case when"] {
            check(text, "Unknown");
        }
        assert_eq!(Expression::parse(&"(".repeat(100_000)), Expression::Unknown);
    }
}

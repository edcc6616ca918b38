//! A condition as the server knows it: of a check, of a domain, or the bounds of a partition.
//!
//! The server prints a condition in one normal form: each operator in parentheses, casts as `::type`, `IN` as
//! `= ANY (ARRAY[…])`, `BETWEEN` as two comparisons. Casts are dropped, because values are compared as what
//! they are; those that change a value stay. What the parser does not know becomes [`Expression::Unknown`],
//! which nothing is concluded from.

use super::parser;
use super::worth::Worth;

/// A condition, or a part of one.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    /// A column of the row, or the value of a domain under the name `VALUE`.
    Column(String),
    Number(f64),
    Text(String),
    Boolean(bool),
    Null,
    Array(Vec<Expression>),
    And(Vec<Expression>),
    Or(Vec<Expression>),
    Not(Box<Expression>),
    IsNull(Box<Expression>),
    /// `left operator right`, for comparisons, arithmetic, `||`, `~`, `~~` and their like.
    Binary(String, Box<Expression>, Box<Expression>),
    /// `left operator ANY (right)`; with `true` for `ALL`.
    Any(String, Box<Expression>, Box<Expression>, bool),
    /// A call; the name is in lower case, without a schema.
    Call(String, Vec<Expression>),
    /// `CASE WHEN … THEN … ELSE … END`; a form with an operand has `operand = value` for its conditions.
    Case(Vec<(Expression, Expression)>, Box<Expression>),
    /// A day, a moment or a length of time.
    Constant(Worth),
    /// A field of a composite value.
    Field(Box<Expression>, String),
    /// `array[place]`.
    Element(Box<Expression>, Box<Expression>),
    Cast(Box<Expression>, Cast),
    Unknown,
}

/// A cast that changes what a value is worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cast {
    Date,
    Timestamp,
    Time,
    Integer,
}

impl Expression {
    /// Parses one condition. Never fails: what is not understood is `Unknown`.
    pub(crate) fn parse(text: &str) -> Self {
        parser::parse(text).unwrap_or(Expression::Unknown)
    }

    /// The columns that it names, each once, in the order in which they come.
    pub(crate) fn columns(&self) -> Vec<&str> {
        let mut found = Vec::new();
        self.visit(&mut |expression| {
            if let Expression::Column(name) = expression
                && !found.contains(&name.as_str())
            {
                found.push(name.as_str());
            }
        });
        found
    }

    /// Calls `look` with it and everything in it.
    pub(crate) fn visit<'a>(&'a self, look: &mut impl FnMut(&'a Expression)) {
        look(self);
        match self {
            Expression::Array(parts) | Expression::And(parts) | Expression::Or(parts) => {
                parts.iter().for_each(|part| part.visit(look));
            }
            Expression::Call(_, parts) => parts.iter().for_each(|part| part.visit(look)),
            Expression::Not(part)
            | Expression::IsNull(part)
            | Expression::Field(part, _)
            | Expression::Cast(part, _) => part.visit(look),
            Expression::Binary(_, left, right)
            | Expression::Element(left, right)
            | Expression::Any(_, left, right, _) => {
                left.visit(look);
                right.visit(look);
            }
            Expression::Case(arms, otherwise) => {
                for (condition, value) in arms {
                    condition.visit(look);
                    value.visit(look);
                }
                otherwise.visit(look);
            }
            _ => {}
        }
    }

    /// The same with another name for a column: the value of a domain becomes the column of that domain.
    pub(crate) fn renamed(self, from: &str, to: &str) -> Self {
        self.replaced(from, &Expression::Column(to.to_owned()))
    }

    /// The same with an expression in place of a column: of a generated one, what it is generated from.
    pub(crate) fn replaced(mut self, column: &str, by: &Expression) -> Self {
        self.replace(column, by);
        self
    }

    fn replace(&mut self, column: &str, by: &Expression) {
        match self {
            Expression::Column(name) if name == column => *self = by.clone(),
            other => other.each_part(&mut |part| part.replace(column, by)),
        }
    }

    /// Calls `change` with each part of it, but not with the parts of those.
    pub(crate) fn each_part(&mut self, change: &mut impl FnMut(&mut Expression)) {
        match self {
            Expression::Array(parts)
            | Expression::And(parts)
            | Expression::Or(parts)
            | Expression::Call(_, parts) => parts.iter_mut().for_each(change),
            Expression::Not(part)
            | Expression::IsNull(part)
            | Expression::Field(part, _)
            | Expression::Cast(part, _) => change(part),
            Expression::Binary(_, left, right)
            | Expression::Element(left, right)
            | Expression::Any(_, left, right, _) => {
                change(left);
                change(right);
            }
            Expression::Case(arms, otherwise) => {
                for (condition, value) in arms {
                    change(condition);
                    change(value);
                }
                change(otherwise);
            }
            _ => {}
        }
    }
}

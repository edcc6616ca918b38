//! What a condition is worth for a row, as PostgreSQL would compute it, as far as that can be said without
//! it.

use std::cmp::Ordering;
use std::sync::Arc;

use super::call::call;
use super::document;
use super::expression::{Cast, Expression};
use super::instant::{interval, moment};
use super::list;
use super::network;
use super::pattern;

/// A day in microseconds.
pub(crate) const DAY: f64 = 86_400e6;

/// A value in a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Worth {
    Null,
    Number(f64),
    /// Days since 1970-01-01. A date and a whole number are added in days.
    Date(f64),
    /// A moment, a time of day or a length of time, in microseconds.
    Time(f64),
    Text(String),
    /// A label of an enum, by its place among all of them, which is what it is compared by.
    Label(Arc<Vec<String>>, usize),
    Boolean(bool),
    List(Vec<Worth>),
    Document(serde_json::Value),
    /// So many bytes.
    Bytes(usize),
    /// It depends on what only the server knows.
    Unknown,
}

/// Where a condition finds the values of columns, and the moment that `now()` stands for.
pub(crate) trait Values {
    /// The value of a column.
    fn value(&self, column: &str) -> Worth;
    /// Microseconds since 1970-01-01 UTC.
    fn now(&self) -> i64;
}

impl Expression {
    /// What it is worth.
    pub(crate) fn worth(&self, row: &dyn Values) -> Worth {
        match self {
            Expression::Column(name) => row.value(name),
            Expression::Number(number) => Worth::Number(*number),
            Expression::Text(text) => Worth::Text(text.clone()),
            Expression::Boolean(is) => Worth::Boolean(*is),
            Expression::Constant(worth) => worth.clone(),
            Expression::Null => Worth::Null,
            Expression::Array(parts) => Worth::List(parts.iter().map(|part| part.worth(row)).collect()),
            Expression::And(parts) => all(parts.iter().map(|part| part.worth(row))),
            Expression::Or(parts) => not(all(parts.iter().map(|part| not(part.worth(row))))),
            Expression::Not(part) => not(part.worth(row)),
            Expression::IsNull(part) => match part.worth(row) {
                Worth::Unknown => Worth::Unknown,
                worth => Worth::Boolean(worth == Worth::Null),
            },
            Expression::Binary(operator, left, right) => binary(operator, left.worth(row), right.worth(row)),
            Expression::Any(operator, left, right, every) => {
                let (left, right) = (left.worth(row), right.worth(row));
                if right == Worth::Null {
                    return Worth::Null;
                }
                let Some(list) = list(right) else { return Worth::Unknown };
                let each = list.into_iter().map(|one| binary(operator, left.clone(), one));
                match every {
                    true => all(each),
                    false => not(all(each.map(not))),
                }
            }
            Expression::Element(list, place) => match (list.worth(row), place.worth(row)) {
                (Worth::List(list), Worth::Number(place)) if place >= 1.0 => {
                    list.get(place as usize - 1).cloned().unwrap_or(Worth::Null)
                }
                (Worth::List(_), Worth::Number(_)) | (Worth::Null, _) | (_, Worth::Null) => Worth::Null,
                _ => Worth::Unknown,
            },
            Expression::Cast(part, to) => cast(part.worth(row), *to),
            Expression::Call(name, arguments) => call(name, arguments, row),
            Expression::Case(arms, otherwise) => {
                for (condition, value) in arms {
                    match condition.worth(row) {
                        Worth::Boolean(true) => return value.worth(row),
                        Worth::Unknown => return Worth::Unknown,
                        _ => {}
                    }
                }
                otherwise.worth(row)
            }
            Expression::Field(..) | Expression::Unknown => Worth::Unknown,
        }
    }
}

fn cast(worth: Worth, to: Cast) -> Worth {
    match (to, worth) {
        (_, Worth::Null) => Worth::Null,
        (Cast::Integer, Worth::Boolean(is)) => Worth::Number(f64::from(u8::from(is))),
        (Cast::Integer, worth) => match text_of(&worth).and_then(|text| text.trim().parse::<f64>().ok()) {
            Some(number) => Worth::Number(number.round()),
            None => Worth::Unknown,
        },
        (Cast::Date, worth) => number(&worth).map_or(Worth::Unknown, |at| Worth::Date((at / DAY).floor())),
        (Cast::Timestamp, worth) => number(&worth).map_or(Worth::Unknown, Worth::Time),
        (Cast::Time, worth) => number(&worth).map_or(Worth::Unknown, |at| Worth::Time(at.rem_euclid(DAY))),
    }
}

/// The elements of a list, also of one that is written as text: `'{a,b}'`.
pub(crate) fn list(worth: Worth) -> Option<Vec<Worth>> {
    match worth {
        Worth::List(list) => Some(list),
        Worth::Text(text) => {
            let parts = list::elements(&text)?;
            Some(parts.into_iter().map(|part| part.map_or(Worth::Null, Worth::Text)).collect())
        }
        _ => None,
    }
}

/// A value as text, as a cast to text has it.
pub(crate) fn text_of(worth: &Worth) -> Option<String> {
    match worth {
        Worth::Text(text) => Some(text.clone()),
        Worth::Label(labels, at) => labels.get(*at).cloned(),
        Worth::Number(number) => Some(number.to_string()),
        Worth::Boolean(is) => Some(is.to_string()),
        Worth::Document(document) => Some(document.to_string()),
        _ => None,
    }
}

pub(crate) fn not(worth: Worth) -> Worth {
    match worth {
        Worth::Boolean(is) => Worth::Boolean(!is),
        Worth::Null => Worth::Null,
        _ => Worth::Unknown,
    }
}

/// Three-valued AND, with what is unknown as a fourth.
fn all(parts: impl Iterator<Item = Worth>) -> Worth {
    let mut worth = Worth::Boolean(true);
    for part in parts {
        match part {
            Worth::Boolean(false) => return Worth::Boolean(false),
            Worth::Boolean(true) => {}
            Worth::Null if worth == Worth::Boolean(true) => worth = Worth::Null,
            Worth::Null => {}
            _ => worth = Worth::Unknown,
        }
    }
    worth
}

/// What `left operator right` is worth.
pub(crate) fn binary(operator: &str, left: Worth, right: Worth) -> Worth {
    if left == Worth::Unknown || right == Worth::Unknown {
        return Worth::Unknown;
    }
    if operator == "is distinct from" {
        return match (left == Worth::Null, right == Worth::Null) {
            (false, false) => binary("<>", left, right),
            (left, right) => Worth::Boolean(left != right),
        };
    }
    if left == Worth::Null || right == Worth::Null {
        return Worth::Null;
    }
    match operator {
        "=" | "<>" | "<" | "<=" | ">" | ">=" => match compare(&left, &right) {
            Some(ordering) => Worth::Boolean(match operator {
                "=" => ordering == Ordering::Equal,
                "<>" => ordering != Ordering::Equal,
                "<" => ordering == Ordering::Less,
                "<=" => ordering != Ordering::Greater,
                ">" => ordering == Ordering::Greater,
                _ => ordering != Ordering::Less,
            }),
            None => Worth::Unknown,
        },
        "-" if matches!(left, Worth::Document(_)) => Worth::Unknown,
        "+" | "-" if is_time(&left) || is_time(&right) => times(operator, &left, &right),
        "%" if long_rest(&left, &right).is_some() => long_rest(&left, &right).unwrap_or(Worth::Unknown),
        "+" | "-" | "*" | "/" | "%" | "^" => match (number(&left), number(&right)) {
            (Some(of_left), Some(of_right)) => {
                let found = match operator {
                    "+" => of_left + of_right,
                    "-" => of_left - of_right,
                    "*" => of_left * of_right,
                    "^" => of_left.powf(of_right),
                    _ if of_right == 0.0 => return Worth::Unknown,
                    "/" => of_left / of_right,
                    _ => of_left % of_right,
                };
                if is_time(&left) || is_time(&right) { Worth::Time(found) } else { Worth::Number(found) }
            }
            _ => Worth::Unknown,
        },
        "||" => match (left, right) {
            (Worth::List(mut left), Worth::List(right)) => {
                left.extend(right);
                Worth::List(left)
            }
            (left, right) => match (text_of(&left), text_of(&right)) {
                (Some(left), Some(right)) => Worth::Text(left + &right),
                _ => Worth::Unknown,
            },
        },
        "?" | "?&" | "?|" | "->" | "->>" | "#>" | "#>>" => document::part(operator, &left, &right),
        "<@" | "@>" if matches!(left, Worth::Document(_)) || matches!(right, Worth::Document(_)) => {
            let (whole, part) = if operator == "@>" { (left, right) } else { (right, left) };
            document::contains(&whole, &part)
        }
        "<@" => within(left, right),
        "@>" => within(right, left),
        "<<" | "<<=" | ">>" | ">>=" => match (&left, &right) {
            (Worth::Text(one), Worth::Text(other)) => network::compare(operator, one, other),
            _ => Worth::Unknown,
        },
        "&&" => match (list(left), list(right)) {
            (Some(left), Some(right)) => {
                Worth::Boolean(left.iter().any(|one| right.iter().any(|other| equal(one, other))))
            }
            _ => Worth::Unknown,
        },
        "&" | "|" | "#" => bits(operator, &left, &right),
        _ => match (text_of(&left), text_of(&right)) {
            (Some(text), Some(with)) => match pattern::matches(operator, &text, &with) {
                Some(is) => Worth::Boolean(is),
                None => Worth::Unknown,
            },
            _ => Worth::Unknown,
        },
    }
}

/// The rest of a number of more digits than a binary number has room for: check digits of accounts are
/// computed so.
fn long_rest(left: &Worth, right: &Worth) -> Option<Worth> {
    let (Worth::Text(digits), Worth::Number(by)) = (left, right) else { return None };
    let is_long = digits.len() > 15 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_long || by.fract() != 0.0 || !(1.0..1e15).contains(by) {
        return None;
    }
    let by = *by as u64;
    let rest = digits
        .bytes()
        .fold(0, |rest, byte| ((u128::from(rest) * 10 + u128::from(byte - b'0')) % u128::from(by)) as u64);
    Some(Worth::Number(rest as f64))
}

fn is_time(worth: &Worth) -> bool {
    matches!(worth, Worth::Date(_) | Worth::Time(_))
}

/// Sums and differences of days, of moments and of lengths of time.
fn times(operator: &str, left: &Worth, right: &Worth) -> Worth {
    match (left, operator, right) {
        (Worth::Date(left), "-", Worth::Date(right)) => Worth::Number(left - right),
        (Worth::Date(date), "+", Worth::Number(days)) | (Worth::Number(days), "+", Worth::Date(date)) => {
            Worth::Date(date + days)
        }
        (Worth::Date(date), "-", Worth::Number(days)) => Worth::Date(date - days),
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => {
                Worth::Time(if operator == "+" { left + right } else { left - right })
            }
            _ => Worth::Unknown,
        },
    }
}

/// Bit by bit: of strings of bits, or of whole numbers.
fn bits(operator: &str, left: &Worth, right: &Worth) -> Worth {
    let one = |left: bool, right: bool| match operator {
        "&" => left && right,
        "|" => left || right,
        _ => left != right,
    };
    match (left, right) {
        (Worth::Number(left), Worth::Number(right)) => {
            let (left, right) = (*left as i64, *right as i64);
            Worth::Number(match operator {
                "&" => left & right,
                "|" => left | right,
                _ => left ^ right,
            } as f64)
        }
        (Worth::Text(left), Worth::Text(right)) if left.len() == right.len() => {
            let pairs = left.chars().zip(right.chars());
            Worth::Text(
                pairs.map(|(left, right)| if one(left == '1', right == '1') { '1' } else { '0' }).collect(),
            )
        }
        _ => Worth::Unknown,
    }
}

/// Whether all elements of a list are in another one.
fn within(part: Worth, whole: Worth) -> Worth {
    match (list(part), list(whole)) {
        (Some(part), Some(whole)) => {
            Worth::Boolean(part.iter().all(|one| whole.iter().any(|other| equal(one, other))))
        }
        _ => Worth::Unknown,
    }
}

pub(crate) fn equal(left: &Worth, right: &Worth) -> bool {
    compare(left, right) == Some(Ordering::Equal)
}

/// Compares as numbers where one side is one; times are numbers of microseconds.
fn compare(left: &Worth, right: &Worth) -> Option<Ordering> {
    let is_number = |worth: &Worth| matches!(worth, Worth::Number(_)) || is_time(worth);
    match (left, right) {
        (left, right) if is_number(left) || is_number(right) => numbers(number(left)?, number(right)?),
        // The order of texts depends on the collation; that they differ does not.
        (Worth::Text(one), Worth::Text(other)) => Some(one.cmp(other)),
        (Worth::Label(labels, one), other) => {
            let text = text_of(other)?;
            Some(one.cmp(&labels.iter().position(|label| *label == text)?))
        }
        (one, Worth::Label(..)) => compare(right, one).map(Ordering::reverse),
        (Worth::Boolean(left), Worth::Boolean(right)) => Some(left.cmp(right)),
        (Worth::Boolean(left), Worth::Text(right)) => Some(left.cmp(&right.starts_with('t'))),
        (Worth::Document(document), other) | (other, Worth::Document(document)) => {
            let is = document::of(other)? == *document;
            Some(if is { Ordering::Equal } else { Ordering::Less })
        }
        (Worth::List(_), _) | (_, Worth::List(_)) => {
            let (left, right) = (list(left.clone())?, list(right.clone())?);
            let first = left.iter().zip(&right).map(|(one, other)| compare(one, other));
            for ordering in first {
                if ordering? != Ordering::Equal {
                    return ordering;
                }
            }
            Some(left.len().cmp(&right.len()))
        }
        _ => None,
    }
}

/// The server computes in decimals: what differs in the last bits of a binary number is the same there.
fn numbers(left: f64, right: f64) -> Option<Ordering> {
    if (left - right).abs() <= 1e-12 * left.abs().max(right.abs()) {
        return Some(Ordering::Equal);
    }
    left.partial_cmp(&right)
}

/// A value as a number: a number, or a text that is one, a moment, a day, a time of day or an interval.
pub(crate) fn number(worth: &Worth) -> Option<f64> {
    match worth {
        Worth::Number(number) | Worth::Time(number) => Some(*number),
        Worth::Date(days) => Some(days * DAY),
        Worth::Text(text) => text.parse().ok().or_else(|| moment(text)).or_else(|| interval(text)),
        Worth::Document(document) => document.as_f64(),
        _ => None,
    }
}

//! What a condition is worth for a row, as PostgreSQL would compute it, as far as that can be said without it.

use std::cmp::Ordering;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::document;
use super::expression::Expression;
use super::pattern;

/// A day in microseconds.
pub(crate) const DAY: f64 = 86_400e6;

/// A value in a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Worth {
    Null,
    Number(f64),
    /// Days since 1970-01-01. A date and a whole number are added in days; all other times are microseconds.
    Date(f64),
    Text(String),
    Boolean(bool),
    List(Vec<Worth>),
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
                let Some(list) = list(right) else { return Worth::Unknown };
                let each = list.into_iter().map(|one| binary(operator, left.clone(), one));
                match every {
                    true => all(each),
                    false => not(all(each.map(not))),
                }
            }
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
            Expression::Unknown => Worth::Unknown,
        }
    }
}

/// The elements of a list, also of one that is written as text: `'{a,b}'`.
pub(crate) fn list(worth: Worth) -> Option<Vec<Worth>> {
    match worth {
        Worth::List(list) => Some(list),
        Worth::Text(text) => {
            let inner = text.strip_prefix('{')?.strip_suffix('}')?;
            if inner.contains(['"', '{']) {
                return None;
            }
            Some(
                inner
                    .split(',')
                    .filter(|one| !one.is_empty())
                    .map(|one| Worth::Text(one.to_owned()))
                    .collect(),
            )
        }
        _ => None,
    }
}

fn not(worth: Worth) -> Worth {
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
        "+" | "-" if matches!(left, Worth::Date(_)) || matches!(right, Worth::Date(_)) => {
            days(operator, &left, &right)
        }
        "+" | "-" | "*" | "/" | "%" => match (number(&left), number(&right)) {
            (Some(left), Some(right)) => match operator {
                "+" => Worth::Number(left + right),
                "-" => Worth::Number(left - right),
                "*" => Worth::Number(left * right),
                _ if right == 0.0 => Worth::Unknown,
                "/" => Worth::Number(left / right),
                _ => Worth::Number(left % right),
            },
            _ => Worth::Unknown,
        },
        "||" => match (left, right) {
            (Worth::Text(left), Worth::Text(right)) => Worth::Text(left + &right),
            _ => Worth::Unknown,
        },
        "?" | "->" | "->>" => document::part(operator, &left, &right),
        "<@" => within(left, right),
        "@>" => within(right, left),
        "&&" => match (list(left), list(right)) {
            (Some(left), Some(right)) => Worth::Boolean(left.iter().any(|one| right.contains(one))),
            _ => Worth::Unknown,
        },
        _ => match (left, right) {
            (Worth::Text(text), Worth::Text(with)) => match pattern::matches(operator, &text, &with) {
                Some(is) => Worth::Boolean(is),
                None => Worth::Unknown,
            },
            _ => Worth::Unknown,
        },
    }
}

/// A date with days, with an interval, or with another date.
fn days(operator: &str, left: &Worth, right: &Worth) -> Worth {
    match (left, operator, right) {
        (Worth::Date(left), "-", Worth::Date(right)) => Worth::Number(left - right),
        (Worth::Date(date), "+", Worth::Number(days)) | (Worth::Number(days), "+", Worth::Date(date)) => {
            Worth::Date(date + days)
        }
        (Worth::Date(date), "-", Worth::Number(days)) => Worth::Date(date - days),
        _ => match (number(left), number(right)) {
            (Some(left), Some(right)) => {
                Worth::Number(if operator == "+" { left + right } else { left - right })
            }
            _ => Worth::Unknown,
        },
    }
}

/// Whether all elements of a list are in another one.
fn within(part: Worth, whole: Worth) -> Worth {
    match (list(part), list(whole)) {
        (Some(part), Some(whole)) => Worth::Boolean(part.iter().all(|one| whole.contains(one))),
        _ => Worth::Unknown,
    }
}

/// Compares as numbers where one side is one; times are numbers of microseconds.
fn compare(left: &Worth, right: &Worth) -> Option<Ordering> {
    match (left, right) {
        (Worth::Number(_) | Worth::Date(_), _) | (_, Worth::Number(_) | Worth::Date(_)) => {
            numbers(number(left)?, number(right)?)
        }
        (Worth::Text(one), Worth::Text(other)) => match (number(left), number(right)) {
            _ if one == other => Some(Ordering::Equal),
            (Some(left), Some(right)) => numbers(left, right),
            // The order of texts depends on the collation; that they differ does not.
            _ => Some(one.cmp(other)),
        },
        (Worth::Boolean(left), Worth::Boolean(right)) => Some(left.cmp(right)),
        (Worth::Boolean(left), Worth::Text(right)) => Some(left.cmp(&right.starts_with('t'))),
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
        Worth::Number(number) => Some(*number),
        Worth::Date(days) => Some(days * DAY),
        Worth::Text(text) => text.parse().ok().or_else(|| moment(text)).or_else(|| interval(text)),
        _ => None,
    }
}

/// A date, a timestamp or a time of day as microseconds.
pub(crate) fn moment(text: &str) -> Option<f64> {
    let text = text.trim();
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros() as f64);
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(at) = DateTime::parse_from_str(text, format) {
            return Some(at.timestamp_micros() as f64);
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(at) = NaiveDateTime::parse_from_str(text, format) {
            return Some(at.and_utc().timestamp_micros() as f64);
        }
    }
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok()?;
    Some((time - NaiveTime::MIN).num_microseconds()? as f64)
}

/// An interval as PostgreSQL prints one (`1 year 2 mons 3 days 04:05:06`), as microseconds of 30-day months.
fn interval(text: &str) -> Option<f64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let (mut at, mut total) = (0, 0.0);
    if words.is_empty() {
        return None;
    }
    while at < words.len() {
        if words[at].contains(':') {
            let negative = words[at].starts_with('-');
            let mut parts = words[at].trim_start_matches(['-', '+']).split(':').map(str::parse::<f64>);
            let (hours, minutes) = (parts.next()?.ok()?, parts.next()?.ok()?);
            let seconds = parts.next().map_or(Some(0.0), Result::ok)?;
            let time = ((hours * 60.0 + minutes) * 60.0 + seconds) * 1e6;
            total += if negative { -time } else { time };
            at += 1;
            continue;
        }
        let count: f64 = words[at].parse().ok()?;
        let unit = words.get(at + 1)?.trim_end_matches('s');
        total += count
            * match unit {
                "year" => 365.25 * DAY,
                "mon" | "month" => 30.0 * DAY,
                "week" => 7.0 * DAY,
                "day" => DAY,
                "hour" => 3600e6,
                "min" | "minute" => 60e6,
                "sec" | "second" => 1e6,
                _ => return None,
            };
        at += 2;
    }
    Some(total)
}

fn call(name: &str, arguments: &[Expression], row: &dyn Values) -> Worth {
    if matches!(name, "now" | "clock_timestamp" | "transaction_timestamp" | "statement_timestamp") {
        return Worth::Number(row.now() as f64);
    }
    let worths: Vec<Worth> = arguments.iter().map(|argument| argument.worth(row)).collect();
    if worths.contains(&Worth::Unknown) {
        return Worth::Unknown;
    }
    let nulls = worths.iter().filter(|worth| **worth == Worth::Null).count();
    match name {
        "num_nonnulls" => return Worth::Number((worths.len() - nulls) as f64),
        "num_nulls" => return Worth::Number(nulls as f64),
        "coalesce" => return worths.into_iter().find(|worth| *worth != Worth::Null).unwrap_or(Worth::Null),
        "greatest" | "least" => {
            let numbers = worths.iter().filter_map(number);
            let found = if name == "greatest" { numbers.reduce(f64::max) } else { numbers.reduce(f64::min) };
            return found.map_or(Worth::Unknown, Worth::Number);
        }
        _ => {}
    }
    if nulls > 0 {
        return Worth::Null;
    }
    match (name, worths.as_slice()) {
        ("length" | "char_length" | "character_length", [Worth::Text(text)]) => {
            Worth::Number(text.chars().count() as f64)
        }
        ("octet_length", [Worth::Text(text)]) => Worth::Number(text.len() as f64),
        ("lower" | "upper", [Worth::Text(range)]) if range.starts_with(['[', '(']) => {
            match end_of_range(name, range) {
                Some(end) => end,
                None => Worth::Unknown,
            }
        }
        ("isempty", [Worth::Text(range)]) => Worth::Boolean(range == "empty"),
        ("strpos" | "position", [Worth::Text(text), Worth::Text(part)]) => {
            let before = text.find(part.as_str()).map(|at| text[..at].chars().count() + 1);
            Worth::Number(before.unwrap_or_default() as f64)
        }
        ("starts_with", [Worth::Text(text), Worth::Text(start)]) => Worth::Boolean(text.starts_with(start)),
        ("left", [Worth::Text(text), Worth::Number(count)]) if *count >= 0.0 => {
            Worth::Text(text.chars().take(*count as usize).collect())
        }
        ("substring" | "substr", [Worth::Text(text), Worth::Number(from), Worth::Number(count)])
            if *from >= 1.0 && *count >= 0.0 =>
        {
            Worth::Text(text.chars().skip(*from as usize - 1).take(*count as usize).collect())
        }
        ("split_part", [Worth::Text(text), Worth::Text(by), Worth::Number(place)])
            if *place >= 1.0 && !by.is_empty() =>
        {
            Worth::Text(text.split(by.as_str()).nth(*place as usize - 1).unwrap_or_default().to_owned())
        }
        ("lower", [Worth::Text(text)]) if !text.starts_with(['[', '(']) => Worth::Text(text.to_lowercase()),
        ("upper", [Worth::Text(text)]) if !text.starts_with(['[', '(']) => Worth::Text(text.to_uppercase()),
        // `x SIMILAR TO y` is printed as `x ~ similar_to_escape(y)`.
        ("similar_to_escape", [Worth::Text(pattern)]) => Worth::Text(pattern::of_similar(pattern)),
        ("btrim" | "trim", [Worth::Text(text)]) => Worth::Text(text.trim_matches(' ').to_owned()),
        ("ltrim", [Worth::Text(text)]) => Worth::Text(text.trim_start_matches(' ').to_owned()),
        ("rtrim", [Worth::Text(text)]) => Worth::Text(text.trim_end_matches(' ').to_owned()),
        ("abs", [worth]) => number(worth).map_or(Worth::Unknown, |number| Worth::Number(number.abs())),
        ("floor", [worth]) => number(worth).map_or(Worth::Unknown, |number| Worth::Number(number.floor())),
        ("ceil" | "ceiling", [worth]) => {
            number(worth).map_or(Worth::Unknown, |number| Worth::Number(number.ceil()))
        }
        ("round", [worth]) => number(worth).map_or(Worth::Unknown, |number| Worth::Number(number.round())),
        ("round", [worth, Worth::Number(places)]) => match number(worth) {
            Some(number) if places.abs() < 15.0 => {
                let scale = 10_f64.powi(*places as i32);
                Worth::Number((number * scale).round() / scale)
            }
            _ => Worth::Unknown,
        },
        ("mod", [left, right]) => match (number(left), number(right)) {
            (Some(left), Some(right)) if right != 0.0 => Worth::Number(left % right),
            _ => Worth::Unknown,
        },
        ("cardinality", [Worth::List(list)]) => Worth::Number(list.len() as f64),
        ("array_length", [Worth::List(list), Worth::Number(1.0)]) => match list.len() {
            0 => Worth::Null,
            length => Worth::Number(length as f64),
        },
        ("jsonb_typeof" | "json_typeof", [Worth::Text(json)]) => Worth::Text(
            match json.trim_start().chars().next() {
                Some('{') => "object",
                Some('[') => "array",
                Some('"') => "string",
                Some('t' | 'f') => "boolean",
                Some('n') => "null",
                _ => "number",
            }
            .to_owned(),
        ),
        ("date_part" | "extract", [Worth::Text(field), of]) => part_of(field, of),
        ("date_trunc", [Worth::Text(field), of]) => truncated(field, of),
        _ => Worth::Unknown,
    }
}

/// The lower or upper end of a range as the server writes it; NULL where it has none.
fn end_of_range(which: &str, range: &str) -> Option<Worth> {
    let inner = range.get(1..range.len().checked_sub(1)?)?;
    let (lower, upper) = inner.split_once(',')?;
    let end = if which == "lower" { lower } else { upper }.trim_matches('"');
    Some(if end.is_empty() { Worth::Null } else { Worth::Text(end.to_owned()) })
}

fn part_of(field: &str, of: &Worth) -> Worth {
    use chrono::{Datelike, Timelike};
    let Some(at) = number(of).and_then(|micros| DateTime::from_timestamp_micros(micros as i64)) else {
        return Worth::Unknown;
    };
    Worth::Number(match field {
        "year" => f64::from(at.year()),
        "month" => f64::from(at.month()),
        "day" => f64::from(at.day()),
        "hour" => f64::from(at.hour()),
        "minute" => f64::from(at.minute()),
        "dow" => f64::from(at.weekday().num_days_from_sunday()),
        "isodow" => f64::from(at.weekday().number_from_monday()),
        "second" => f64::from(at.second()) + f64::from(at.timestamp_subsec_micros()) / 1e6,
        "epoch" => at.timestamp_micros() as f64 / 1e6,
        _ => return Worth::Unknown,
    })
}

fn truncated(field: &str, of: &Worth) -> Worth {
    use chrono::Datelike;
    let Some(at) = number(of).and_then(|micros| DateTime::from_timestamp_micros(micros as i64)) else {
        return Worth::Unknown;
    };
    let day = at.date_naive();
    let day = match field {
        "year" => day.with_ordinal(1),
        "month" => day.with_day(1),
        "week" => day.checked_sub_days(chrono::Days::new(u64::from(day.weekday().num_days_from_monday()))),
        "day" => Some(day),
        "hour" | "minute" | "second" => {
            let unit = [("hour", 3600e6), ("minute", 60e6), ("second", 1e6)];
            let unit = unit.iter().find(|(name, _)| *name == field).map_or(1e6, |(_, unit)| *unit);
            return Worth::Number((at.timestamp_micros() as f64 / unit).floor() * unit);
        }
        _ => None,
    };
    match day {
        Some(day) => Worth::Number(day.and_time(NaiveTime::MIN).and_utc().timestamp_micros() as f64),
        None => Worth::Unknown,
    }
}

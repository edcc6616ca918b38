//! Gives a call of a function a value, by way of its arguments: the length of a text, a part of it, a field
//! of a date.

use super::bounds;
use super::column_type::ColumnType;
use super::document;
use super::expression::Expression;
use super::instant;
use super::repair::Row;
use super::worth::{self, DAY, Worth};
use crate::draw::Draw;
use crate::words;

/// How often a text is drawn until a part of it is what is wanted.
const TRIES: u32 = 24;

impl Row<'_> {
    pub(crate) fn set_call(
        &mut self,
        call: &Expression,
        name: &str,
        arguments: &[Expression],
        operator: &str,
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        if let (true, Some(count)) = (name.starts_with("num_"), worth::number(value)) {
            self.count_nulls(name == "num_nonnulls", operator, count, arguments, draw);
            return true;
        }
        let done = match (name, arguments) {
            (name, [Expression::Column(column), ..]) if bounds::is_length(name) => {
                self.set_length(column, operator, value, draw)
            }
            ("lower" | "upper", [Expression::Column(column)]) if self.is_range(column) => {
                self.move_range(name, column, operator, value, draw)
            }
            ("strpos" | "position", [Expression::Column(column), part]) => {
                let part = worth::text_of(&part.worth(self));
                let (Some(part), ">" | ">=" | "<>") = (part, operator) else { return false };
                let words = [draw.pick(words::WORD), draw.pick(words::WORD)];
                self.assign(column, format!("{}{part}{}", words[0], words[1]));
                true
            }
            ("lower" | "upper" | "btrim" | "trim", [Expression::Column(column)]) => {
                let Some(at) = self.table.column(column).filter(|at| !self.pinned[*at]) else {
                    return false;
                };
                if operator == "<>" {
                    return self.draw_within(at, &self.bounds[at].clone(), draw);
                }
                // Most often `lower(code) = code`, or `upper(code)` is one of a list.
                let Some(text) = worth::text_of(value) else { return false };
                self.cells[at] = Some(match name {
                    "lower" => text.to_lowercase(),
                    "upper" => text.to_uppercase(),
                    _ => text.trim().to_owned(),
                });
                true
            }
            ("abs", [inner]) => {
                let Some(number) = worth::number(value) else { return false };
                let sign = if draw.below(2) == 0 { 1.0 } else { -1.0 };
                let wanted = match value {
                    Worth::Time(_) => Worth::Time(number * sign),
                    _ => Worth::Number(number * sign),
                };
                let operator =
                    if sign < 0.0 { bounds::mirrored(operator).unwrap_or(operator) } else { operator };
                self.set(inner, operator, &wanted, draw)
            }
            ("coalesce" | "round" | "floor" | "ceil" | "trunc" | "date_trunc" | "greatest" | "least", _) => {
                let inner = arguments.iter().find(|one| !one.columns().is_empty());
                inner.is_some_and(|inner| self.set(inner, operator, value, draw))
            }
            ("lpad", [inner, _, with]) => {
                let (Some(text), Some(with)) = (worth::text_of(value), worth::text_of(&with.worth(self)))
                else {
                    return false;
                };
                let bare = text.trim_start_matches(with.as_str());
                let bare = if bare.is_empty() { with.as_str() } else { bare };
                self.set(inner, operator, &Worth::Text(bare.to_owned()), draw)
            }
            ("extract" | "date_part", [Expression::Text(field), of]) => {
                self.set_field(field, of, operator, value, draw)
            }
            ("jsonb_typeof" | "json_typeof", [of]) => self.set_kind(of, operator, value, draw),
            ("jsonb_array_length" | "json_array_length", [of]) => {
                let Some(length) = worth::number(value).filter(|length| *length < 1e4) else { return false };
                let length = match operator {
                    ">" => length + 1.0,
                    "<" => length - 1.0,
                    _ => length,
                };
                let word = |_| serde_json::Value::from(draw.pick(words::WORD));
                let list: Vec<serde_json::Value> = (0..length.max(0.0) as usize).map(word).collect();
                self.put_document(of, serde_json::Value::Array(list))
            }
            _ => false,
        };
        done || (operator == "=" && self.replace_part(call, name, arguments, value, draw))
    }

    fn is_range(&self, column: &str) -> bool {
        let at = self.table.column(column);
        at.is_some_and(|at| matches!(self.table.columns[at].holds, ColumnType::Range(_)))
    }

    fn set_length(&mut self, column: &str, operator: &str, value: &Worth, draw: &mut Draw) -> bool {
        let (Some(length), Some(at)) = (worth::number(value), self.table.column(column)) else {
            return false;
        };
        if self.pinned[at] {
            return false;
        }
        let mut bounds = self.bounds[at].clone();
        bounds.narrow_length(operator, length);
        self.draw_within(at, &bounds, draw)
    }

    /// Gives a field of a moment another value: the year, the hour, the day of the week.
    fn set_field(
        &mut self,
        field: &str,
        of: &Expression,
        operator: &str,
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let Some(wanted) = worth::number(value) else { return false };
        if field == "epoch" {
            return self.set(of, operator, &Worth::Time(wanted * 1e6), draw);
        }
        let (least, most, unit) = match field {
            "year" | "isoyear" => (1900.0, 2100.0, 365.2425 * DAY),
            "month" => (1.0, 12.0, 30.44 * DAY),
            "quarter" => (1.0, 4.0, 91.3 * DAY),
            "day" => (1.0, 28.0, DAY),
            "dow" => (0.0, 6.0, DAY),
            "isodow" => (1.0, 7.0, DAY),
            "week" => (1.0, 52.0, 7.0 * DAY),
            "hour" => (0.0, 23.0, 3600e6),
            "minute" => (0.0, 59.0, 60e6),
            "second" => (0.0, 59.0, 1e6),
            _ => return false,
        };
        let (from, to): (f64, f64) = match operator {
            "=" => (wanted, wanted),
            "<" => (least, wanted - 1.0),
            "<=" => (least, wanted),
            ">" => (wanted + 1.0, most),
            ">=" => (wanted, most),
            _ => return false,
        };
        if to < from {
            return false;
        }
        // As likely the end as anything between: the next condition may ask for the other end.
        let target = match draw.below(2) {
            0 if operator.starts_with('<') => to,
            0 => from,
            _ => from + draw.below((to - from) as u64 + 1) as f64,
        };
        let worth = of.worth(self);
        let Some(mut at) = worth::number(&worth) else { return false };
        // A year and a month have no fixed length: a few steps lead there.
        for _ in 0..8 {
            let Worth::Number(now) = instant::part_of(field, &Worth::Time(at)) else { return false };
            if now.floor() == target {
                let found = match worth {
                    Worth::Date(_) => Worth::Date((at / DAY).floor()),
                    _ => Worth::Time(at),
                };
                return self.set(of, "=", &found, draw);
            }
            at += (target - now.floor()) * unit;
        }
        false
    }

    /// Makes a document, or a part of one, an object, a list, a text, a number or a truth value.
    fn set_kind(&mut self, of: &Expression, operator: &str, value: &Worth, draw: &mut Draw) -> bool {
        let (Some(kind), "=") = (worth::text_of(value), operator) else { return false };
        let word = draw.pick(words::WORD);
        let made = match kind.as_str() {
            "object" => serde_json::json!({ word: draw.below(100) }),
            "array" => serde_json::json!([word]),
            "string" => serde_json::json!(word),
            "number" => serde_json::json!(draw.below(100)),
            "boolean" => serde_json::json!(draw.below(2) == 0),
            "null" => serde_json::Value::Null,
            _ => return false,
        };
        self.put_document(of, made)
    }

    pub(crate) fn put_document(&mut self, of: &Expression, value: serde_json::Value) -> bool {
        let found = document::path(of, self).map(|path| (path.column.to_owned(), path.steps));
        let Some((column, steps)) = found else { return false };
        self.change_document(&column, &steps, Some(value));
        true
    }

    /// Where a function gives a part of a text, that part is replaced by what is wanted.
    fn replace_part(
        &mut self,
        call: &Expression,
        name: &str,
        arguments: &[Expression],
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let Some(mut wanted) = worth::text_of(value) else { return false };
        let mut first = arguments.first();
        while let Some(Expression::Cast(of, _)) = first {
            first = Some(of);
        }
        let Some(Expression::Column(column)) = first else { return false };
        let Some(at) = self.table.column(column).filter(|at| !self.pinned[*at]) else { return false };
        if !matches!(self.table.columns[at].holds, ColumnType::Text(..)) {
            return false;
        }
        let before = self.cells[at].clone();
        let text = before.clone().unwrap_or_default();
        let now = worth::text_of(&call.worth(self)).unwrap_or_default();
        // A number fills the place with zeros.
        if matches!(value, Worth::Number(_)) && now.chars().count() > wanted.chars().count() {
            wanted = format!("{wanted:0>width$}", width = now.chars().count());
        }
        let is = |row: &Self| worth::binary("=", call.worth(row), value.clone()) == Worth::Boolean(true);
        let count = wanted.chars().count();
        let tail = |from: usize| text.chars().skip(from).collect::<String>();
        let mut tries = Vec::new();
        match (name, arguments.get(1).map(|one| one.worth(self))) {
            ("left", _) => tries.push(format!("{wanted}{}", tail(now.chars().count()))),
            ("right", _) => {
                let kept = text.chars().count().saturating_sub(now.chars().count());
                tries.push(format!("{}{wanted}", text.chars().take(kept).collect::<String>()));
            }
            ("substr" | "substring", Some(Worth::Number(from))) if from >= 1.0 => {
                let start: String = text.chars().take(from as usize - 1).collect();
                tries.push(format!("{start}{wanted}{}", tail(from as usize - 1 + count)));
            }
            ("split_part", Some(Worth::Text(by))) if !by.is_empty() => {
                let place = arguments.get(2).map(|one| one.worth(self));
                let Some(Worth::Number(place)) = place.filter(|place| *place != Worth::Number(0.0)) else {
                    return false;
                };
                let mut parts: Vec<&str> = text.split(by.as_str()).collect();
                parts.resize(parts.len().max(place as usize), "x");
                parts[(place as usize).max(1) - 1] = &wanted;
                tries.push(parts.join(&by));
            }
            _ => {}
        }
        if !now.is_empty() {
            tries.extend(text.strip_prefix(now.as_str()).map(|rest| format!("{wanted}{rest}")));
            tries.extend(text.strip_suffix(now.as_str()).map(|rest| format!("{rest}{wanted}")));
        }
        tries.push(format!("{wanted}{}", tail(count)));
        tries.push(wanted);
        let mut possible = None;
        for text in tries {
            self.cells[at] = Some(text.clone());
            if is(self) {
                if self.bounds[at].allows(&text) {
                    return true;
                }
                possible = possible.or(Some(text));
            }
        }
        // One of the patterns that are left may begin or end as is wanted.
        let bounds = self.bounds[at].clone();
        for _ in 0..TRIES {
            self.draw_within(at, &bounds, draw);
            if is(self) && self.cells[at].as_deref().is_some_and(|text| bounds.allows(text)) {
                return true;
            }
        }
        let found = possible.is_some();
        self.cells[at] = possible.or(before);
        found
    }

    /// Moves a range that is not taken apart so that one of its ends is `operator value`.
    fn move_range(
        &mut self,
        end: &str,
        column: &str,
        operator: &str,
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let (Some(at), Some(value)) = (self.table.column(column), worth::number(value)) else { return false };
        let ColumnType::Range(of) = &self.table.columns[at].holds else { return false };
        if !of.is_number() || self.pinned[at] {
            return false;
        }
        let (width, away) = (1.0 + draw.below(20) as f64, draw.below(200) as f64);
        let lower = match (end, operator) {
            ("lower", "<" | "<=") => value - 1.0 - away,
            ("lower", ">") => value + 1.0 + away,
            ("lower", _) => value + if operator == "=" { 0.0 } else { away },
            (_, "<" | "<=") => value - 1.0 - width - away,
            (_, ">" | ">=") => value + 1.0 + away,
            _ => value - width,
        };
        let numeral = |number| super::cell::numeral(of, number);
        self.cells[at] = Some(format!("[{},{})", numeral(lower), numeral(lower + width)));
        true
    }
}

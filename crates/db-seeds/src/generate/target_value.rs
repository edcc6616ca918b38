//! Gives a part of a condition a value: a column, the length of one, a sum, a field of a moment, a part of a
//! text.

use super::bounds::{self, mirrored};
use super::cell;
use super::column_type::ColumnType;
use super::document;
use super::expression::{Cast, Expression};
use super::repair::Row;
use super::worth::{self, DAY, Worth};
use crate::draw::Draw;

impl Row<'_> {
    /// Gives the part of a condition a value that is `operator value`. Returns whether something was changed.
    pub(crate) fn set(&mut self, part: &Expression, operator: &str, value: &Worth, draw: &mut Draw) -> bool {
        match part {
            Expression::Column(name) => self.set_column(name, operator, value, draw),
            Expression::Call(name, arguments) => self.set_call(part, name, arguments, operator, value, draw),
            Expression::Cast(of, to) => self.set_cast(of, *to, operator, value, draw),
            Expression::Element(list, place) => match (&**list, place.worth(self)) {
                (Expression::Column(name), Worth::Number(place)) if place >= 1.0 => {
                    self.set_element(name, place as usize - 1, operator, value, draw)
                }
                _ => false,
            },
            // One of its branches has that value: its condition is made true.
            Expression::Case(arms, otherwise) => {
                let agrees = |one: &Expression| {
                    worth::binary(operator, one.worth(self), value.clone()) == Worth::Boolean(true)
                };
                let fitting: Vec<&Expression> =
                    arms.iter().filter(|(_, one)| agrees(one)).map(|(condition, _)| condition).collect();
                let none = fitting.is_empty() && agrees(otherwise);
                let chosen = fitting.get(draw.below(fitting.len() as u64) as usize);
                if let Some(condition) = chosen {
                    self.make(condition, true, draw);
                } else if none {
                    arms.iter().for_each(|(condition, _)| self.make(condition, false, draw));
                }
                chosen.is_some() || none
            }
            Expression::Binary(sign, ..) if sign.starts_with("->") || sign.starts_with("#>") => {
                let found = document::path(part, self).map(|path| (path.column.to_owned(), path.steps));
                let (Some((column, steps)), Some(value)) = (found, as_document(operator, value)) else {
                    return false;
                };
                self.change_document(&column, &steps, Some(value));
                true
            }
            Expression::Binary(sign, left, right) if sign == "||" => {
                let (Worth::Text(whole), "=") = (value, operator) else { return false };
                let (of_left, of_right) = (left.worth(self), right.worth(self));
                let start = worth::text_of(&of_left).and_then(|start| whole.strip_prefix(start.as_str()));
                let end = worth::text_of(&of_right).and_then(|end| whole.strip_suffix(end.as_str()));
                match (start, end) {
                    (Some(rest), _) => self.set(right, "=", &Worth::Text(rest.to_owned()), draw),
                    (_, Some(rest)) => self.set(left, "=", &Worth::Text(rest.to_owned()), draw),
                    _ => false,
                }
            }
            Expression::Binary(sign, left, right) if sign == "%" => {
                // The next number that leaves that rest.
                let (whole, by) = (worth::number(&left.worth(self)), worth::number(&right.worth(self)));
                let (Some(whole), Some(by), Some(rest), "=") = (whole, by, worth::number(value), operator)
                else {
                    return false;
                };
                let found = whole - whole % by + rest;
                let up = if draw.below(4) == 0 { by } else { 0.0 };
                self.set(left, "=", &Worth::Number(found + up), draw)
            }
            Expression::Binary(sign, left, right) => {
                self.set_term(sign, (left, right), operator, value, draw)
            }
            _ => false,
        }
    }

    /// `x + y < v`: x becomes less than v - y.
    fn set_term(
        &mut self,
        sign: &str,
        (left, right): (&Expression, &Expression),
        operator: &str,
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let (of_left, of_right) = (left.worth(self), right.worth(self));
        // Beside a date a whole number counts days.
        let days = [&of_left, &of_right, value].iter().any(|one| matches!(one, Worth::Date(_)));
        let times = days || [&of_left, &of_right, value].iter().any(|one| matches!(one, Worth::Time(_)));
        let measured = |worth: &Worth| match worth {
            Worth::Number(number) if days => Some(number * DAY),
            worth => worth::number(worth),
        };
        let Some(value) = measured(value) else { return false };
        if sign == "+" && !times && self.share_out((left, right), operator, value, draw) {
            return true;
        }
        let turned = draw.below(2) == 1;
        for turn in 0..2 {
            let of_left_side = (turn == 0) != turned;
            let (side, own, other) =
                if of_left_side { (left, &of_left, &of_right) } else { (right, &of_right, &of_left) };
            let Some(known) = measured(other) else { continue };
            let flipped = || mirrored(operator).unwrap_or(operator);
            let (operator, target) = match (sign, of_left_side) {
                ("+", _) => (operator, value - known),
                ("-", true) => (operator, value + known),
                ("-", false) => (flipped(), known - value),
                ("*", _) if known > 0.0 => (operator, value / known),
                ("*", _) if known < 0.0 => (flipped(), value / known),
                ("/", true) if known > 0.0 => (operator, value * known),
                _ => continue,
            };
            let target = match own {
                Worth::Number(_) if days => Worth::Number(target / DAY),
                Worth::Number(_) | Worth::Null if !times => Worth::Number(target),
                _ => Worth::Time(target),
            };
            if self.set(side, operator, &target, draw) {
                return true;
            }
        }
        false
    }

    /// A sum of at most so much is shared out between its terms, every other time.
    fn share_out(
        &mut self,
        (left, right): (&Expression, &Expression),
        operator: &str,
        value: f64,
        draw: &mut Draw,
    ) -> bool {
        let known = [left, right].map(|term| worth::number(&term.worth(self)));
        let ([Some(_), Some(_)], "<" | "<=" | "=") = (known, operator) else { return false };
        if value <= 0.0 || draw.below(2) == 0 {
            return false;
        }
        let before = self.cells.clone();
        let share = Worth::Number((value * draw.unit()).floor());
        let shared = self.set(left, if operator == "=" { "=" } else { "<=" }, &share, draw);
        let rest = worth::number(&left.worth(self)).map_or(0.0, |share| value - share);
        if shared && self.set(right, operator, &Worth::Number(rest), draw) {
            return true;
        }
        self.cells = before;
        false
    }

    fn set_cast(
        &mut self,
        of: &Expression,
        to: Cast,
        operator: &str,
        value: &Worth,
        draw: &mut Draw,
    ) -> bool {
        let (Cast::Date | Cast::Time, Some(wanted)) = (to, worth::number(value)) else {
            return self.set(of, operator, value, draw);
        };
        let now = worth::number(&of.worth(self)).unwrap_or(wanted);
        let found = match (to, operator) {
            // The same time of another day, or another time of the same day.
            (Cast::Date, _) => wanted + now.rem_euclid(DAY),
            _ => now - now.rem_euclid(DAY) + wanted,
        };
        let found = match operator {
            "=" | "<=" | ">=" => found,
            "<" => found - DAY,
            ">" => found + DAY,
            _ => return false,
        };
        self.set(of, "=", &Worth::Time(found), draw)
    }

    fn set_column(&mut self, name: &str, operator: &str, value: &Worth, draw: &mut Draw) -> bool {
        let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at]) else { return false };
        if operator == "<>" {
            return self.draw_within(at, &self.bounds[at].clone(), draw);
        }
        let of = &self.table.columns[at];
        let Some(text) = near(&of.holds, &self.bounds[at], operator, value, draw).filter(|_| !of.apart)
        else {
            return false;
        };
        self.cells[at] = Some(text);
        true
    }

    pub(crate) fn change_document(
        &mut self,
        column: &str,
        steps: &[String],
        value: Option<serde_json::Value>,
    ) {
        if let Some(at) = self.table.column(column) {
            let changed = document::with(self.cells[at].as_deref(), steps, value);
            self.assign(column, changed);
        }
    }

    pub(crate) fn assign(&mut self, name: &str, text: String) {
        if let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at]) {
            self.cells[at] = Some(text);
        }
    }
}

/// A value of a type that is `operator value`: as likely near as far.
pub(crate) fn near(
    holds: &ColumnType,
    bounds: &bounds::Bounds,
    operator: &str,
    value: &Worth,
    draw: &mut Draw,
) -> Option<String> {
    if let ColumnType::Checked(of, _) = holds {
        return near(of, bounds, operator, value, draw);
    }
    if let ColumnType::Enum(labels) = holds
        && operator != "="
    {
        let wanted = worth::text_of(value)?;
        let at = labels.iter().position(|label| *label == wanted)?;
        let labels = match operator {
            "<" => labels.get(..at),
            "<=" => labels.get(..=at),
            ">" => labels.get(at + 1..),
            _ => labels.get(at..),
        }?;
        return labels.get(draw.below(labels.len() as u64) as usize).cloned();
    }
    let number = worth::number(value).filter(|_| holds.is_number() || holds.is_moment());
    let (Some(number), true) = (number, operator != "=") else {
        return (operator == "=").then(|| bounds::text(holds, value)).flatten();
    };
    let mut bounds = bounds.clone();
    let step = bounds::step(holds);
    bounds.narrow(operator, number, step);
    let (least, most) = (bounds.least.unwrap_or(f64::MIN), bounds.most.unwrap_or(f64::MAX));
    if least > most {
        return None;
    }
    // As likely near as far, in orders of magnitude: the next condition may want it near or far. Numbers are
    // mostly small, and not negative.
    let usual = holds.is_number() && draw.below(3) > 0;
    let magnitude = draw.below(match holds {
        ColumnType::Date => 9,
        _ if usual => 8,
        _ => 24,
    });
    let away = match draw.below(4) {
        0 => 0.0,
        _ if usual && operator.starts_with('<') && most > 0.0 => (most - least.max(0.0)) * draw.unit(),
        _ => step * (1_u64 << magnitude) as f64 * draw.unit(),
    };
    let near = if operator.starts_with('<') { most - away } else { least + away };
    let near = near.clamp(least, most);
    Some(if holds.is_moment() { cell::written(holds, near) } else { cell::numeral(holds, near) })
}

/// A value of a document that is `operator value`.
fn as_document(operator: &str, value: &Worth) -> Option<serde_json::Value> {
    let whole = |number: f64| match number.fract() == 0.0 && number.abs() < 1e15 {
        true => serde_json::Value::from(number as i64),
        false => serde_json::Value::from(number),
    };
    Some(match (value, operator) {
        (Worth::Number(number), ">") => whole(number + 1.0),
        (Worth::Number(number), "<") => whole(number - 1.0),
        (Worth::Number(number), _) => whole(*number),
        (Worth::Boolean(is), _) => serde_json::Value::from(*is),
        (Worth::Document(document), _) => document.clone(),
        (value, _) => serde_json::Value::from(worth::text_of(value)?),
    })
}

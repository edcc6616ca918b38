//! Gives a part of a condition a value: a column, the length of one, a sum, an end of a range, a key of a document.

use super::bounds::{self, mirrored};
use super::cell;
use super::column_type::ColumnType;
use super::document;
use super::expression::Expression;
use super::repair::Row;
use super::worth::{self, Worth};
use crate::draw::Draw;
use crate::words;

impl Row<'_> {
    /// Gives the part of a condition a value that is `operator value`. Returns whether something was changed.
    pub(crate) fn set(&mut self, part: &Expression, operator: &str, value: &Worth, draw: &mut Draw) -> bool {
        match part {
            Expression::Column(name) => self.set_column(name, operator, value, draw),
            Expression::Call(name, arguments) if bounds::is_length(name) => {
                let (Some(Expression::Column(column)), Some(length)) =
                    (arguments.first(), worth::number(value))
                else {
                    return false;
                };
                let Some(at) = self.table.column(column).filter(|at| !self.pinned[*at]) else { return false };
                let mut bounds = self.bounds[at].clone();
                bounds.narrow_length(operator, length);
                self.draw_within(at, &bounds, draw)
            }
            Expression::Call(name, arguments) => match (name.as_str(), arguments.first()) {
                ("lower" | "upper", Some(Expression::Column(column)))
                    if self
                        .table
                        .column(column)
                        .is_some_and(|at| matches!(self.table.columns[at].holds, ColumnType::Range(_))) =>
                {
                    self.move_range(name, column, operator, value, draw)
                }
                ("left" | "substring" | "substr", Some(Expression::Column(column))) => match value {
                    Worth::Text(start) if operator == "=" => self.replace_start(column, start),
                    _ => false,
                },
                ("split_part", Some(Expression::Column(column))) => {
                    let parts =
                        [arguments.get(1), arguments.get(2)].map(|one| one.map(|one| one.worth(self)));
                    let [Some(Worth::Text(by)), Some(Worth::Number(place))] = parts else { return false };
                    let (Worth::Text(wanted), "=", true) = (value, operator, place >= 1.0) else {
                        return false;
                    };
                    let Some(at) = self.table.column(column) else { return false };
                    let text = self.cells[at].clone().unwrap_or_default();
                    let mut parts: Vec<&str> = text.split(by.as_str()).collect();
                    while parts.len() < (place as usize).max(2) {
                        parts.push("x");
                    }
                    parts[place as usize - 1] = wanted;
                    self.assign(column, parts.join(&by));
                    true
                }
                ("strpos", Some(Expression::Column(column))) => {
                    let part = arguments.get(1).map(|one| one.worth(self));
                    let (Some(Worth::Text(part)), ">" | ">=" | "<>") = (part, operator) else { return false };
                    self.assign(
                        column,
                        format!("{}{part}{}", draw.pick(words::WORD), draw.pick(words::WORD)),
                    );
                    true
                }
                ("lower" | "upper" | "btrim" | "trim", Some(Expression::Column(column))) => {
                    let Some(at) = self.table.column(column).filter(|at| !self.pinned[*at]) else {
                        return false;
                    };
                    if operator == "<>" {
                        return self.draw_within(at, &self.bounds[at].clone(), draw);
                    }
                    // Most often `lower(code) = code`, or `upper(code)` is one of a list.
                    let Worth::Text(text) = value else { return false };
                    self.cells[at] = Some(match name.as_str() {
                        "lower" => text.to_lowercase(),
                        "upper" => text.to_uppercase(),
                        _ => text.trim().to_owned(),
                    });
                    true
                }
                ("coalesce" | "abs" | "round" | "floor" | "ceil" | "date_trunc", _) => {
                    let inner = arguments.iter().find(|one| !one.columns().is_empty());
                    inner.is_some_and(|inner| self.set(inner, operator, value, draw))
                }
                _ => false,
            },
            // One of its branches has that value: its condition is made true.
            Expression::Case(arms, otherwise) => {
                let agrees = |one: &Expression| {
                    worth::binary(operator, one.worth(self), value.clone()) == Worth::Boolean(true)
                };
                let arm = arms.iter().find(|(_, one)| agrees(one)).map(|(condition, _)| condition);
                let none = arm.is_none() && agrees(otherwise);
                if let Some(condition) = arm {
                    self.make(condition, true, draw);
                } else if none {
                    arms.iter().for_each(|(condition, _)| self.make(condition, false, draw));
                }
                arm.is_some() || none
            }
            Expression::Binary(sign, left, right) if sign.starts_with("->") => {
                let (Expression::Column(column), Worth::Text(key)) = (&**left, right.worth(self)) else {
                    return false;
                };
                let value = match value {
                    Worth::Text(text) => serde_json::Value::from(text.as_str()),
                    Worth::Number(number) => serde_json::Value::from(match operator {
                        ">" => number + 1.0,
                        "<" => number - 1.0,
                        _ => *number,
                    }),
                    Worth::Boolean(is) => serde_json::Value::from(*is),
                    _ => return false,
                };
                self.change_document(column, &key, Some(value));
                true
            }
            Expression::Binary(sign, left, right) => {
                // `x + y < v`: x becomes less than v - y.
                let (left_worth, right_worth) = (left.worth(self), right.worth(self));
                // Beside a date a whole number counts days.
                let days = [&left_worth, &right_worth, value].iter().any(|one| matches!(one, Worth::Date(_)));
                let measured = |worth: &Worth| match worth {
                    Worth::Number(number) if days => Some(number * worth::DAY),
                    worth => worth::number(worth),
                };
                let Some(value) = measured(value) else { return false };
                let turned = draw.below(2) == 1;
                for turn in 0..2 {
                    let of_left = (turn == 0) != turned;
                    let (side, other) = if of_left { (left, &right_worth) } else { (right, &left_worth) };
                    let Some(known) = measured(other) else { continue };
                    let flipped = || mirrored(operator).unwrap_or(operator);
                    let (operator, target) = match (sign.as_str(), of_left) {
                        ("+", _) => (operator, value - known),
                        ("-", true) => (operator, value + known),
                        ("-", false) => (flipped(), known - value),
                        ("*", _) if known > 0.0 => (operator, value / known),
                        ("/", true) if known > 0.0 => (operator, value * known),
                        _ => continue,
                    };
                    if self.set(side, operator, &Worth::Number(target), draw) {
                        return true;
                    }
                }
                false
            }
            _ => false,
        }
    }

    fn set_column(&mut self, name: &str, operator: &str, value: &Worth, draw: &mut Draw) -> bool {
        let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at]) else { return false };
        let holds = &self.table.columns[at].holds;
        if operator == "<>" {
            return self.draw_within(at, &self.bounds[at].clone(), draw);
        }
        if let (true, Some(number)) = (holds.is_number() || holds.is_moment(), worth::number(value)) {
            if operator == "=" {
                self.cells[at] = Some(match holds.is_moment() {
                    true => cell::written(holds, number),
                    false => cell::numeral(holds, number),
                });
                return true;
            }
            let mut bounds = self.bounds[at].clone();
            let step = bounds::step(holds);
            bounds.narrow(operator, number, step);
            let (least, most) = (bounds.least.unwrap_or(f64::MIN), bounds.most.unwrap_or(f64::MAX));
            if least > most {
                return false;
            }
            // As likely near as far, in orders of magnitude: the next condition may want it near or far.
            let magnitude = draw.below(if *holds == ColumnType::Date { 9 } else { 24 });
            let away = step * (1_u64 << magnitude) as f64 * draw.unit();
            let near = if operator.starts_with('<') { most - away } else { least + away };
            let near = near.clamp(least, most);
            self.cells[at] = Some(match holds.is_moment() {
                true => cell::written(holds, near),
                false => cell::numeral(holds, near),
            });
            return true;
        }
        let text = match value {
            Worth::Text(text) => text.clone(),
            Worth::Number(number) => cell::numeral(holds, *number),
            Worth::Boolean(is) => if *is { "t" } else { "f" }.to_owned(),
            _ => return false,
        };
        if operator != "=" {
            return false;
        }
        self.cells[at] = Some(text);
        true
    }

    pub(crate) fn change_document(&mut self, column: &str, key: &str, value: Option<serde_json::Value>) {
        if let Some(at) = self.table.column(column) {
            let changed = document::with(self.cells[at].as_deref(), key, value);
            self.assign(column, changed);
        }
    }

    /// Gives a text another start of the same length.
    pub(crate) fn replace_start(&mut self, column: &str, start: &str) -> bool {
        let Some(at) = self.table.column(column).filter(|at| !self.pinned[*at]) else { return false };
        let rest = self.cells[at].as_deref().unwrap_or_default().chars().skip(start.chars().count());
        self.cells[at] = Some(start.chars().chain(rest).collect());
        true
    }

    /// Moves a range of numbers so that one of its ends is `operator value`.
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
        let text = format!("[{},{})", cell::numeral(of, lower), cell::numeral(of, lower + width));
        self.cells[at] = Some(text);
        true
    }

    pub(crate) fn assign(&mut self, name: &str, text: String) {
        if let Some(at) = self.table.column(name).filter(|at| !self.pinned[*at]) {
            self.cells[at] = Some(text);
        }
    }
}

//! Changes a row until its conditions hold.
//!
//! A condition that is false names what would make it true: `a < b` another value for `a` or for `b`, an OR one of
//! its parts, an IS NULL the NULL. One change may break another condition, so all are looked at again, a few times;
//! this is a local search (WalkSAT, Selman and Kautz 1994). The server has the last word.

use super::bounds::{Bounds, mirrored};
use super::catalog::Table;
use super::cell::{self, Wish};
use super::column_type::ColumnType;
use super::expression::Expression;
use super::pattern;
use super::worth::{self, Values, Worth};
use crate::draw::Draw;

/// How often all conditions are looked at again.
const PASSES: u32 = 8;

/// A row that is being made. `None` is NULL.
pub(crate) struct Row<'a> {
    pub(crate) table: &'a Table,
    pub(crate) bounds: &'a [Bounds],
    pub(crate) cells: Vec<Option<String>>,
    /// Columns whose value is given: those of foreign keys, and those that make the row another one.
    pub(crate) pinned: Vec<bool>,
    /// What a pinned column that is NULL becomes where a condition wants a value.
    pub(crate) offers: Vec<Option<String>>,
    pub(crate) number: u64,
    pub(crate) now: i64,
}

impl Values for Row<'_> {
    fn value(&self, column: &str) -> Worth {
        let Some(at) = self.table.column(column) else { return Worth::Unknown };
        let Some(text) = &self.cells[at] else { return Worth::Null };
        match &self.table.columns[at].holds {
            holds if holds.is_number() => text.parse().map_or(Worth::Unknown, Worth::Number),
            ColumnType::Date => worth::moment(text).map_or(Worth::Unknown, |at| Worth::Date(at / worth::DAY)),
            holds if holds.is_moment() => worth::moment(text).map_or(Worth::Unknown, Worth::Number),
            ColumnType::Boolean => Worth::Boolean(text.starts_with('t')),
            ColumnType::Array(_) => {
                worth::list(Worth::Text(text.replace('"', ""))).map_or(Worth::Unknown, Worth::List)
            }
            ColumnType::Text(..)
            | ColumnType::Enum(_)
            | ColumnType::Uuid
            | ColumnType::Json
            | ColumnType::Range(_) => Worth::Text(text.clone()),
            ColumnType::Interval => {
                worth::number(&Worth::Text(text.clone())).map_or(Worth::Unknown, Worth::Number)
            }
            _ => Worth::Unknown,
        }
    }

    fn now(&self) -> i64 {
        self.now
    }
}

impl Row<'_> {
    /// Makes the conditions true, as far as that is possible. Returns one that is false in the end, if any is.
    pub(crate) fn repair<'c>(
        &mut self,
        conditions: &[&'c Expression],
        draw: &mut Draw,
    ) -> Option<&'c Expression> {
        for _ in 0..PASSES {
            let mut all_hold = true;
            for condition in conditions {
                if condition.worth(self) == Worth::Boolean(false) {
                    all_hold = false;
                    self.make(condition, true, draw);
                }
            }
            if all_hold {
                return None;
            }
        }
        conditions.iter().find(|condition| condition.worth(self) == Worth::Boolean(false)).copied()
    }

    /// NULL agrees with every check: so columns of conditions that only the server can judge are NULL where they may be,
    /// always or every other time.
    pub(crate) fn leave_open(&mut self, conditions: &[&Expression], always: bool, draw: &mut Draw) {
        for condition in conditions {
            if condition.worth(self) != Worth::Unknown || !(always || draw.below(2) == 0) {
                continue;
            }
            let before = self.cells.clone();
            for at in condition.columns().into_iter().filter_map(|name| self.table.column(name)) {
                if !self.bounds[at].not_null && !self.pinned[at] {
                    self.cells[at] = None;
                }
            }
            if conditions.iter().any(|one| one.worth(self) == Worth::Boolean(false)) {
                self.cells = before;
            }
        }
    }

    /// Changes the row so that a condition becomes what is wanted.
    pub(crate) fn make(&mut self, condition: &Expression, wanted: bool, draw: &mut Draw) {
        let is_already = Worth::Boolean(wanted);
        if condition.worth(self) == is_already {
            return;
        }
        match condition {
            Expression::And(parts) if wanted => parts.iter().for_each(|part| self.make(part, true, draw)),
            Expression::Or(parts) if !wanted => parts.iter().for_each(|part| self.make(part, false, draw)),
            Expression::And(parts) | Expression::Or(parts) => self.make_one(parts, wanted, draw),
            Expression::Not(part) => self.make(part, !wanted, draw),
            Expression::IsNull(part) => self.make_null(part, wanted, draw),
            Expression::Call(name, arguments) if name == "starts_with" => {
                if let (true, [Expression::Column(column), with]) = (wanted, arguments.as_slice())
                    && let Worth::Text(start) = with.worth(self)
                {
                    self.replace_start(column, &start);
                }
            }
            Expression::Column(name) => self.assign(name, if wanted { "t" } else { "f" }.to_owned()),
            Expression::Case(arms, otherwise) => {
                let taken = arms.iter().find(|(condition, _)| condition.worth(self) == Worth::Boolean(true));
                let value = taken.map_or(&**otherwise, |(_, value)| value);
                match value {
                    Expression::Boolean(is) if *is != wanted => {
                        let other = arms.iter().find(|(_, value)| *value == Expression::Boolean(wanted));
                        match (taken, other) {
                            (_, Some((condition, _))) => self.make(condition, true, draw),
                            (Some((condition, _)), None) => self.make(condition, false, draw),
                            (None, None) => {}
                        }
                    }
                    value => self.make(value, wanted, draw),
                }
            }
            Expression::Any(operator, left, right, all) => {
                let Some(list) = worth::list(right.worth(self)) else { return };
                match (operator.as_str(), wanted != *all) {
                    ("=", true) if !list.is_empty() => {
                        let chosen = list[draw.below(list.len() as u64) as usize].clone();
                        self.set(left, "=", &chosen, draw);
                    }
                    _ => self.redraw(left, draw),
                }
            }
            Expression::Binary(operator, left, right) => {
                self.make_binary(operator, left, right, wanted, draw)
            }
            _ => {}
        }
    }

    /// One of the parts is enough: first one that can be changed is tried, from a drawn place on.
    fn make_one(&mut self, parts: &[Expression], wanted: bool, draw: &mut Draw) {
        let first = draw.below(parts.len() as u64) as usize;
        for turn in 0..parts.len() {
            let part = &parts[(first + turn) % parts.len()];
            let before = self.cells.clone();
            self.make(part, wanted, draw);
            match part.worth(self) {
                Worth::Boolean(is) if is == wanted => return,
                Worth::Unknown => return,
                _ => self.cells = before,
            }
        }
    }

    fn make_null(&mut self, part: &Expression, wanted: bool, draw: &mut Draw) {
        for name in part.columns() {
            let Some(at) = self.table.column(name) else { continue };
            if wanted && !self.bounds[at].not_null {
                self.cells[at] = None;
                return;
            }
            if !wanted && self.cells[at].is_none() {
                self.redraw(&Expression::Column(name.to_owned()), draw);
            }
        }
    }

    fn make_binary(
        &mut self,
        operator: &str,
        left: &Expression,
        right: &Expression,
        wanted: bool,
        draw: &mut Draw,
    ) {
        let opposite = match operator {
            "=" => "<>",
            "<>" => "=",
            "<" => ">=",
            "<=" => ">",
            ">" => "<=",
            ">=" => "<",
            other => {
                self.make_match(other, left, right, wanted, draw);
                return;
            }
        };
        let operator = if wanted { operator } else { opposite };
        if let Expression::Call(name, arguments) = left
            && name.starts_with("num_")
            && let Some(count) = worth::number(&right.worth(self))
        {
            self.count_nulls(name == "num_nonnulls", operator, count, arguments, draw);
            return;
        }
        // `(a IS NULL) = (b IS NULL)`
        if is_condition(right) {
            let (first, second) = if draw.below(2) == 0 { (left, right) } else { (right, left) };
            if let Worth::Boolean(is) = first.worth(self) {
                self.make(second, if operator == "=" { is } else { !is }, draw);
                return;
            }
        }
        let sides = [(left, right, operator), (right, left, mirrored(operator).unwrap_or(operator))];
        let first = usize::from(draw.below(2) == 1);
        for turn in 0..2 {
            let (side, other, operator) = sides[(first + turn) % 2];
            let value = other.worth(self);
            if matches!(value, Worth::Null) {
                // A comparison with NULL is not false: both sides need a value only where that is asked for.
                continue;
            }
            if value != Worth::Unknown && self.set(side, operator, &value, draw) {
                return;
            }
        }
    }

    fn make_match(
        &mut self,
        operator: &str,
        left: &Expression,
        right: &Expression,
        wanted: bool,
        draw: &mut Draw,
    ) {
        let positive = !operator.starts_with('!');
        match (left, right.worth(self)) {
            (Expression::Column(name), Worth::Text(key)) if operator == "?" => {
                let value = wanted.then(|| serde_json::Value::from(draw.below(100)));
                self.change_document(name, &key, value);
            }
            (Expression::Column(name), list) if matches!(operator, "<@" | "@>" | "&&") && wanted => {
                // All of the list is in it, and it is in the list.
                if let Some(list) = worth::list(list) {
                    let one = (operator == "<@" && !list.is_empty())
                        .then(|| draw.below(list.len() as u64) as usize);
                    let texts = list.iter().enumerate().filter(|(at, _)| one.is_none_or(|one| one == *at));
                    let texts = texts.filter_map(|(_, one)| match one {
                        Worth::Text(text) => Some(format!("\"{text}\"")),
                        Worth::Number(number) => Some(number.to_string()),
                        _ => None,
                    });
                    self.assign(name, format!("{{{}}}", texts.collect::<Vec<_>>().join(",")));
                }
            }
            (Expression::Column(name), Worth::Text(with)) if wanted == positive => {
                let operator = operator.trim_start_matches('!');
                if let Some(text) = pattern::text_for(operator, &with, draw) {
                    self.assign(name, text);
                }
            }
            _ => self.redraw(left, draw),
        }
    }

    /// Makes so many of the columns NULL, or not NULL, that the count is what is asked for.
    fn count_nulls(
        &mut self,
        of_values: bool,
        operator: &str,
        count: f64,
        arguments: &[Expression],
        draw: &mut Draw,
    ) {
        let all = arguments.len() as f64;
        let values = match operator {
            "=" | "<=" | ">=" => count,
            "<" | "<>" => count - 1.0,
            _ => count + 1.0,
        };
        let values = if of_values { values } else { all - values }.clamp(0.0, all) as usize;
        // Columns that must have a value come first, then from a drawn place on.
        let first = draw.below(arguments.len() as u64) as usize;
        let mut order: Vec<&Expression> =
            (0..arguments.len()).map(|turn| &arguments[(first + turn) % arguments.len()]).collect();
        order.sort_by_key(|argument| {
            let column = argument.columns().first().and_then(|name| self.table.column(name));
            column.is_none_or(|at| !(self.bounds[at].not_null || self.pinned[at] && self.cells[at].is_some()))
        });
        for (place, argument) in order.into_iter().enumerate() {
            self.make_null(argument, place >= values, draw);
        }
    }

    /// Draws other values for the columns of a part.
    fn redraw(&mut self, part: &Expression, draw: &mut Draw) {
        for name in part.columns() {
            match self.table.column(name) {
                Some(at) if self.pinned[at] && self.cells[at].is_none() => {
                    self.cells[at].clone_from(&self.offers[at]);
                }
                Some(at) if self.pinned[at] => {}
                Some(at) => _ = self.draw_within(at, &self.bounds[at].clone(), draw),
                None => {}
            }
        }
    }

    pub(crate) fn draw_within(&mut self, at: usize, bounds: &Bounds, draw: &mut Draw) -> bool {
        let column = &self.table.columns[at];
        let wish = Wish {
            name: &column.name,
            holds: &column.holds,
            bounds,
            row: self.number,
            unique: false,
            first: 0,
            now: self.now,
        };
        let drawn = cell::value(&wish, draw);
        let made = drawn.is_some();
        if made {
            self.cells[at] = drawn;
        }
        made
    }
}

/// Whether a part of a condition is one itself.
fn is_condition(part: &Expression) -> bool {
    match part {
        Expression::IsNull(_) | Expression::Not(_) | Expression::And(_) | Expression::Or(_) => true,
        Expression::Binary(operator, ..) => {
            matches!(operator.as_str(), "=" | "<>" | "<" | "<=" | ">" | ">=" | "~" | "~~")
        }
        Expression::Any(..) => true,
        _ => false,
    }
}

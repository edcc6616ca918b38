//! Changes a row until its conditions hold.
//!
//! A condition that is false names what would make it true: `a < b` another value for `a` or for `b`, an OR
//! one of its parts, an IS NULL the NULL. One change may break another condition, so all are looked at again,
//! a few times; this is a local search (WalkSAT, Selman and Kautz 1994). The server has the last word.

use super::bounds::{Bounds, mirrored};
use super::catalog::Table;
use super::cell::{self, Wish};
use super::column_type::ColumnType;
use super::document;
use super::expression::Expression;
use super::instant;
use super::list;
use super::worth::{self, Values, Worth};
use crate::draw::Draw;

/// How often all conditions are looked at again.
const PASSES: u32 = 12;

/// How often one of several conditions, of which one is enough, is worked on before another one is tried.
const TURNS: u32 = 4;

/// How often the columns of a comparison are drawn anew, where nothing tells what would make it true.
const SAMPLES: u32 = 24;

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
        let of = &self.table.columns[at];
        match &self.cells[at] {
            _ if of.apart => Worth::Unknown,
            None => Worth::Null,
            Some(text) => worth_of(&of.holds, text),
        }
    }

    fn now(&self) -> i64 {
        self.now
    }
}

impl Row<'_> {
    /// Makes the conditions true, as far as that is possible. Returns one that is false in the end, if any
    /// is.
    pub(crate) fn repair<'c>(
        &mut self,
        conditions: &[&'c Expression],
        draw: &mut Draw,
    ) -> Option<&'c Expression> {
        for pass in 0..PASSES {
            let mut before = None;
            for condition in conditions {
                if condition.worth(self) == Worth::Boolean(false) {
                    before.get_or_insert_with(|| self.cells.clone());
                    self.make(condition, true, draw);
                    if pass % 4 == 3 && condition.worth(self) == Worth::Boolean(false) {
                        self.redraw(condition, draw);
                    }
                }
            }
            let before = before?;
            // What is given alone makes it false: nothing here changes that.
            if pass % 4 == 3 && before == self.cells {
                break;
            }
        }
        conditions.iter().find(|condition| condition.worth(self) == Worth::Boolean(false)).copied()
    }

    /// NULL agrees with every check: so columns of conditions that only the server can judge are NULL where
    /// they may be, always or every other time.
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
                    self.begin_with(column, &start, draw);
                }
            }
            Expression::Column(name) => self.assign(name, if wanted { "t" } else { "f" }.to_owned()),
            Expression::Cast(part, _) => self.make(part, wanted, draw),
            Expression::Case(arms, otherwise) => self.make_case(arms, otherwise, wanted, draw),
            Expression::Any(operator, left, right, all) => {
                self.make_any(operator, (left, right), *all, wanted, draw);
            }
            Expression::Binary(operator, left, right) => {
                self.make_binary(operator, left, right, wanted, draw)
            }
            _ => {}
        }
    }

    /// The branch that is taken becomes what is wanted, or another one is taken that is or becomes it.
    fn make_case(
        &mut self,
        arms: &[(Expression, Expression)],
        otherwise: &Expression,
        wanted: bool,
        draw: &mut Draw,
    ) {
        let taken = arms.iter().find(|(condition, _)| condition.worth(self) == Worth::Boolean(true));
        let value = taken.map_or(otherwise, |(_, value)| value);
        let is_fixed = |value: &Expression| matches!(value, Expression::Boolean(_) | Expression::Null);
        if !is_fixed(value) && draw.below(2) == 0 {
            self.make(value, wanted, draw);
            return;
        }
        let possible = |value: &Expression| !is_fixed(value) || *value == Expression::Boolean(wanted);
        let others: Vec<&(Expression, Expression)> =
            arms.iter().filter(|(_, value)| possible(value)).collect();
        let count = others.len() + usize::from(possible(otherwise));
        match others.get(draw.below(count as u64) as usize) {
            Some((condition, value)) => {
                self.make(condition, true, draw);
                self.make(value, wanted, draw);
            }
            None => {
                arms.iter().for_each(|(condition, _)| self.make(condition, false, draw));
                self.make(otherwise, wanted, draw);
            }
        }
    }

    /// One of the parts is enough: first one that can be changed is tried, from a drawn place on.
    fn make_one(&mut self, parts: &[Expression], wanted: bool, draw: &mut Draw) {
        let first = draw.below(parts.len() as u64) as usize;
        for turn in 0..parts.len() {
            let part = &parts[(first + turn) % parts.len()];
            let before = self.cells.clone();
            for _ in 0..TURNS {
                self.make(part, wanted, draw);
                match part.worth(self) {
                    Worth::Boolean(is) if is == wanted => return,
                    Worth::Unknown => return,
                    _ => {}
                }
            }
            self.cells = before;
        }
    }

    pub(crate) fn make_null(&mut self, part: &Expression, wanted: bool, draw: &mut Draw) {
        if let (Expression::Call(name, arguments), true) = (part, wanted)
            && let ("nullif", [one, other]) = (name.as_str(), arguments.as_slice())
        {
            let value = other.worth(self);
            _ = self.set(one, "=", &value, draw);
            return;
        }
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
            "is distinct from" => {
                self.make_distinct(left, right, wanted, draw);
                return;
            }
            other => {
                self.make_match(other, left, right, wanted, draw);
                return;
            }
        };
        let operator = if wanted { operator } else { opposite };
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
            let before = self.cells.clone();
            if value != Worth::Unknown && self.set(side, operator, &value, draw) && before != self.cells {
                return;
            }
        }
        self.sample(&[left, right], draw, |row| worth::binary(operator, left.worth(row), right.worth(row)));
    }

    /// `a IS DISTINCT FROM b`: they differ, or one of them is NULL and the other is not.
    fn make_distinct(&mut self, left: &Expression, right: &Expression, wanted: bool, draw: &mut Draw) {
        let nulls = [left.worth(self) == Worth::Null, right.worth(self) == Worth::Null];
        match (wanted, nulls) {
            (true, [true, true]) => {
                let side = if draw.below(2) == 0 { left } else { right };
                self.make_null(side, false, draw);
            }
            (false, [true, false]) => self.make_null(right, true, draw),
            (false, [false, true]) => self.make_null(left, true, draw),
            (_, [false, false]) => {
                self.make_binary(if wanted { "<>" } else { "=" }, left, right, true, draw);
            }
            _ => {}
        }
    }

    /// Draws the columns of some parts anew until something is true; else nothing is changed.
    pub(crate) fn sample(
        &mut self,
        parts: &[&Expression],
        draw: &mut Draw,
        is: impl Fn(&Self) -> Worth,
    ) -> bool {
        let before = self.cells.clone();
        for _ in 0..SAMPLES {
            parts.iter().for_each(|part| self.redraw(part, draw));
            if is(self) == Worth::Boolean(true) {
                return true;
            }
            if self.cells == before {
                return false;
            }
        }
        self.cells = before;
        false
    }

    fn make_match(
        &mut self,
        operator: &str,
        left: &Expression,
        right: &Expression,
        wanted: bool,
        draw: &mut Draw,
    ) {
        let value = right.worth(self);
        if value == Worth::Unknown || value == Worth::Null {
            return;
        }
        let done = match operator {
            "?" | "?&" | "?|" => self.make_keys(operator, left, &value, wanted, draw),
            "<@" | "@>" | "&&" if self.is_document(left) || self.is_document(right) => {
                wanted && self.make_contain(operator, left, right)
            }
            "<@" | "@>" | "&&" => self.make_lists(operator, left, &value, wanted, draw),
            "<<" | "<<=" | ">>" | ">>=" => wanted && self.make_network(operator, left, right, draw),
            "~" | "~*" | "~~" | "~~*" | "!~" | "!~*" | "!~~" | "!~~*" => {
                let positive = !operator.starts_with('!');
                wanted == positive && self.match_text(left, operator.trim_start_matches('!'), &value, draw)
            }
            _ => false,
        };
        if !done {
            self.sample(&[left], draw, |row| {
                let worth = worth::binary(operator, left.worth(row), right.worth(row));
                if wanted { worth } else { worth::not(worth) }
            });
        }
    }

    /// Makes so many of the columns NULL, or not NULL, that the count is what is asked for.
    pub(crate) fn count_nulls(
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
    pub(crate) fn redraw(&mut self, part: &Expression, draw: &mut Draw) {
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
        if column.apart {
            return false;
        }
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

/// What the text of a type is worth in conditions.
pub(crate) fn worth_of(holds: &ColumnType, text: &str) -> Worth {
    match holds {
        holds if holds.is_number() => text.parse().map_or(Worth::Unknown, Worth::Number),
        ColumnType::Date => {
            instant::moment(text).map_or(Worth::Unknown, |at| Worth::Date((at / worth::DAY).floor()))
        }
        ColumnType::Timestamp | ColumnType::Time => instant::moment(text).map_or(Worth::Unknown, Worth::Time),
        ColumnType::Interval(_) => instant::interval(text).map_or(Worth::Unknown, Worth::Time),
        ColumnType::Boolean => Worth::Boolean(text.starts_with('t')),
        ColumnType::Array(of) => match list::elements(text) {
            Some(parts) => {
                let each =
                    parts.iter().map(|part| part.as_ref().map_or(Worth::Null, |part| worth_of(of, part)));
                Worth::List(each.collect())
            }
            None => Worth::Unknown,
        },
        ColumnType::Enum(labels) => match labels.iter().position(|label| label == text) {
            Some(at) => Worth::Label(labels.clone(), at),
            None => Worth::Unknown,
        },
        ColumnType::Json => {
            document::of(&Worth::Text(text.to_owned())).map_or(Worth::Unknown, Worth::Document)
        }
        ColumnType::Bytes => Worth::Bytes(text.len().saturating_sub(2) / 2),
        ColumnType::Checked(of, _) => worth_of(of, text),
        ColumnType::Text(..)
        | ColumnType::Uuid
        | ColumnType::Inet
        | ColumnType::Cidr
        | ColumnType::MacAddress(_)
        | ColumnType::Bits(..)
        | ColumnType::Range(_) => Worth::Text(text.to_owned()),
        _ => Worth::Unknown,
    }
}

/// Whether a part of a condition is one itself.
fn is_condition(part: &Expression) -> bool {
    match part {
        Expression::IsNull(_) | Expression::Not(_) | Expression::And(_) | Expression::Or(_) => true,
        Expression::Binary(operator, ..) => {
            const OPERATORS: [&str; 12] =
                ["=", "<>", "<", "<=", ">", ">=", "~", "~~", "?", "?&", "@>", "is distinct from"];
            OPERATORS.contains(&operator.as_str())
        }
        Expression::Any(..) => true,
        _ => false,
    }
}

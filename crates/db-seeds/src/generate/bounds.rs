//! What the checks of a table say about one column by itself: its least and greatest value, its length, the
//! values or the patterns that are allowed.

use super::catalog::Table;
use super::cell;
use super::column_type::ColumnType;
use super::expression::Expression;
use super::list;
use super::pattern;
use super::worth::{self, Values, Worth};

/// What a value of a column must be, as far as single conditions say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Bounds {
    /// Times are microseconds, as everywhere in conditions.
    pub(crate) least: Option<f64>,
    pub(crate) most: Option<f64>,
    pub(crate) least_length: u32,
    pub(crate) most_length: Option<u32>,
    /// The only values that are allowed.
    pub(crate) choices: Option<Vec<String>>,
    /// Operators and patterns that must be true.
    pub(crate) patterns: Vec<(String, String)>,
    pub(crate) not_null: bool,
}

/// A row without values: constants are all that can be computed with it.
struct Constants(i64);

impl Values for Constants {
    fn value(&self, _: &str) -> Worth {
        Worth::Unknown
    }

    fn now(&self) -> i64 {
        self.0
    }
}

/// The bounds of each column of a table. `now` is the moment that `now()` stands for.
pub(crate) fn of(table: &Table, now: i64) -> Vec<Bounds> {
    let mut bounds: Vec<Bounds> = table
        .columns
        .iter()
        .map(|column| {
            let mut bounds = Bounds { not_null: column.not_null, ..Bounds::default() };
            match &column.holds {
                ColumnType::Integer { least, most } => {
                    (bounds.least, bounds.most) = (Some(*least as f64), Some(*most as f64));
                }
                ColumnType::Numeric(Some((digits, scale))) => {
                    let most = 10_f64.powi(*digits as i32 - *scale as i32) - 10_f64.powi(-(*scale as i32));
                    (bounds.least, bounds.most) = (Some(-most), Some(most));
                }
                ColumnType::Text(most, _) => bounds.most_length = *most,
                ColumnType::Enum(labels) => bounds.choices = Some(labels.to_vec()),
                _ => {}
            }
            bounds
        })
        .collect();
    for check in &table.checks {
        add(check, table, &mut bounds, now);
    }
    bounds
}

fn add(check: &Expression, table: &Table, all: &mut [Bounds], now: i64) {
    let constant = |expression: &Expression| match expression.worth(&Constants(now)) {
        Worth::Unknown => None,
        worth => Some(worth),
    };
    match check {
        Expression::And(parts) => parts.iter().for_each(|part| add(part, table, all, now)),
        Expression::Column(name) => {
            if let Some(at) = table.column(name) {
                all[at].choose(vec!["t".to_owned()]);
            }
        }
        // `x IS NULL OR x > 0` says as much about x as `x > 0` does.
        Expression::Or(parts) => {
            let mut others = parts.iter().filter(|part| !matches!(part, Expression::IsNull(_)));
            if let (Some(only), None) = (others.next(), others.next()) {
                let null = parts.iter().find_map(|part| match part {
                    Expression::IsNull(of) => Some(of.columns()),
                    _ => None,
                });
                if null.is_some_and(|null| only.columns() == null) {
                    let before = all.to_vec();
                    add(only, table, all, now);
                    for (now, before) in all.iter_mut().zip(before) {
                        now.not_null = before.not_null;
                    }
                }
            }
        }
        Expression::Not(part) => {
            if let Expression::IsNull(of) = &**part
                && let Expression::Column(name) = &**of
                && let Some(at) = table.column(name)
            {
                all[at].not_null = true;
            }
        }
        Expression::Any(operator, left, right, false) if operator == "=" => {
            if let Some(name) = plain_or_in_one_case(left)
                && let Some(at) = table.column(name)
                && let Some(list) = constant(right).and_then(worth::list)
            {
                let holds = &table.columns[at].holds;
                all[at].choose(list.iter().filter_map(|one| text(holds, one)).collect());
            }
        }
        Expression::Binary(operator, left, right)
            if operator == "=" && in_one_case(left, right).is_some() =>
        {
            let Some((column, pattern)) = in_one_case(left, right) else { return };
            if let Some(at) = table.column(column) {
                all[at].patterns.push(("~".to_owned(), pattern.to_owned()));
            }
        }
        Expression::Binary(operator, left, right) => {
            if let Some(value) = constant(right) {
                all_of(left, operator, &value, table, all);
            } else if let (Some(value), Some(operator)) = (constant(left), mirrored(operator)) {
                all_of(right, operator, &value, table, all);
            }
        }
        _ => {}
    }
}

/// The column of `name`, `lower(name)` or `btrim(name)`: a value of a list is one of them in each form.
fn plain_or_in_one_case(part: &Expression) -> Option<&str> {
    match part {
        Expression::Column(name) => Some(name),
        Expression::Call(call, arguments) if matches!(call.as_str(), "lower" | "upper" | "btrim") => {
            match arguments.as_slice() {
                [Expression::Column(name)] => Some(name),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The column of `x = upper(x)` or `x = lower(x)`, and the pattern of texts that are as it wants them.
fn in_one_case<'a>(left: &'a Expression, right: &'a Expression) -> Option<(&'a str, &'static str)> {
    [(left, right), (right, left)].into_iter().find_map(|(column, call)| {
        let (Expression::Column(name), Expression::Call(case, arguments)) = (column, call) else {
            return None;
        };
        let pattern = match case.as_str() {
            "upper" => "^[^[:lower:]]+$",
            "lower" => "^[^[:upper:]]+$",
            _ => return None,
        };
        matches!(arguments.as_slice(), [Expression::Column(of)] if of == name)
            .then_some((name.as_str(), pattern))
    })
}

/// The operator that says the same with its sides exchanged.
pub(crate) fn mirrored(operator: &str) -> Option<&'static str> {
    Some(match operator {
        "=" => "=",
        "<>" => "<>",
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        _ => return None,
    })
}

/// A value as a column of this type has it.
pub(crate) fn text(holds: &ColumnType, worth: &Worth) -> Option<String> {
    match worth {
        Worth::Boolean(is) => Some(if *is { "t" } else { "f" }.to_owned()),
        worth if holds.is_moment() => worth::number(worth).map(|at| cell::written(holds, at)),
        Worth::Date(days) => Some(cell::written(&ColumnType::Date, days * worth::DAY)),
        Worth::Number(number) if holds.is_number() => Some(cell::numeral(holds, *number)),
        Worth::List(list) => {
            let of = if let ColumnType::Array(of) = holds { of } else { holds };
            let texts: Vec<Option<String>> = list.iter().map(|one| text(of, one)).collect();
            Some(list::text(&texts))
        }
        worth => worth::text_of(worth),
    }
}

/// Adds `left operator value`, where `left` is a column or the length of one.
fn all_of(left: &Expression, operator: &str, value: &Worth, table: &Table, all: &mut [Bounds]) {
    match left {
        Expression::Column(name) => {
            let Some(at) = table.column(name) else { return };
            let (column, bounds) = (&table.columns[at], &mut all[at]);
            match operator {
                "~" | "~*" | "~~" | "~~*" => {
                    if let Worth::Text(pattern) = value {
                        bounds.patterns.push((operator.to_owned(), pattern.clone()));
                    }
                }
                "<" | "<=" | ">" | ">=" if !matches!(column.holds, ColumnType::Text(..)) => {
                    if let Some(number) = worth::number(value) {
                        let step = step(&column.holds);
                        bounds.narrow(operator, number, step);
                    }
                }
                // `code BETWEEN 'A' AND 'Z'`: most often of one character.
                "<=" | ">=" => {
                    if let Worth::Text(end) = value
                        && let (Some(first), None) = (end.chars().next(), end.chars().nth(1))
                        && first.is_ascii_alphanumeric()
                    {
                        let pattern = match operator {
                            ">=" if first.is_ascii_lowercase() => format!("^[{first}-z]"),
                            ">=" if first.is_ascii_uppercase() => format!("^[{first}-Za-z]"),
                            ">=" => format!("^[{first}-9A-Za-z]"),
                            _ if first.is_ascii_lowercase() => format!("^[0-9A-Za-{first}]"),
                            _ if first.is_ascii_uppercase() => format!("^[0-9A-{first}]"),
                            _ => format!("^[0-{first}]"),
                        };
                        bounds.patterns.push(("~".to_owned(), pattern));
                    }
                }
                "=" => {
                    if let Some(text) = text(&column.holds, value) {
                        bounds.choose(vec![text]);
                    }
                }
                "<>" if *value == Worth::Text(String::new()) => {
                    bounds.least_length = bounds.least_length.max(1);
                }
                _ => {}
            }
        }
        Expression::Call(name, arguments) => {
            let Some(inner) = arguments.first() else { return };
            let [one] = inner.columns()[..] else { return };
            let Some(at) = table.column(one) else { return };
            // `btrim(name) <> ''`
            if operator == "<>" && *value == Worth::Text(String::new()) {
                all[at].least_length = all[at].least_length.max(1);
            }
            if let (true, Some(number)) = (is_length(name), worth::number(value)) {
                all[at].narrow_length(operator, number);
            }
        }
        _ => {}
    }
}

/// Whether a function tells the length of a text or an array.
pub(crate) fn is_length(name: &str) -> bool {
    matches!(
        name,
        "length" | "char_length" | "character_length" | "octet_length" | "cardinality" | "array_length"
    )
}

/// The least difference between two values of a type.
pub(crate) fn step(holds: &ColumnType) -> f64 {
    match holds {
        ColumnType::Integer { .. } => 1.0,
        ColumnType::Numeric(Some((_, scale))) => 10_f64.powi(-(*scale as i32)),
        ColumnType::Date => 86_400e6,
        ColumnType::Timestamp | ColumnType::Time => 1e6,
        ColumnType::Interval(unit) => unit.length().0,
        _ => 0.01,
    }
}

impl Bounds {
    /// Adds that a value is `operator number`.
    pub(crate) fn narrow(&mut self, operator: &str, number: f64, step: f64) {
        let tighter = |now: Option<f64>, new: f64, choose: fn(f64, f64) -> f64| {
            Some(now.map_or(new, |now| choose(now, new)))
        };
        match operator {
            ">=" => self.least = tighter(self.least, number, f64::max),
            ">" => self.least = tighter(self.least, number + step, f64::max),
            "<=" => self.most = tighter(self.most, number, f64::min),
            "<" => self.most = tighter(self.most, number - step, f64::min),
            "=" => (self.least, self.most) = (Some(number), Some(number)),
            _ => {}
        }
    }

    /// Adds that a value's length is `operator number`.
    pub(crate) fn narrow_length(&mut self, operator: &str, number: f64) {
        let (least, most) = (f64::from(self.least_length), self.most_length.map(f64::from));
        let mut length = Bounds { least: Some(least), most, ..Bounds::default() };
        length.narrow(operator, number, 1.0);
        self.least_length = length.least.unwrap_or_default().clamp(0.0, 1e6) as u32;
        self.most_length = length.most.map(|most| most.clamp(0.0, 1e6) as u32);
    }

    fn choose(&mut self, list: Vec<String>) {
        let list = match &self.choices {
            Some(now) => now.iter().filter(|one| list.contains(one)).cloned().collect(),
            None => list,
        };
        self.choices = Some(list);
    }

    /// Whether a text keeps to length and patterns.
    pub(crate) fn allows(&self, text: &str) -> bool {
        let length = text.chars().count() as u64;
        length >= u64::from(self.least_length)
            && self.most_length.is_none_or(|most| length <= u64::from(most))
            && self
                .patterns
                .iter()
                .all(|(operator, pattern)| pattern::matches(operator, text, pattern) != Some(false))
    }
}

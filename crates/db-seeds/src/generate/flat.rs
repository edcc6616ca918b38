//! Takes composite values and ranges apart: each field, and each end, is a column of its own while rows are
//! made.
//!
//! So what a condition says of `(price).amount` or of `lower(period)` is said of a column, and bounds, search
//! and draws know no other kind. The whole is put together when the row is done.

use std::collections::HashSet;

use super::apart::Apart;
use super::bounds::{self, Bounds};
use super::catalog::{Column, Exclusion, Partial, Table};
use super::cell::Wish;
use super::column_type::ColumnType;
use super::expression::Expression;
use super::list;
use super::repair::Row;
use crate::draw::Draw;

/// What is put together: a column, from the columns of its parts.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) column: usize,
    made_of: MadeOf,
}

#[derive(Debug, Clone)]
enum MadeOf {
    One(usize),
    Fields(Vec<MadeOf>),
    /// The lower and the upper end; `true` for a multirange, of one range.
    Ends(usize, usize, bool),
}

impl MadeOf {
    fn columns(&self, found: &mut Vec<usize>) {
        match self {
            MadeOf::One(column) => found.push(*column),
            MadeOf::Fields(parts) => parts.iter().for_each(|part| part.columns(found)),
            MadeOf::Ends(lower, upper, _) => found.extend([*lower, *upper]),
        }
    }

    /// The text of it; `None` where all parts are NULL.
    fn text(&self, cells: &[Option<String>]) -> Option<String> {
        match self {
            MadeOf::One(column) => cells[*column].clone(),
            MadeOf::Ends(lower, upper, many) => {
                let (lower, upper) = (cells[*lower].as_deref(), cells[*upper].as_deref());
                if lower.is_none() && upper.is_none() {
                    return None;
                }
                let quoted = |end: Option<&str>| end.map(list::in_quotes).unwrap_or_default();
                let open = if lower.is_some() { '[' } else { '(' };
                let range = format!("{open}{},{})", quoted(lower), quoted(upper));
                Some(if *many { format!("{{{range}}}") } else { range })
            }
            MadeOf::Fields(parts) => {
                let texts: Vec<Option<String>> = parts.iter().map(|part| part.text(cells)).collect();
                if texts.iter().all(Option::is_none) {
                    return None;
                }
                let texts = texts.iter().map(|text| text.as_deref().map(list::in_quotes).unwrap_or_default());
                Some(format!("({})", texts.collect::<Vec<_>>().join(",")))
            }
        }
    }

    /// The text of one that has no part, where NULL is not allowed.
    fn empty(&self) -> String {
        match self {
            MadeOf::Fields(parts) => format!("({})", ",".repeat(parts.len().saturating_sub(1))),
            MadeOf::Ends(_, _, true) => "{(,)}".to_owned(),
            _ => "(,)".to_owned(),
        }
    }
}

impl Whole {
    /// The columns of its parts.
    pub(crate) fn parts(&self) -> Vec<usize> {
        let mut found = Vec::new();
        self.made_of.columns(&mut found);
        found
    }

    /// The columns of its lower and its upper end, where it is a range.
    pub(crate) fn ends(&self) -> Option<(usize, usize)> {
        match self.made_of {
            MadeOf::Ends(lower, upper, _) => Some((lower, upper)),
            _ => None,
        }
    }

    /// Puts it together in a row.
    pub(crate) fn put_together(&self, not_null: bool, cells: &mut [Option<String>]) {
        let text = self.made_of.text(cells);
        cells[self.column] = text.or_else(|| not_null.then(|| self.made_of.empty()));
    }
}

/// The table with a column for each part, behind its own columns, and how the parts are put together.
pub(crate) fn flat(table: &Table) -> (Table, Vec<Whole>, Vec<Apart>) {
    let mut flat = table.clone();
    let mut wholes = Vec::new();
    for column in 0..table.columns.len() {
        let referred = table.references.iter().any(|one| one.columns.contains(&column));
        let Column { name, holds, .. } = &table.columns[column];
        if referred || !comes_apart(holds) {
            continue;
        }
        let made_of = take_apart(name, holds, &mut flat);
        flat.columns[column].apart = true;
        wholes.push(Whole { column, made_of });
    }
    if !wholes.is_empty() {
        let tell = Tell { table: &flat, wholes: &wholes };
        let checks: Vec<Expression> = flat.checks.iter().map(|check| tell.of_parts(check.clone())).collect();
        let leaves: Vec<Expression> = flat.leaves.iter().map(|leaf| tell.of_parts(leaf.clone())).collect();
        let partial = flat.partial.iter().map(|one| Partial {
            of: one.of.iter().map(|part| tell.of_parts(part.clone())).collect(),
            when: one.when.clone().map(|when| tell.of_parts(when)),
            nulls_equal: one.nulls_equal,
        });
        let partial: Vec<Partial> = partial.collect();
        (flat.checks, flat.leaves, flat.partial) = (checks, leaves, partial);
    }
    let tell = Tell { table: &flat, wholes: &wholes };
    let apart = flat.exclusions.iter().filter_map(|one| tell.apart(one)).collect();
    (flat, wholes, apart)
}

/// The columns that some condition, of a check or of an index, wants to know to be NULL.
pub(crate) fn open_ends(table: &Table) -> HashSet<usize> {
    let mut found = HashSet::new();
    let partial = table.partial.iter().filter_map(|one| one.when.as_ref());
    for condition in table.checks.iter().chain(partial) {
        condition.visit(&mut |part| {
            if let Expression::IsNull(of) = part
                && let Expression::Column(name) = &**of
            {
                found.extend(table.column(name));
            }
        });
    }
    found
}

fn comes_apart(holds: &ColumnType) -> bool {
    match holds {
        ColumnType::Composite(_) => holds.unknown().is_none(),
        ColumnType::Range(of) | ColumnType::Multirange(of) => of.is_number() || of.is_moment(),
        _ => false,
    }
}

/// Adds the column of a part.
fn add(flat: &mut Table, name: &str, holds: &ColumnType) -> usize {
    let (base, not_null, has_default, apart) = ((0, -1), false, false, false);
    let (name, holds) = (name.to_owned(), holds.clone());
    flat.columns.push(Column { name, holds, base, not_null, has_default, apart });
    flat.columns.len() - 1
}

fn take_apart(name: &str, holds: &ColumnType, flat: &mut Table) -> MadeOf {
    match holds {
        ColumnType::Composite(parts) => {
            let each = parts.iter().map(|(part, holds)| take_apart(&format!("{name}.{part}"), holds, flat));
            MadeOf::Fields(each.collect())
        }
        ColumnType::Range(of) | ColumnType::Multirange(of) if comes_apart(holds) => {
            let many = matches!(holds, ColumnType::Multirange(_));
            let (lower, upper) = (format!("{name}.lower"), format!("{name}.upper"));
            let ends = MadeOf::Ends(add(flat, &lower, of), add(flat, &upper, of), many);
            let end = |name| Box::new(Expression::Column(name));
            flat.checks.push(Expression::Binary("<".to_owned(), end(lower), end(upper)));
            ends
        }
        ColumnType::Checked(of, checks) => {
            let made_of = take_apart(name, of, flat);
            flat.checks.extend(checks.iter().map(|check| check.clone().renamed("VALUE", name)));
            made_of
        }
        holds => MadeOf::One(add(flat, name, holds)),
    }
}

/// Says of parts what conditions say of wholes.
struct Tell<'a> {
    table: &'a Table,
    wholes: &'a [Whole],
}

/// The ends of a range; `None` for one that it has not.
type Ends = (Option<Expression>, Option<Expression>);

impl Tell<'_> {
    fn whole(&self, part: &Expression) -> Option<&Whole> {
        let Expression::Column(name) = part else { return None };
        self.wholes.iter().find(|whole| self.table.columns[whole.column].name == *name)
    }

    fn column(&self, at: usize) -> Expression {
        Expression::Column(self.table.columns[at].name.clone())
    }

    fn null(&self, at: usize) -> Expression {
        Expression::IsNull(Box::new(self.column(at)))
    }

    fn of_parts(&self, mut condition: Expression) -> Expression {
        // `x IS NOT NULL` of a composite value is another thing than `NOT (x IS NULL)`.
        if let Expression::Not(part) = &condition
            && let Expression::IsNull(of) = &**part
            && let Some(whole) = self.whole(of)
            && whole.ends().is_none()
        {
            let not_null = |at: usize| Expression::Not(Box::new(self.null(at)));
            return Expression::And(whole.parts().into_iter().map(not_null).collect());
        }
        if let Expression::Binary(operator, left, right) = &condition
            && let Some(told) = self.between_ranges(operator, left, right)
        {
            return told;
        }
        match &condition {
            Expression::IsNull(of) => {
                if let Some(whole) = self.whole(of) {
                    return Expression::And(whole.parts().into_iter().map(|at| self.null(at)).collect());
                }
            }
            Expression::Call(name, arguments) => {
                if let [of] = arguments.as_slice()
                    && let Some((lower, upper)) = self.whole(of).and_then(Whole::ends)
                {
                    match name.as_str() {
                        "lower" => return self.column(lower),
                        "upper" => return self.column(upper),
                        "isempty" | "upper_inc" => return Expression::Boolean(false),
                        "lower_inf" => return self.null(lower),
                        "upper_inf" => return self.null(upper),
                        "lower_inc" => return Expression::Not(Box::new(self.null(lower))),
                        _ => {}
                    }
                }
            }
            Expression::Field(of, field) => {
                if let Expression::Column(name) = self.of_parts((**of).clone()) {
                    let name = format!("{name}.{field}");
                    if self.table.column(&name).is_some() || self.is_start(&name) {
                        return Expression::Column(name);
                    }
                }
            }
            _ => {}
        }
        condition.each_part(&mut |part| *part = self.of_parts(std::mem::replace(part, Expression::Null)));
        condition
    }

    /// Whether it names a composite value within another one.
    fn is_start(&self, name: &str) -> bool {
        let start = format!("{name}.");
        self.table.columns.iter().any(|column| column.name.starts_with(&start))
    }

    /// The ends of a range that is a column, a call of its constructor or a text.
    fn ends(&self, of: &Expression) -> Option<Ends> {
        if let Some((lower, upper)) = self.whole(of).and_then(Whole::ends) {
            return Some((Some(self.column(lower)), Some(self.column(upper))));
        }
        match of {
            Expression::Call(name, parts)
                if name.ends_with("range") && !name.ends_with("multirange") && parts.len() >= 2 =>
            {
                let end =
                    |part: &Expression| (*part != Expression::Null).then(|| self.of_parts(part.clone()));
                Some((end(&parts[0]), end(&parts[1])))
            }
            Expression::Call(name, parts) if name.ends_with("multirange") && parts.len() == 1 => {
                self.ends(&parts[0])
            }
            Expression::Text(text) => {
                let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
                let inner = text.strip_prefix(['[', '('])?.strip_suffix([']', ')'])?;
                let (lower, upper) = inner.split_once(',')?;
                let end = |text: &str| {
                    let text = text.trim().trim_matches('"');
                    (!text.is_empty()).then(|| Expression::Text(text.to_owned()))
                };
                Some((end(lower), end(upper)))
            }
            _ => None,
        }
    }

    /// An exclusion constraint by `=` and one `&&` between ranges; others are left to the server.
    fn apart(&self, exclusion: &Exclusion) -> Option<Apart> {
        let (mut equal, mut ends) = (Vec::new(), None);
        for (of, operator) in &exclusion.of {
            match operator.as_str() {
                "=" => equal.push(self.of_parts(of.clone())),
                "&&" if ends.is_none() => ends = Some(self.ends(of)?),
                _ => return None,
            }
        }
        Some(Apart::new(equal, ends?, exclusion.when.clone().map(|when| self.of_parts(when))))
    }

    /// `a <@ b`, `a @> b` and `a && b`, where one of them is a range that is taken apart.
    fn between_ranges(&self, operator: &str, left: &Expression, right: &Expression) -> Option<Expression> {
        if !matches!(operator, "<@" | "@>" | "&&")
            || [left, right].iter().all(|one| self.whole(one).is_none())
        {
            return None;
        }
        let (part, range) = if operator == "@>" { (right, left) } else { (left, right) };
        let compare = |operator: &str, left: Expression, right: Expression| {
            Expression::Binary(operator.to_owned(), Box::new(left), Box::new(right))
        };
        let (lower, upper) = self.ends(range)?;
        let Some((part_lower, part_upper)) = self.ends(part) else {
            let part = self.of_parts(part.clone());
            let lower = lower.map(|lower| compare(">=", part.clone(), lower));
            let upper = upper.map(|upper| compare("<", part, upper));
            return Some(Expression::And(lower.into_iter().chain(upper).collect()));
        };
        if operator == "&&" {
            let one = part_lower.zip(upper).map(|(lower, upper)| compare("<", lower, upper));
            let other = lower.zip(part_upper).map(|(lower, upper)| compare("<", lower, upper));
            return Some(Expression::And(one.into_iter().chain(other).collect()));
        }
        let given = |end: &Expression| Expression::Not(Box::new(Expression::IsNull(Box::new(end.clone()))));
        let mut all = Vec::new();
        for (end, bound, operator) in [(part_lower, lower, ">="), (part_upper, upper, "<=")] {
            let Some(bound) = bound else { continue };
            let Some(end) = end else { return Some(Expression::Boolean(false)) };
            all.extend([given(&end), compare(operator, end, bound)]);
        }
        let all = Expression::And(all);
        Some(match self.whole(part).filter(|whole| !self.table.columns[whole.column].not_null) {
            Some(_) => Expression::Or(vec![self.of_parts(Expression::IsNull(Box::new(part.clone()))), all]),
            None => all,
        })
    }
}

/// A value of a domain: of an element of an array, for which there is no column.
pub(crate) fn checked(
    wish: &Wish<'_>,
    of: &ColumnType,
    checks: &[Expression],
    draw: &mut Draw,
) -> Option<String> {
    /// How often it is drawn anew.
    const ATTEMPTS: u32 = 20;
    let checks = checks.iter().map(|check| check.clone().renamed("VALUE", wish.name)).collect();
    let (table, wholes, _) = flat(&Table::of_one_column(wish.name, of.clone(), checks));
    let bounds: Vec<Bounds> = bounds::of(&table, wish.now);
    let conditions: Vec<&Expression> = table.checks.iter().collect();
    let count = table.columns.len();
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let mut row = Row {
            table: &table,
            bounds: &bounds,
            cells: vec![None; count],
            pinned: vec![false; count],
            offers: vec![None; count],
            number: wish.row,
            now: wish.now,
        };
        for (at, bounds) in bounds.iter().enumerate() {
            row.draw_within(at, bounds, draw);
        }
        let broken = row.repair(&conditions, draw).is_some();
        for whole in &wholes {
            whole.put_together(true, &mut row.cells);
        }
        last = row.cells.swap_remove(0);
        if !broken {
            break;
        }
    }
    last
}

//! Conditions that an index on the column cannot serve: functions, casts, patterns.

use super::filters::Dropped;
use super::view::{View, percent, table_name};
use super::{Severity, Tip, TipCode};
use crate::condition::{Expr, is_text};
use crate::plan::{Node, count, quoted};

/// How many rows must be dropped for a word.
const ROWS: f64 = 1000.0;
/// What a scan must cost for a word, where nothing ran: as much as a thousand pages.
const COST: f64 = 1000.0;

pub(super) fn find(view: &View<'_>, tips: &mut Vec<Tip>) {
    for (at, node) in view.nodes() {
        if node.is_join() {
            tips.extend(converted_join(view, at, node));
        }
        let is_scan = node.is("Seq Scan") || node.is_index_scan() || node.is("Bitmap Heap Scan");
        let Some(filter) = node.fields.text("Filter").filter(|_| is_scan) else { continue };
        let filter = Expr::read(filter);
        let mut told: Vec<TipCode> = Vec::new();
        for obstacle in obstacles(&filter, view, node) {
            if !told.contains(&obstacle.code) {
                told.push(obstacle.code);
                tips.extend(tip(view, at, node, &obstacle));
            }
        }
    }
}

/// A column that a join converts, so that no index on it can be looked up.
fn converted_join(view: &View<'_>, at: usize, node: &Node) -> Option<Tip> {
    let fields = ["Hash Cond", "Merge Cond", "Join Filter"];
    let conditions = fields.iter().filter_map(|field| node.fields.text(field)).map(Expr::read);
    let conditions: Vec<Expr> = conditions.collect();
    let converted = conditions.iter().flat_map(Expr::conjuncts).find_map(|part| match part {
        Expr::Operator(left, operator, right) if operator == "=" => {
            [left, right].into_iter().find_map(|side| match &**side {
                Expr::Cast(inner, to) if is_number_wider(to) => {
                    inner.bare_column().map(|column| (column, to))
                }
                _ => None,
            })
        }
        _ => None,
    });
    let (column, to) = converted?;
    let evidence =
        format!("{} is converted to {to} for each row, so no index on it can be looked up", quoted(column));
    let fix = format!(
        "give both columns one type (ALTER TABLE … ALTER {} TYPE …), or cast the other side",
        quoted(column)
    );
    let inner = view.plan.child(at, "Inner").map_or(0.0, |inner| view.with_below(inner));
    view.tip(TipCode::ImplicitCast, at, view.own(at) + inner, evidence, fix)
}

/// Why an index on a column cannot serve a comparison.
struct Obstacle {
    code: TipCode,
    column: String,
    /// What stands around the column, such as `lower(email)`.
    what: String,
    fix: String,
}

fn tip(view: &View<'_>, at: usize, node: &Node, obstacle: &Obstacle) -> Option<Tip> {
    // An index that is read from end to end is no better than the table.
    let is_seq = node.is("Seq Scan") || node.is_index_scan() && node.fields.text("Index Cond").is_none();
    let (evidence, most) = if view.ran {
        let dropped = Dropped::by(node, "Rows Removed by Filter")?;
        if dropped.dropped < ROWS || dropped.dropped < dropped.read() / 2.0 {
            return None;
        }
        let evidence = format!(
            "{} hides {} from an index: {} rows are read, {} are dropped",
            obstacle.what,
            obstacle.column,
            count(dropped.read()),
            percent(dropped.dropped, dropped.read())
        );
        // An index helps little if it finds more than a tenth of the rows.
        let helps = is_seq && dropped.is_most();
        (evidence, if helps { Severity::Critical } else { Severity::Info })
    } else {
        if !is_seq || node.estimate.total_cost < COST {
            return None;
        }
        (format!("{} hides {} from an index", obstacle.what, obstacle.column), Severity::Info)
    };
    let index = view.table(node).and_then(|facts| facts.index_on(&obstacle.column));
    let evidence = match index {
        Some(index) => format!("{evidence}; {} cannot be used", index.name),
        None => evidence,
    };
    view.tip_at_most(most, obstacle.code, at, view.own(at), evidence, obstacle.fix.clone())
}

fn obstacles(filter: &Expr, view: &View<'_>, node: &Node) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for part in filter.conjuncts() {
        let arms: &[Expr] = if let Expr::Or(arms) = part { arms } else { std::slice::from_ref(part) };
        for arm in arms.iter().flat_map(Expr::conjuncts) {
            if let Expr::Operator(left, operator, right) = arm {
                found.extend(obstacle(left, operator, right, view, node));
                found.extend(obstacle(right, operator, left, view, node));
            }
            if let Expr::Call(name, arguments) = arm
                && matches!(name.as_str(), "starts_with" | "regexp_like")
            {
                found.extend(call(name, arguments, node));
            }
        }
    }
    found
}

/// `side` has the column, `other` what it is compared with.
fn obstacle(side: &Expr, operator: &str, other: &Expr, view: &View<'_>, node: &Node) -> Option<Obstacle> {
    if !other.columns().is_empty() || side.has_subplan() || other.has_subplan() {
        return None;
    }
    match operator {
        "~~" | "~~*" | "~" | "~*" => pattern(side, operator, other, node),
        "=" | "<" | ">" | "<=" | ">=" | "@@" | "@>" | "<@" | "&&" => around(side, other, view, node),
        _ => None,
    }
}

fn around(side: &Expr, other: &Expr, view: &View<'_>, node: &Node) -> Option<Obstacle> {
    let table = table_name(node);
    match side {
        Expr::Call(name, _) if matches!(name.as_str(), "row" | "array" | "count" | "now") => None,
        Expr::Call(name, arguments) if matches!(name.as_str(), "strpos" | "position") => {
            let column = arguments.iter().find_map(|argument| argument.columns().last().copied())?;
            Some(anywhere(column, format!("{name}(…)"), &table))
        }
        Expr::Call(name, arguments) => call(name, arguments, node),
        Expr::Cast(inner, to) => cast(inner, to, other, view, node),
        Expr::Operator(left, operator, right) => {
            // One column and constants around it.
            let column = only(&side.columns())?;
            if operator.starts_with("->") || operator.starts_with("#>") {
                let fix = format!(
                    "an index on the field: CREATE INDEX CONCURRENTLY ON {table} ((the expression as it is written)); or a GIN \
                     index ({column} jsonb_path_ops) and {column} @> '{{…}}'"
                );
                let what = "a field of a document".to_owned();
                return Some(Obstacle { code: TipCode::JsonFieldWithoutIndex, column, what, fix });
            }
            if !matches!(operator.as_str(), "+" | "-" | "*" | "/" | "%" | "||" | "&" | "|") {
                return None;
            }
            if left.constant().is_none() && right.constant().is_none() && !side.has_parameter() {
                return None;
            }
            let fix = format!(
                "move the calculation to the other side, so that {} stands alone; or index the expression",
                quoted(&column)
            );
            let what = format!("{} {operator} …", quoted(&column));
            Some(Obstacle { code: TipCode::FunctionOnIndexedColumn, column, what, fix })
        }
        _ => None,
    }
}

fn only(columns: &[&str]) -> Option<String> {
    if let [one] = columns { Some((*one).to_owned()) } else { None }
}

fn call(name: &str, arguments: &[Expr], node: &Node) -> Option<Obstacle> {
    let table = table_name(node);
    let mut columns: Vec<&str> = arguments.iter().flat_map(Expr::columns).collect();
    if name == "extract" {
        // `year FROM created_at`: the field reads as a column, too.
        columns.drain(..columns.len().saturating_sub(1));
    }
    let column = (*columns.first()?).to_owned();
    let quoted_column = quoted(&column);
    let fix = match name {
        "date" | "date_trunc" | "extract" | "date_part" | "to_char" | "timezone" | "age" | "date_bin" => {
            format!(
                "a range of the column itself: {quoted_column} >= start AND {quoted_column} < end, which its index serves"
            )
        }
        "lower" | "upper" => {
            format!(
                "CREATE INDEX CONCURRENTLY ON {table} ({name}({quoted_column})), or a column of type citext"
            )
        }
        "to_tsvector" => {
            format!("CREATE INDEX CONCURRENTLY ON {table} USING gin (to_tsvector('config', {quoted_column}))")
        }
        "coalesce" => {
            format!("compare {quoted_column} itself, OR {quoted_column} IS NULL; or make it NOT NULL")
        }
        "starts_with" => {
            format!("{quoted_column} LIKE 'prefix%' with an index ({quoted_column} text_pattern_ops)")
        }
        _ => format!(
            "CREATE INDEX CONCURRENTLY ON {table} ({name}(…)) with the call as the query has it, if it is immutable; or compare \
             {quoted_column} itself"
        ),
    };
    let what = format!("{name}({quoted_column})");
    Some(Obstacle { code: TipCode::FunctionOnIndexedColumn, column, what, fix })
}

/// A cast: one that the query wrote, or one that the types of both sides forced.
fn cast(inner: &Expr, to: &str, other: &Expr, view: &View<'_>, node: &Node) -> Option<Obstacle> {
    let Expr::Column(column) = inner else {
        // A cast around a call, such as `(created_at AT TIME ZONE 'UTC')::date` or `(lower(x))::text`.
        return match inner {
            Expr::Call(name, arguments) => call(name, arguments, node),
            Expr::Cast(inner, _) => cast(inner, to, other, view, node),
            Expr::Operator(..) | Expr::Other(_) => around(inner, other, view, node),
            _ => None,
        };
    };
    let known = view.table(node).and_then(|facts| facts.columns.get(column)).map(String::as_str);
    let code = match known {
        // Between kinds of text nothing is converted, but for char(n), whose spaces go.
        Some(from) if is_text(to) && is_text(from) => return None,
        Some(from) if is_text(to) && (from.starts_with("character(") || from == "citext") => {
            TipCode::ImplicitCast
        }
        _ if is_number_wider(to) => TipCode::ImplicitCast,
        Some(_) => TipCode::FunctionOnIndexedColumn,
        None if is_text(to) && !looks_like_key(column, other) => return None,
        None if to == "bpchar" || to == "regclass" => return None,
        None => TipCode::FunctionOnIndexedColumn,
    };
    let quoted_column = quoted(column);
    let fix = match (code, to) {
        (TipCode::ImplicitCast, _) => format!(
            "send the value in the type of {quoted_column}{}, so that the column is not converted row by row",
            known.map(|known| format!(" ({known})")).unwrap_or_default()
        ),
        (_, "date") => format!(
            "a range of the column itself: {quoted_column} >= day AND {quoted_column} < day + 1, which its index serves"
        ),
        (_, to) => format!(
            "compare {quoted_column} itself: cast the value, not the column; or CREATE INDEX CONCURRENTLY ON {} (({quoted_column}::{to}))",
            table_name(node)
        ),
    };
    let what = format!("{quoted_column}::{to}");
    Some(Obstacle { code, column: column.clone(), what, fix })
}

/// Types to which a number is converted because of what it is compared with.
fn is_number_wider(to: &str) -> bool {
    matches!(to, "numeric" | "double precision" | "real" | "money")
}

/// Whether a column that is cast to text is a key and not a varchar, whose cast changes nothing.
fn looks_like_key(column: &str, other: &Expr) -> bool {
    let name = column.to_ascii_lowercase();
    let is_key_name = name == "id"
        || ["_id", "_at", "_on", "_date", "_no", "_num", "_number", "_uuid"]
            .iter()
            .any(|end| name.ends_with(end))
        || ["uuid", "date", "ts", "at", "num", "number", "amount", "day", "created", "updated"]
            .contains(&name.as_str());
    let value = other.constant().unwrap_or_default();
    let is_uuid = value.len() == 36 && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let is_time =
        value.len() >= 8 && value.bytes().all(|byte| byte.is_ascii_digit() || b"-: .+".contains(&byte));
    is_uuid || (is_key_name && (is_number || is_time || value.contains('%') || other.has_parameter()))
}

fn pattern(side: &Expr, operator: &str, other: &Expr, node: &Node) -> Option<Obstacle> {
    let column = only(&side.columns())?;
    let table = table_name(node);
    let start = leftmost(other)?;
    let ignores_case = operator.ends_with('*');
    let is_regular = operator.starts_with("~") && !operator.starts_with("~~");
    let begins = |pattern: &str| {
        if is_regular {
            !(pattern.starts_with('^') || pattern.starts_with("***="))
        } else {
            pattern.starts_with(['%', '_'])
        }
    };
    let is_anywhere = start.iter().any(|pattern| begins(pattern));
    if is_anywhere || ignores_case {
        let what = match (is_regular, ignores_case, is_anywhere) {
            (true, _, _) => "a regular expression without a fixed beginning",
            (false, true, _) => "ILIKE",
            (false, false, _) => "a pattern that begins with a wildcard",
        };
        return Some(anywhere(&column, what.to_owned(), &table));
    }
    if !node.is("Seq Scan") {
        return None;
    }
    let fix = format!(
        "CREATE INDEX CONCURRENTLY ON {table} ({} text_pattern_ops), or one with COLLATE \"C\"",
        quoted(&column)
    );
    let what = "a prefix, which this collation's order does not find,".to_owned();
    Some(Obstacle { code: TipCode::PrefixPatternWithoutIndex, column, what, fix })
}

fn anywhere(column: &str, what: String, table: &str) -> Obstacle {
    let fix = format!(
        "CREATE EXTENSION pg_trgm; CREATE INDEX CONCURRENTLY ON {table} USING gin ({} gin_trgm_ops); for words, full text search",
        quoted(column)
    );
    Obstacle { code: TipCode::LeadingWildcard, column: column.to_owned(), what, fix }
}

/// With what patterns begin: of a concatenation its first part, of a list each element.
fn leftmost(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Constant(value) => Some(match value.strip_prefix('{') {
            Some(list) => list.split(',').map(|one| one.trim_start_matches('"').to_owned()).collect(),
            None => vec![value.clone()],
        }),
        Expr::Cast(inner, _) => leftmost(inner),
        Expr::Operator(left, operator, _) if operator == "||" => leftmost(left),
        Expr::Call(name, arguments) if matches!(name.as_str(), "concat" | "lower" | "upper") => {
            leftmost(arguments.first()?)
        }
        _ => None,
    }
}

//! Reads the expressions that EXPLAIN prints: PostgreSQL's own text, whose operators are all in parentheses.
//!
//! The server has parsed and simplified the statement, looked through views, and written each column with its
//! table and each cast. What this reader does not know becomes [`Expr::Other`] with the columns in it, never
//! a wrong guess.

mod reader;

use std::collections::BTreeSet;

use reader::{column_at, tokens};

/// A column as a plan writes it: the table's alias, empty where the plan has one table only, and the name,
/// without quotes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Column {
    pub(crate) alias: String,
    pub(crate) name: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expr {
    Column(Column),
    /// `$1`, or a subquery's result.
    Parameter,
    /// A constant, with its casts.
    Constant(String),
    /// `left op right`.
    Operator(Box<Expr>, String, Box<Expr>),
    /// `left op ANY (right)`.
    Any(Box<Expr>, String, Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// `IS NULL`, or `IS NOT NULL` where false.
    IsNull(Box<Expr>, bool),
    Call(String, Vec<Expr>, String),
    Cast(Box<Expr>, String),
    Collate(Box<Expr>, String),
    Row(Vec<Expr>),
    /// Anything else: its text.
    Other(String, BTreeSet<Column>, BTreeSet<String>),
}

impl Expr {
    /// Reads one expression; what stands behind it is ignored.
    pub(crate) fn parse(text: &str) -> Expr {
        reader::read(text)
    }

    /// The parts that all must hold.
    pub(crate) fn conjuncts(self) -> Vec<Expr> {
        match self {
            Expr::And(all) => all.into_iter().flat_map(Expr::conjuncts).collect(),
            one => vec![one],
        }
    }

    /// All columns in it.
    pub(crate) fn columns(&self) -> BTreeSet<Column> {
        let mut found = BTreeSet::new();
        self.visit(&mut |expr| match expr {
            Expr::Column(column) => {
                found.insert(column.clone());
            }
            Expr::Other(_, columns, _) => found.extend(columns.iter().cloned()),
            _ => {}
        });
        found
    }

    /// The names of all functions in it.
    pub(crate) fn functions(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.visit(&mut |expr| match expr {
            Expr::Call(name, ..) => {
                found.insert(name.clone());
            }
            Expr::Other(_, _, calls) => found.extend(calls.iter().cloned()),
            _ => {}
        });
        found
    }

    /// Whether a subquery or parameter is in it.
    pub(crate) fn has_parameter(&self) -> bool {
        let mut has = false;
        self.visit(&mut |expr| match expr {
            Expr::Parameter => has = true,
            Expr::Other(text, ..) => has |= text.contains("Plan") || text.contains('$'),
            _ => {}
        });
        has
    }

    /// The constants in it, as they are spelt.
    pub(crate) fn constants(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.visit(&mut |expr| {
            if let Expr::Constant(text) = expr {
                found.push(text.clone());
            }
        });
        found
    }

    fn visit(&self, told: &mut impl FnMut(&Expr)) {
        told(self);
        match self {
            Expr::Operator(left, _, right) | Expr::Any(left, _, right) => {
                left.visit(told);
                right.visit(told);
            }
            Expr::And(all) | Expr::Or(all) | Expr::Row(all) | Expr::Call(_, all, _) => {
                all.iter().for_each(|one| one.visit(told));
            }
            Expr::Not(one) | Expr::IsNull(one, _) | Expr::Cast(one, _) | Expr::Collate(one, _) => {
                one.visit(told)
            }
            Expr::Column(_) | Expr::Parameter | Expr::Constant(_) | Expr::Other(..) => {}
        }
    }

    /// As SQL, with columns as `column` writes them.
    pub(crate) fn sql(&self, column: &impl Fn(&Column) -> String) -> String {
        let list = |all: &[Expr], between: &str| {
            all.iter().map(|one| one.sql(column)).collect::<Vec<_>>().join(between)
        };
        match self {
            Expr::Column(one) => column(one),
            Expr::Parameter => "NULL".to_owned(),
            Expr::Constant(text) => text.clone(),
            Expr::Operator(left, op, right) => format!("({} {op} {})", left.sql(column), right.sql(column)),
            Expr::Any(left, op, right) => format!("({} {op} ({}))", left.sql(column), right.sql(column)),
            Expr::And(all) => format!("({})", list(all, " AND ")),
            Expr::Or(all) => format!("({})", list(all, " OR ")),
            Expr::Not(one) => format!("(NOT {})", one.sql(column)),
            Expr::IsNull(one, true) => format!("({} IS NULL)", one.sql(column)),
            Expr::IsNull(one, false) => format!("({} IS NOT NULL)", one.sql(column)),
            Expr::Call(_, args, text) if args.is_empty() => text.clone(),
            Expr::Call(name, args, _) => format!("{name}({})", list(args, ", ")),
            Expr::Cast(one, kind) => {
                let inner = one.sql(column);
                if is_enclosed(&inner) { format!("{inner}::{kind}") } else { format!("({inner})::{kind}") }
            }
            Expr::Collate(one, name) => format!("({} COLLATE {name})", one.sql(column)),
            Expr::Row(all) => format!("ROW({})", list(all, ", ")),
            Expr::Other(text, ..) => retold(text, column),
        }
    }
}

/// Whether the parenthesis that a text begins with closes at its very end.
pub(crate) fn is_enclosed(sql: &str) -> bool {
    let mut depth = 0;
    for (at, c) in sql.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1 == sql.len() && c == ')';
        }
    }
    false
}

/// A name as SQL needs it: in quotes where it is not plain.
pub(crate) fn quoted(name: &str) -> String {
    db_statement::Table { schema: None, name: name.to_owned() }.to_string()
}

fn retold(text: &str, column: &impl Fn(&Column) -> String) -> String {
    let tokens = tokens(text);
    let mut out = String::new();
    let mut end = 0;
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match column_at(text, &tokens, at) {
            Some(found) => {
                out.push_str(text.get(end..token.start).unwrap_or_default());
                out.push_str(&column(&found));
                end = tokens.get(at + 2).map_or(text.len(), |last| last.end);
                at += 3;
            }
            None => at += 1,
        }
    }
    out.push_str(text.get(end..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        Expr::parse(text).sql(&|column| column.name.clone())
    }

    #[test]
    fn what_the_server_prints_is_read_and_printed_again() {
        for (text, want) in [
            ("(o.a = 5)", "(a = 5)"),
            ("((o.a = 5) AND (o.b IS NULL) AND o.c)", "((a = 5) AND (b IS NULL) AND c)"),
            ("((o.name)::text ~~ 'a%'::text)", "((name)::text ~~ 'a%'::text)"),
            ("(o.at >= (now() - '7 days'::interval))", "(at >= (now() - '7 days'::interval))"),
            ("(o.s = ANY ('{a,b}'::text[]))", "(s = ANY ('{a,b}'::text[]))"),
            (
                "(ROW(o.a, o.b) < ROW('x'::timestamp with time zone, 5))",
                "(ROW(a, b) < ROW('x'::timestamp with time zone, 5))",
            ),
            ("(NOT o.done)", "(NOT done)"),
            ("(lower((o.email)::text) = 'it''s'::text)", "(lower((email)::text) = 'it''s'::text)"),
            ("((o.d)::numeric(10,2) > 1.5)", "((d)::numeric(10,2) > 1.5)"),
            ("(EXTRACT(year FROM o.at) = '2026'::numeric)", "(EXTRACT(year FROM at) = '2026'::numeric)"),
            ("((o.data ->> 'k'::text) = 'v'::text)", "((data ->> 'k'::text) = 'v'::text)"),
            ("((o.at AT TIME ZONE 'UTC'::text))::date", "(at AT TIME ZONE 'UTC'::text)::date"),
            ("(o.\"Odd Name\" = '-1'::integer)", "(Odd Name = '-1'::integer)"),
        ] {
            assert_eq!(plain(text), want);
            assert!(!matches!(Expr::parse(text), Expr::Other(..)), "{text}");
        }
    }

    #[test]
    fn subqueries_and_parameters_are_no_constants() {
        assert!(!Expr::parse("(now() - '1 day'::interval)").has_parameter());
        for text in
            ["(o.a = $1)", "(o.a = (InitPlan 1).col1)", "(SubPlan 1)", "(NOT (hashed SubPlan 1))", "$0"]
        {
            assert!(Expr::parse(text).has_parameter(), "{text}");
        }
    }

    #[test]
    fn what_is_unknown_keeps_its_columns_and_nothing_panics() {
        let odd = Expr::parse("CASE WHEN (o.a > 1) THEN o.b ELSE f(o.c) END");
        assert_eq!(odd.columns().len(), 3);
        assert!(odd.functions().contains("f"));
        for text in ["", "(", "((((", "'", "a.", "(a.b = ", "é.ü = 1", &"(".repeat(5000)] {
            Expr::parse(text);
        }
    }
}

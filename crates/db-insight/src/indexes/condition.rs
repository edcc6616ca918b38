//! Which index could answer a condition: the key, the method and the operator class that its operator needs.

use super::catalog::{Catalog, Table};
use super::expression::{Column, Expr};
use super::spec::Key;

/// A way in which an index answers a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Use {
    /// By a value of the key: `=`, `IN`, `IS NULL`, or a boolean.
    Equal { key: Key, single: bool },
    /// By a range of the key.
    Range { key: Key },
    /// By a range of several keys in a row.
    Rows { keys: Vec<Key>, desc: bool },
    /// By another method than a B-tree.
    Special { method: &'static str, key: Key, requires: Option<&'static str> },
}

/// A condition of a scan.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) expr: Expr,
    pub(crate) uses: Vec<Use>,
    /// The arms of an `OR` that can all be answered, each by its uses.
    pub(crate) arms: Vec<(Expr, Vec<Use>)>,
    /// What it is compared with is known only while the statement runs.
    pub(crate) depends: bool,
}

/// The seam between the conditions of a scan and what the catalogue knows.
pub(crate) struct Classifier<'a> {
    pub(crate) catalog: &'a Catalog,
    pub(crate) table: &'a Table,
    pub(crate) alias: &'a str,
}

impl Classifier<'_> {
    pub(crate) fn condition(&self, expr: &Expr) -> Condition {
        let depends = expr.has_parameter() || expr.columns().iter().any(|column| column.alias != self.alias);
        let mut arms = Vec::new();
        if let Expr::Or(all) = expr {
            for arm in all {
                let best = arm.clone().conjuncts().into_iter().map(|one| (one.clone(), self.uses(&one)));
                let usable =
                    best.filter(|(_, uses)| !uses.is_empty()).max_by_key(|(_, uses)| match uses.first() {
                        Some(Use::Equal { .. }) => 2,
                        _ => 1,
                    });
                match usable {
                    Some((_, uses)) => arms.push((arm.clone(), uses)),
                    None => {
                        arms.clear();
                        break;
                    }
                }
            }
        }
        Condition { uses: self.uses(expr), arms, expr: expr.clone(), depends }
    }

    fn uses(&self, expr: &Expr) -> Vec<Use> {
        if self.is_volatile(expr) {
            return Vec::new();
        }
        match expr {
            Expr::Column(column) if self.is_boolean(column) => self.equal(expr, true),
            Expr::Not(inner) => match inner.as_ref() {
                Expr::Column(column) if self.is_boolean(column) => self.equal(inner, true),
                _ => Vec::new(),
            },
            // To the planner all nulls are no single value: what is behind them is in no order.
            Expr::IsNull(inner, true) => self.equal(inner, false),
            Expr::Any(left, op, right) if op == "= ANY" && self.is_value(right) => self.equal(left, false),
            Expr::Any(left, op, right) if op == "~~ ANY" && self.is_value(right) => {
                self.pattern(left, "~~", right)
            }
            Expr::Operator(left, op, right) => {
                let mut found = self.compared(left, op, right);
                if found.is_empty() {
                    let turned = match op.as_str() {
                        "<" => ">",
                        ">" => "<",
                        "<=" => ">=",
                        ">=" => "<=",
                        "@>" => "<@",
                        "<@" => "@>",
                        "=" | "&&" | "@@" | "%" | "<->" => op.as_str(),
                        _ => return found,
                    };
                    found = self.compared(right, turned, left);
                }
                found
            }
            _ => Vec::new(),
        }
    }

    /// What answers `key op value`.
    fn compared(&self, left: &Expr, op: &str, right: &Expr) -> Vec<Use> {
        if !self.is_value(right) {
            return Vec::new();
        }
        if let (Expr::Row(keys), "<" | ">" | "<=" | ">=") = (left, op) {
            let keys: Option<Vec<Key>> = keys.iter().map(|key| self.key(key)).collect();
            let keys = keys.filter(|keys| !keys.is_empty());
            return keys.map(|keys| Use::Rows { keys, desc: op.starts_with('<') }).into_iter().collect();
        }
        match op {
            "=" => self.equal(left, true),
            "<" | ">" | "<=" | ">=" => self.key(left).map(|key| Use::Range { key }).into_iter().collect(),
            "~~" | "~~*" | "~" | "~*" | "^@" | "%" => self.pattern(left, op, right),
            _ => self.special(left, op, right).into_iter().collect(),
        }
    }

    fn equal(&self, expr: &Expr, single: bool) -> Vec<Use> {
        self.key(expr).map(|key| Use::Equal { key, single }).into_iter().collect()
    }

    /// `LIKE` and its kin: a prefix by a B-tree in the order of bytes, anything else by trigrams.
    fn pattern(&self, left: &Expr, op: &str, right: &Expr) -> Vec<Use> {
        let Some(key) = self.key(left) else { return Vec::new() };
        let Some(pattern) = literal(right) else { return Vec::new() };
        let (prefix, longest) = match op {
            "~~" => like(&pattern),
            "~~*" => (String::new(), like(&pattern).1),
            "~" => regex(&pattern),
            "~*" => (String::new(), regex(&pattern).1),
            "^@" => (pattern.clone(), 0),
            _ => (String::new(), pattern.chars().count()),
        };
        let mut found = Vec::new();
        if !prefix.is_empty() {
            let mut key = key.clone();
            let c_collation = match left {
                Expr::Collate(_, name) => name.contains("\"C\"") || name.contains("POSIX"),
                _ => key
                    .column
                    .as_deref()
                    .and_then(|name| self.table.column(name))
                    .is_some_and(|c| c.c_collation),
            };
            if !c_collation {
                let kind =
                    key.column.as_deref().and_then(|name| self.table.column(name)).map(|c| c.kind.as_str());
                key.opclass = Some(
                    match kind {
                        Some("character varying") => "varchar_pattern_ops",
                        Some("character") => "bpchar_pattern_ops",
                        _ => "text_pattern_ops",
                    }
                    .to_owned(),
                );
            }
            found.push(Use::Range { key });
        } else if longest >= 3 && matches!(op, "~~" | "~~*" | "~" | "~*" | "%") {
            let mut key = key;
            key.opclass = Some(match self.catalog.extensions.get("pg_trgm").map(String::as_str) {
                None | Some("public" | "pg_catalog") => "gin_trgm_ops".to_owned(),
                Some(schema) => format!("{schema}.gin_trgm_ops"),
            });
            found.push(Use::Special { method: "gin", key, requires: Some("pg_trgm") });
        }
        found
    }

    /// Operators of documents, arrays, ranges, texts and shapes.
    fn special(&self, left: &Expr, op: &str, right: &Expr) -> Option<Use> {
        let mut key = self.key(left)?;
        let column = key.column.as_deref().and_then(|name| self.table.column(name));
        let right = right.sql(&|column| column.name.clone());
        let is = |kind: &str| match column {
            Some(column) => column.kind == kind,
            None => right.ends_with(&format!("::{kind}")),
        };
        let of_category = |category: &str| column.is_some_and(|column| column.category == category);
        let array = of_category("A") || (column.is_none() && right.ends_with("[]"));
        let found =
            op == "@@" && (is("tsvector") || right.ends_with("::tsquery") || right.contains("to_tsquery"));
        let in_document = is("jsonb") && matches!(op, "?" | "?|" | "?&");
        let in_array = array && matches!(op, "@>" | "&&" | "<@");
        let range = of_category("R") && matches!(op, "@>" | "&&" | "<@" | "<<" | ">>" | "-|-" | "&<" | "&>");
        let made_range = column.is_none() && is_range_call(left) && matches!(op, "@>" | "&&" | "<@");
        let shape = of_category("G") && matches!(op, "<@" | "@>" | "&&" | "~=" | "<<" | ">>");
        let (method, opclass) = if is("jsonb") && matches!(op, "@>" | "@?" | "@@") {
            ("gin", Some("jsonb_path_ops"))
        } else if in_document || in_array || found {
            ("gin", None)
        } else if range || made_range || shape {
            ("gist", None)
        } else if of_category("I") && matches!(op, "<<" | "<<=" | ">>" | ">>=" | "&&") {
            ("gist", Some("inet_ops"))
        } else {
            return None;
        };
        key.opclass = opclass.map(str::to_owned);
        Some(Use::Special { method, key, requires: None })
    }

    /// The key that an index needs for an expression of this table's columns.
    pub(crate) fn key(&self, expr: &Expr) -> Option<Key> {
        match expr {
            Expr::Column(column) if self.is_own(column) => {
                let kind = &self.table.column(&column.name)?.kind;
                // These have no order; the special operators of json and xml have no index at all.
                if matches!(kind.as_str(), "json" | "xml") { None } else { Some(Key::column(&column.name)) }
            }
            // A text is a text, whatever the column's limit on its length.
            Expr::Cast(inner, kind) if kind == "text" && self.is_text(inner) => self.key(inner),
            Expr::Collate(inner, name) => {
                let key = self.key(inner)?;
                Some(Key { sql: format!("{} COLLATE {name}", key.sql), column: None, ..key })
            }
            Expr::Call(..) | Expr::Cast(..) | Expr::Operator(..) | Expr::Other(..) => {
                // A distance is from one point: an index on it would serve that point only.
                if matches!(expr, Expr::Operator(_, op, _) if op.contains("<->")) {
                    return None;
                }
                let columns = expr.columns();
                let own = !columns.is_empty() && columns.iter().all(|column| self.is_own(column));
                if !own || expr.has_parameter() || self.is_volatile(expr) {
                    return None;
                }
                let sql = expr.sql(&|column| super::expression::quoted(&column.name));
                let plain = matches!(expr, Expr::Call(..)) || super::expression::is_enclosed(&sql);
                Some(Key::expression(if plain { sql } else { format!("({sql})") }))
            }
            _ => None,
        }
    }

    /// The key whose nearest values an order asks for: `ORDER BY place <-> point(1, 2)`.
    pub(crate) fn nearest(&self, expr: &Expr) -> Option<Key> {
        let Expr::Operator(left, op, right) = expr else { return None };
        if op != "<->" || !self.is_value(right) {
            return None;
        }
        let mut key = self.key(left)?;
        let column = key.column.as_deref().and_then(|name| self.table.column(name))?;
        match column.category.as_str() {
            "G" => {}
            "S" if self.catalog.extensions.contains_key("pg_trgm") => {
                key.opclass = Some("gist_trgm_ops".to_owned())
            }
            _ => return None,
        }
        Some(key)
    }

    fn is_own(&self, column: &Column) -> bool {
        column.alias == self.alias || column.alias.is_empty()
    }

    fn is_text(&self, expr: &Expr) -> bool {
        let Expr::Column(column) = expr else { return false };
        let kind = self.table.column(&column.name).map(|column| column.kind.as_str());
        matches!(kind, Some("character varying" | "text"))
    }

    fn is_boolean(&self, column: &Column) -> bool {
        self.is_own(column) && self.table.column(&column.name).is_some_and(|column| column.kind == "boolean")
    }

    /// Whether it is known before this table is looked at.
    fn is_value(&self, expr: &Expr) -> bool {
        expr.columns().iter().all(|column| column.alias != self.alias) && !self.is_volatile(expr)
    }

    pub(crate) fn is_volatile(&self, expr: &Expr) -> bool {
        let calls = expr.functions();
        calls.iter().any(|name| {
            let plain = name.rsplit('.').next().unwrap_or(name).trim_matches('"');
            self.catalog.volatile.iter().any(|volatile| volatile == plain)
        })
    }
}

fn is_range_call(expr: &Expr) -> bool {
    let Expr::Call(name, ..) = expr else { return false };
    name.ends_with("range")
}

/// The text of a constant.
fn literal(expr: &Expr) -> Option<String> {
    let Expr::Constant(text) = expr else { return None };
    let inner = text.strip_prefix("E'").or_else(|| text.strip_prefix('\''))?;
    let end = inner.rfind('\'')?;
    let text = inner.get(..end)?.replace("''", "'");
    Some(if expr_is_escaped(expr) { text.replace("\\\\", "\\") } else { text })
}

fn expr_is_escaped(expr: &Expr) -> bool {
    matches!(expr, Expr::Constant(text) if text.starts_with('E'))
}

/// What a `LIKE` pattern begins with, and its longest run of letters.
fn like(pattern: &str) -> (String, usize) {
    let mut prefix = String::new();
    let (mut at_start, mut run, mut longest) = (true, 0, 0);
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let plain = match c {
            '%' | '_' => None,
            '\\' => chars.next(),
            c => Some(c),
        };
        match plain {
            Some(c) => {
                if at_start {
                    prefix.push(c);
                }
                run = if c.is_alphanumeric() { run + 1 } else { 0 };
                longest = longest.max(run);
            }
            None => (at_start, run) = (false, 0),
        }
    }
    (prefix, longest)
}

/// What a regular expression begins with where it is anchored, and its longest run of plain letters.
fn regex(pattern: &str) -> (String, usize) {
    let plain = |c: char| c.is_alphanumeric() || c == ' ' || c == '_' || c == '-';
    let longest =
        pattern.split(|c: char| !c.is_alphanumeric()).map(|run| run.chars().count()).max().unwrap_or(0);
    let Some(rest) = pattern.strip_prefix('^') else { return (String::new(), longest) };
    let mut prefix: String = rest.chars().take_while(|c| plain(*c)).collect();
    // The last character may be repeated or left out, and an alternative begins anew.
    if rest[prefix.len()..].starts_with(['*', '?', '{']) {
        prefix.pop();
    }
    if pattern.contains('|') { (String::new(), longest) } else { (prefix, longest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_a_prefix_or_a_run() {
        assert_eq!(like("abc%"), ("abc".into(), 3));
        assert_eq!(like("%smith_"), (String::new(), 5));
        assert_eq!(like("a\\%b%"), ("a%b".into(), 1));
        assert_eq!(regex("^abc.*"), ("abc".into(), 3));
        assert_eq!(regex("^abc?"), ("ab".into(), 3));
        assert_eq!(regex("^a|b"), (String::new(), 1));
    }
}

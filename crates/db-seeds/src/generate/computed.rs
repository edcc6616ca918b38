//! Columns that a check wants to be what a function of the server's makes of others: `slug = slugify(name)`.
//!
//! Such a value cannot be found by trying. The server is asked to compute it for all rows of a batch at once.

use super::expression::Expression;

/// A column, and the SQL that its value is computed by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Computed {
    pub(crate) column: String,
    pub(crate) sql: String,
    pub(crate) by: Expression,
}

/// What a check says to be computed, on either side of an `=`, also within an AND.
pub(crate) fn of_check(text: &str) -> Vec<Computed> {
    let text = bare(text);
    let parts = split(text, "AND");
    if parts.len() > 1 {
        return parts.into_iter().flat_map(of_check).collect();
    }
    let sides = split(text, "=");
    let [left, right] = sides[..] else { return Vec::new() };
    let computed = |column: &str, sql: &str| {
        let (Expression::Column(column), by) = (Expression::parse(column), Expression::parse(sql)) else {
            return None;
        };
        let columns = by.columns();
        let others = !columns.is_empty() && !columns.contains(&column.as_str());
        others.then(|| Computed { column, sql: sql.to_owned(), by: by.clone() })
    };
    computed(left, right).or_else(|| computed(right, left)).into_iter().collect()
}

/// Without parentheses around all of it.
fn bare(text: &str) -> &str {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('(').and_then(|text| text.strip_suffix(')')) else { return text };
    let mut depth = 0;
    for (_, c) in unquoted(inner) {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth < 0 {
            return text;
        }
    }
    bare(inner)
}

/// The characters that stand in no quotes, with their places.
fn unquoted(text: &str) -> impl Iterator<Item = (usize, char)> {
    let mut quote = None;
    text.char_indices().filter(move |(_, c)| match quote {
        Some(open) if *c == open => {
            quote = None;
            false
        }
        Some(_) => false,
        None if matches!(c, '\'' | '"') => {
            quote = Some(*c);
            false
        }
        None => true,
    })
}

/// The parts between a word or a sign that stands outside of parentheses, between blanks.
fn split<'a>(text: &'a str, by: &str) -> Vec<&'a str> {
    let (mut depth, mut parts, mut from) = (0, Vec::new(), 0);
    for (at, c) in unquoted(text) {
        depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        let here = depth == 0 && c == ' ' && text[at + 1..].starts_with(by);
        if here && text[at + 1 + by.len()..].starts_with(' ') {
            parts.push(text[from..at].trim());
            from = at + 1 + by.len();
        }
    }
    parts.push(text[from..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_computed_is_found_on_either_side_of_an_equals_sign() {
        let check = |text: &str, found: &[(&str, &str)]| {
            let computed = of_check(text);
            let computed: Vec<(&str, &str)> =
                computed.iter().map(|one| (one.column.as_str(), one.sql.as_str())).collect();
            assert_eq!(computed, found, "{text}");
        };
        check("(slug = public.slugify(name))", &[("slug", "public.slugify(name)")]);
        check("((md5(body) = (hash)::text) AND (n > 0))", &[("hash", "md5(body)")]);
        check("(a = f(b, ' = '::text))", &[("a", "f(b, ' = '::text)")]);
        check("(a = 5)", &[]);
        check("(a = lower(a))", &[]);
        check("((a = f(b)) OR (c > 1))", &[]);
        check("", &[]);
    }
}

//! Takes values out of the conditions of a plan.

/// The expression with `?` for each constant, as PostgreSQL prints expressions in plans.
///
/// Names, parameters (`$1`) and the numbers of subplans stay.
///
/// ```
/// use db_insight::masked;
///
/// assert_eq!(masked("((note)::text = 'secret'::text) AND (id > 17)"), "((note)::text = ?::text) AND (id > ?)");
/// assert_eq!(masked("(hashed SubPlan 1)"), "(hashed SubPlan 1)");
/// ```
#[must_use]
pub fn masked(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => {
                // `E'…'` has its mark before the quote, and backslashes in it.
                let escapes = ends_with_mark(&out);
                if escapes {
                    out.pop();
                }
                out.push('?');
                string_end(rest, escapes)
            }
            '"' => {
                let end = quoted_end(rest);
                out.push_str(rest.get(..end).unwrap_or_default());
                end
            }
            digit if digit.is_ascii_digit() => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.')).unwrap_or(rest.len());
                if is_position(&out) {
                    out.push_str(rest.get(..end).unwrap_or_default());
                } else {
                    out.push('?');
                }
                end
            }
            word if word.is_alphabetic() || matches!(word, '_' | '$') => {
                let end = rest
                    .find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$')))
                    .unwrap_or(rest.len());
                out.push_str(rest.get(..end).unwrap_or_default());
                end
            }
            other => {
                out.push(other);
                other.len_utf8()
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    out
}

/// Whether an `E` that stands alone is the last thing.
fn ends_with_mark(out: &str) -> bool {
    let mut back = out.chars().rev();
    back.next() == Some('E') && !back.next().is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '"'))
}

fn string_end(text: &str, escapes: bool) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if escapes => at += 1,
            b'\'' if bytes.get(at + 1) == Some(&b'\'') => at += 1,
            b'\'' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

fn quoted_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' if bytes.get(at + 1) == Some(&b'"') => at += 1,
            b'"' => return at + 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// Whether a number here counts plans or columns, or is a part of a type, and is no value.
fn is_position(out: &str) -> bool {
    let before = out.trim_end();
    ["SubPlan", "InitPlan"].iter().any(|word| before.ends_with(word)) || is_type_modifier(before)
}

/// `character varying(10`, `numeric(10,2`: the parenthesis follows a type behind `::`.
fn is_type_modifier(before: &str) -> bool {
    let Some((head, inside)) = before.rsplit_once('(') else { return false };
    if !inside.chars().all(|c| c.is_ascii_digit() || matches!(c, ',' | ' ')) {
        return false;
    }
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | ' ' | '"' | '.');
    head.trim_end_matches(is_name).ends_with("::")
}

#[cfg(test)]
mod tests {
    use super::masked;

    #[test]
    fn no_constant_comes_through() {
        let check = |from: &str, to: &str| assert_eq!(masked(from), to);
        check("(a = 'it''s'::text)", "(a = ?::text)");
        check("(a = E'a\\'b'::text)", "(a = ?::text)");
        check("(a ~~ '%x''%'::text)", "(a ~~ ?::text)");
        check("(a = ANY ('{1,2,secret}'::text[]))", "(a = ANY (?::text[]))");
        check("(x2 = 1.5e10)", "(x2 = ?)");
        check("((c)::character varying(10) = 'b'::bpchar)", "((c)::character varying(10) = ?::bpchar)");
        check("((c)::numeric(10,2) = 5)", "((c)::numeric(10,2) = ?)");
        check("((InitPlan 1).col1 < $12)", "((InitPlan 1).col1 < $12)");
        check("(\"Weird'Name\" = 'v')", "(\"Weird'Name\" = ?)");
        check("('unfinished", "(?");
    }
}

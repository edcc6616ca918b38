//! The shape of a statement: what may be said of it where its values may not.

use super::tokens::{Token, Tokens};

/// The longest fingerprint, in bytes; what is longer ends in `…`.
const LONGEST: usize = 200;

/// The statement without comments, its constants replaced by `?`, its white space by single spaces.
pub(crate) fn fingerprint(sql: &str) -> String {
    let mut shape = String::new();
    let mut end = None;
    for (token, place) in Tokens::of(sql) {
        if end.is_some_and(|end| end != place.start) {
            shape.push(' ');
        }
        end = Some(place.end);
        // A parameter, `$1`, is a sign and a constant without a space between them: it stays as it is.
        let constant = token == Token::Constant && !shape.ends_with('$');
        let text = if constant { "?" } else { sql.get(place).unwrap_or("?") };
        if shape.len() + text.len() > LONGEST {
            shape.push('…');
            break;
        }
        shape.push_str(text);
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sql: &str, shape: &str) {
        assert_eq!(fingerprint(sql), shape);
    }

    #[test]
    fn values_and_comments_go_and_the_rest_stays() {
        check("SELECT  * FROM t\nWHERE a = $1", "SELECT * FROM t WHERE a = $1");
        check("SELECT 'secret', 42, 4.5e3, E'it\\'s' -- why\nFROM \"T\"", "SELECT ?, ?, ?.?, ? FROM \"T\"");
        check("INSERT INTO t VALUES ($$secret$$)", "INSERT INTO t VALUES (?)");
        check("SELECT 'secret without an end", "SELECT ?");
        assert!(fingerprint(&"SELECT aaaaaaaaaaaaaaaaaaaaaaaa ".repeat(100)).len() <= LONGEST + 4);
    }
}

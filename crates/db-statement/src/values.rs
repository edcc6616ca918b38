//! Where a statement's values stand: its constants and parameters, in the order of the text, and what each is
//! for.

use crate::lexer::{Kind, Lexer};

/// How many values of one text are told.
pub const MOST_VALUES: usize = 256;

/// What a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ValueRole {
    /// Compared by `=`, `IN` or `= ANY`.
    Equal,
    /// Where to go on: compared by `<`, `>`, `<=`, `>=` or `BETWEEN`, or the number behind `OFFSET`.
    Cursor,
    /// The number behind `LIMIT` or `FETCH FIRST`.
    Limit,
    /// Anything else.
    Other,
}

/// One value of a statement's text: a parameter by its number, or a constant by a hash of its spelling.
///
/// ```
/// use db_statement::{ValueRole, values};
///
/// let found = values("SELECT id FROM orders WHERE shop = $1 AND id > 17 ORDER BY id LIMIT 50");
/// let roles: Vec<_> = found.iter().map(|value| value.role).collect();
/// assert_eq!(roles, [ValueRole::Equal, ValueRole::Cursor, ValueRole::Limit]);
/// assert_eq!((found[0].parameter, found[2].number), (Some(1), Some(50)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value {
    /// What it is for.
    pub role: ValueRole,
    /// The parameter's number, counted from 1; none for a constant.
    pub parameter: Option<u16>,
    /// A hash of the constant's spelling (FNV-1a); none for a parameter.
    pub constant: Option<u64>,
    /// The constant itself where it is a whole number behind `LIMIT`.
    pub number: Option<u64>,
}

/// The values of a text, in its order, comments left out; the first [`MOST_VALUES`] of them.
pub fn values(text: &str) -> Vec<Value> {
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    let mut outer = vec![ValueRole::Other];
    let mut role = ValueRole::Other;
    while let Some(token) = lexer.next() {
        let text = lexer.text(token);
        match token.kind {
            Kind::Parameter | Kind::Text | Kind::Integer | Kind::Number => {
                if found.len() == MOST_VALUES {
                    break;
                }
                found.push(value(token.kind, text, role));
                role = outer.last().copied().unwrap_or(ValueRole::Other);
            }
            Kind::Operator => role = of_operator(text),
            Kind::Word => role = of_word(text).unwrap_or(role),
            Kind::Mark(b'(' | b'[') => outer.push(role),
            Kind::Mark(b')' | b']') => {
                if outer.len() > 1 {
                    outer.pop();
                }
                role = outer.last().copied().unwrap_or(ValueRole::Other);
            }
            Kind::Mark(b',') => role = outer.last().copied().unwrap_or(ValueRole::Other),
            Kind::Mark(_) | Kind::Cast | Kind::Quoted | Kind::Unicode => {}
        }
    }
    found
}

fn value(kind: Kind, text: &str, role: ValueRole) -> Value {
    let parameter = if kind == Kind::Parameter { text.get(1..).and_then(|n| n.parse().ok()) } else { None };
    let is_number = kind == Kind::Integer && role == ValueRole::Limit;
    Value {
        role,
        parameter,
        constant: if kind == Kind::Parameter { None } else { Some(hash(text)) },
        number: if is_number { text.parse().ok() } else { None },
    }
}

fn of_operator(text: &str) -> ValueRole {
    match text {
        "=" => ValueRole::Equal,
        "<" | ">" | "<=" | ">=" => ValueRole::Cursor,
        _ => ValueRole::Other,
    }
}

/// What a word begins; none where it changes nothing, as a name or a type does.
fn of_word(text: &str) -> Option<ValueRole> {
    let is = |word: &str| text.eq_ignore_ascii_case(word);
    if is("limit") || is("first") || is("next") {
        Some(ValueRole::Limit)
    } else if is("offset") || is("between") {
        Some(ValueRole::Cursor)
    } else if is("in") {
        Some(ValueRole::Equal)
    } else if ["select", "from", "where", "or", "order", "values", "set", "like", "ilike", "interval"]
        .iter()
        .any(|word| is(word))
    {
        Some(ValueRole::Other)
    } else {
        None
    }
}

fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ValueRole::{Cursor, Equal, Limit, Other};

    fn roles(text: &str) -> Vec<ValueRole> {
        values(text).iter().map(|value| value.role).collect()
    }

    #[test]
    fn a_value_is_for_what_stands_before_it() {
        assert_eq!(roles("select * from t where a = $1 and b = any($2)"), [Equal, Equal]);
        assert_eq!(roles("select * from t where (a, id) < ($1, $2) limit $3"), [Cursor, Cursor, Limit]);
        assert_eq!(
            roles("select * from t where a in (1, 2) offset 100 limit 10"),
            [Equal, Equal, Cursor, Limit]
        );
        assert_eq!(roles("insert into t values ($1, 'x')"), [Other, Other]);
        assert_eq!(roles("update t set a = a + $1 where id = $2"), [Other, Equal]);
        assert_eq!(roles("select * from t where a between $1 and $2"), [Cursor, Other]);
    }

    #[test]
    fn constants_are_told_by_their_spelling_and_comments_are_not_read() {
        let check = |left: &str, right: &str| values(left) == values(right);
        assert!(check("select 1 /* trace 17 */ + 2", "select 1 + 2 -- 99"));
        assert!(!check("select * from t where a = 1", "select * from t where a = 2"));
        assert_eq!(values(&"1,".repeat(1000)).len(), MOST_VALUES);
    }
}

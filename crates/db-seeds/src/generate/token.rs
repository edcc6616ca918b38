//! Splits a condition, as `pg_get_expr` prints it, into words, signs and values.

/// A domain's condition as SQL about a column: `VALUE` is the column, but not in quotes and not in longer
/// words.
pub(crate) fn about_column(condition: &str, column: &str) -> String {
    let (mut sql, mut in_quotes, mut word) = (String::new(), None, String::new());
    let end = |word: &mut String, sql: &mut String| {
        sql.push_str(if word == "VALUE" { column } else { word });
        word.clear();
    };
    for c in condition.chars() {
        match in_quotes {
            Some(quote) if c == quote => in_quotes = None,
            None if matches!(c, '\'' | '"') => in_quotes = Some(c),
            None if c.is_alphanumeric() || c == '_' => {
                word.push(c);
                continue;
            }
            _ => {}
        }
        end(&mut word, &mut sql);
        sql.push(c);
    }
    end(&mut word, &mut sql);
    sql
}

/// A word, a sign or a value of a condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// A bare word, in lower case.
    Word(String),
    /// A name in double quotes, as it is.
    Name(String),
    Number(f64),
    Text(String),
    Operator(String),
    Open,
    Close,
    OpenBracket,
    CloseBracket,
    Comma,
    Dot,
    Cast,
}

/// Splits the text; `None` where it is not a condition of PostgreSQL.
pub(crate) fn tokens(text: &str) -> Option<Vec<Token>> {
    const OPERATOR: &str = "+-*/<>=~!@#%^&|`?";
    let characters: Vec<char> = text.chars().collect();
    let (mut at, mut found) = (0, Vec::new());
    while let Some(&c) = characters.get(at) {
        let next = characters.get(at + 1).copied();
        match c {
            c if c.is_whitespace() => at += 1,
            '(' => (at, _) = (at + 1, found.push(Token::Open)),
            ')' => (at, _) = (at + 1, found.push(Token::Close)),
            '[' => (at, _) = (at + 1, found.push(Token::OpenBracket)),
            ']' => (at, _) = (at + 1, found.push(Token::CloseBracket)),
            ',' => (at, _) = (at + 1, found.push(Token::Comma)),
            '.' if !next.is_some_and(|next| next.is_ascii_digit()) => {
                (at, _) = (at + 1, found.push(Token::Dot));
            }
            ':' if next == Some(':') => (at, _) = (at + 2, found.push(Token::Cast)),
            '\'' => found.push(Token::Text(quoted(&characters, &mut at, '\'', false)?)),
            'E' | 'e' if next == Some('\'') => {
                at += 1;
                found.push(Token::Text(quoted(&characters, &mut at, '\'', true)?));
            }
            // A string of bits.
            'B' | 'b' if next == Some('\'') => {
                at += 1;
                found.push(Token::Text(quoted(&characters, &mut at, '\'', false)?));
            }
            '"' => found.push(Token::Name(quoted(&characters, &mut at, '"', false)?)),
            c if c.is_ascii_digit() || c == '.' => {
                let begun = at;
                while characters.get(at).is_some_and(|c| {
                    c.is_ascii_digit()
                        || matches!(c, '.' | 'e' | 'E')
                        || (matches!(c, '+' | '-') && matches!(characters[at - 1], 'e' | 'E'))
                }) {
                    at += 1;
                }
                let number: String = characters[begun..at].iter().collect();
                found.push(Token::Number(number.parse().ok()?));
            }
            c if c.is_alphabetic() || c == '_' => {
                let begun = at;
                while characters.get(at).is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$')) {
                    at += 1;
                }
                let word: String = characters[begun..at].iter().collect();
                // The value of a domain; a column of that name would stand in quotes.
                match word.as_str() {
                    "VALUE" => found.push(Token::Name(word)),
                    _ => found.push(Token::Word(word.to_lowercase())),
                }
            }
            c if OPERATOR.contains(c) => {
                let begun = at;
                while characters.get(at).is_some_and(|c| OPERATOR.contains(*c)) {
                    at += 1;
                }
                found.push(Token::Operator(characters[begun..at].iter().collect()));
            }
            _ => return None,
        }
    }
    Some(found)
}

/// Reads what stands in quotes, and leaves `at` behind it.
fn quoted(characters: &[char], at: &mut usize, quote: char, escapes: bool) -> Option<String> {
    let mut text = String::new();
    *at += 1;
    loop {
        let c = *characters.get(*at)?;
        *at += 1;
        if c == quote {
            if characters.get(*at) != Some(&quote) {
                return Some(text);
            }
            *at += 1;
        } else if escapes && c == '\\' {
            let escaped = *characters.get(*at)?;
            *at += 1;
            text.push(match escaped {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            });
            continue;
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::about_column;

    #[test]
    fn the_value_of_a_domain_becomes_the_column() {
        let of = about_column("((VALUE > 0) AND (f(VALUE, 'VALUE', \"VALUE\") <> OVALUE))", "\"a b\"");
        assert_eq!(of, "((\"a b\" > 0) AND (f(\"a b\", 'VALUE', \"VALUE\") <> OVALUE))");
    }
}

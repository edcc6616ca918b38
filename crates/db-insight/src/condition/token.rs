//! Cuts an expression of a plan into tokens.

/// A token of an expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Open,
    Close,
    Comma,
    Dot,
    Cast,
    Bracket(bool),
    Word(String),
    Quoted(String),
    Constant(String),
    Parameter,
    Symbol(String),
}

/// The tokens of an expression; what is damaged is taken as it comes.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let until = |stop: &dyn Fn(char) -> bool| rest.find(stop).unwrap_or(rest.len()).max(first.len_utf8());
        let taken = |end: usize| rest.get(..end).unwrap_or_default().to_owned();
        let length = match first {
            space if space.is_whitespace() => first.len_utf8(),
            '(' | ')' | ',' | '[' | ']' => {
                tokens.push(match first {
                    '(' => Token::Open,
                    ')' => Token::Close,
                    ',' => Token::Comma,
                    other => Token::Bracket(other == '['),
                });
                1
            }
            '\'' => {
                let escapes = tokens.last() == Some(&Token::Word("E".to_owned()));
                if escapes {
                    tokens.pop();
                }
                let (value, end) = string(rest, escapes);
                tokens.push(Token::Constant(value));
                end
            }
            '"' => {
                let (value, end) = quoted(rest);
                tokens.push(Token::Quoted(value));
                end
            }
            '$' => {
                tokens.push(Token::Parameter);
                until(&|c| !(c.is_ascii_digit() || c == '$'))
            }
            digit if digit.is_ascii_digit() => {
                let end = until(&|c| !(c.is_ascii_alphanumeric() || c == '.'));
                tokens.push(Token::Constant(taken(end)));
                end
            }
            word if word.is_alphabetic() || word == '_' => {
                let end = until(&|c| !(c.is_alphanumeric() || matches!(c, '_' | '$')));
                tokens.push(Token::Word(taken(end)));
                end
            }
            '.' => {
                tokens.push(Token::Dot);
                1
            }
            _ if rest.starts_with("::") => {
                tokens.push(Token::Cast);
                2
            }
            _ => {
                let end = until(&|c| !"+-*/<>=~!@#%^&|`?:".contains(c));
                tokens.push(Token::Symbol(taken(end)));
                end
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

fn string(text: &str, escapes: bool) -> (String, usize) {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => value.extend(chars.next().map(|(_, c)| c)),
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                value.push('\'');
            }
            '\'' => return (value, at + 1),
            other => value.push(other),
        }
    }
    (value, text.len())
}

fn quoted(text: &str) -> (String, usize) {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                chars.next();
                value.push('"');
            }
            '"' => return (value, at + 1),
            other => value.push(other),
        }
    }
    (value, text.len())
}

//! Cuts SQL into tokens, as far as finding the ends of statements needs it.
//!
//! The rules are those of PostgreSQL's scan.l: longest match, comments nest, a dollar quote needs its own tag
//! to end, and a string that goes on behind a line break goes on in its own mode. What never ends reaches to
//! the end of the text.

use std::ops::Range;

/// What a token is, as far as splitting cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// White space or a comment.
    Blank,
    /// A keyword or a name without quotes.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string, in quotes or dollar quotes.
    Text,
    /// One other character.
    Mark(u8),
}

/// Goes through a text token by token; the tokens together are the text.
#[derive(Debug, Clone)]
pub(crate) struct Lexer<'a> {
    sql: &'a str,
    at: usize,
    /// Whether a backslash escapes in plain strings: `standard_conforming_strings = off`.
    pub(crate) backslashes: bool,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(sql: &'a str, backslashes: bool) -> Self {
        Lexer { sql, at: 0, backslashes }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.sql.as_bytes().get(at).copied()
    }

    fn starts(&self, at: usize, what: &str) -> bool {
        self.sql.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(what.as_bytes()))
    }

    /// The first place from `at` on whose byte is not `wanted`.
    fn skip(&self, at: usize, wanted: impl Fn(u8) -> bool) -> usize {
        let rest = self.sql.as_bytes().get(at..).unwrap_or_default();
        at + rest.iter().position(|byte| !wanted(*byte)).unwrap_or(rest.len())
    }

    fn end_of_token(&self, first: u8) -> (Token, usize) {
        let at = self.at;
        match first {
            _ if is_space(first) => (Token::Blank, self.skip(at, is_space)),
            b'-' if self.starts(at, "--") => (Token::Blank, self.skip(at, |byte| !is_newline(byte))),
            b'/' if self.starts(at, "/*") => (Token::Blank, self.end_of_comment()),
            b'\'' => (Token::Text, self.end_of_string(at + 1, self.backslashes)),
            b'"' => (Token::Quoted, self.end_of_quoted(at + 1)),
            b'$' => match self.dollar_tag() {
                Some(tag) => (Token::Text, self.end_of_dollars(tag)),
                None => (Token::Mark(first), at + 1),
            },
            b'e' | b'E' if self.byte(at + 1) == Some(b'\'') => {
                (Token::Text, self.end_of_string(at + 2, true))
            }
            b'b' | b'B' | b'x' | b'X' if self.byte(at + 1) == Some(b'\'') => {
                (Token::Text, self.end_of_string(at + 2, false))
            }
            _ if is_name_start(first) => (Token::Word, self.skip(at, is_name)),
            _ => (Token::Mark(first), at + 1),
        }
    }

    fn end_of_comment(&self) -> usize {
        let (mut at, mut depth) = (self.at + 2, 1);
        while depth > 0 && at < self.sql.len() {
            if self.starts(at, "/*") {
                (at, depth) = (at + 2, depth + 1);
            } else if self.starts(at, "*/") {
                (at, depth) = (at + 2, depth - 1);
            } else {
                at += 1;
            }
        }
        at
    }

    fn end_of_quoted(&self, mut at: usize) -> usize {
        loop {
            at = self.skip(at, |byte| byte != b'"');
            if !self.starts(at, "\"\"") {
                return (at + 1).min(self.sql.len());
            }
            at += 2;
        }
    }

    fn end_of_string(&self, mut at: usize, backslashes: bool) -> usize {
        loop {
            at = self.skip(at, |byte| byte != b'\'' && !(backslashes && byte == b'\\'));
            match self.byte(at) {
                Some(b'\\') => at += 2,
                Some(_) if self.starts(at, "''") => at += 2,
                Some(_) => match self.continued(at + 1).filter(|_| backslashes) {
                    Some(next) => at = next,
                    None => return at + 1,
                },
                None => return self.sql.len(),
            }
        }
    }

    /// Where a string goes on that was interrupted by a line break: behind the next quote.
    fn continued(&self, mut at: usize) -> Option<usize> {
        let mut broken = false;
        loop {
            match self.byte(at)? {
                b'\'' if broken => return Some(at + 1),
                byte if is_space(byte) => {
                    broken |= is_newline(byte);
                    at += 1;
                }
                b'-' if self.starts(at, "--") => at = self.skip(at, |byte| !is_newline(byte)),
                _ => return None,
            }
        }
    }

    /// The tag of the dollar quote that begins here, with both dollars.
    fn dollar_tag(&self) -> Option<&'a str> {
        let name = self.at + 1;
        let end = match self.byte(name)? {
            b'$' => name,
            first if is_name_start(first) => self.skip(name, |byte| is_name(byte) && byte != b'$'),
            _ => return None,
        };
        (self.byte(end)? == b'$').then(|| self.sql.get(self.at..=end))?
    }

    fn end_of_dollars(&self, tag: &str) -> usize {
        let body = self.at + tag.len();
        match self.sql.get(body..).and_then(|rest| rest.find(tag)) {
            Some(found) => body + found + tag.len(),
            None => self.sql.len(),
        }
    }
}

impl Iterator for Lexer<'_> {
    type Item = (Token, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let (token, end) = self.end_of_token(self.byte(start)?);
        // A backslash before the last byte of an unfinished string would lead beyond it.
        self.at = end.min(self.sql.len());
        Some((token, start..self.at))
    }
}

fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

fn is_name(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit() || byte == b'$'
}

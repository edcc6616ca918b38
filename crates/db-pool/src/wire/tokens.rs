//! Tokens of SQL text, as far as reading it over the shoulder needs them.
//!
//! Source: the PostgreSQL manual, "Lexical Structure". Comments nest, quotes double, dollar quotes are
//! constants; text that ends in the middle of one of them ends there.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A key word or a name.
    Word(&'a [u8]),
    /// A name in quotes, without them.
    Quoted(&'a [u8]),
    /// A name in quotes with Unicode escapes, `U&"…"`: it may be any.
    Escaped,
    /// A text, or a number.
    Constant,
    /// Any other sign.
    Sign(u8),
}

/// The tokens of SQL text and where each begins and ends, without comments and white space.
pub(super) struct Tokens<'a> {
    whole: &'a str,
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn of(sql: &'a str) -> Self {
        Tokens { whole: sql, rest: sql.as_bytes() }
    }

    fn at(&self) -> usize {
        self.whole.len() - self.rest.len()
    }

    fn skip(&mut self, count: usize) -> &'a [u8] {
        let (skipped, rest) = self.rest.split_at(count.min(self.rest.len()));
        self.rest = rest;
        skipped
    }

    fn token(&mut self) -> Token<'a> {
        match *self.rest {
            [b'e' | b'E', b'\'', ..] => {
                self.skip(1);
                self.skip(quoted(self.rest, true));
                Token::Constant
            }
            [b'u' | b'U', b'&', b'"', ..] => {
                self.skip(2);
                self.skip(quoted(self.rest, false));
                Token::Escaped
            }
            [b'\'', ..] => {
                self.skip(quoted(self.rest, false));
                Token::Constant
            }
            [b'"', ..] => {
                let name = self.skip(quoted(self.rest, false));
                Token::Quoted(name.get(1..name.len().max(2) - 1).unwrap_or_default())
            }
            [b'$', ..] => match dollar_quoted(self.rest) {
                1 => self.sign(b'$'),
                length => {
                    self.skip(length);
                    Token::Constant
                }
            },
            [first, ..] if in_word(first) => {
                let end = self.rest.iter().position(|byte| !in_word(*byte) && *byte != b'$');
                let word = self.skip(end.unwrap_or(self.rest.len()));
                if first.is_ascii_digit() { Token::Constant } else { Token::Word(word) }
            }
            [sign, ..] => self.sign(sign),
            [] => Token::Sign(b' '),
        }
    }

    fn sign(&mut self, sign: u8) -> Token<'a> {
        self.skip(1);
        Token::Sign(sign)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token<'a>, std::ops::Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.rest {
                [] => return None,
                [space, ..] if space.is_ascii_whitespace() => {
                    self.skip(1);
                }
                [b'-', b'-', ..] => {
                    self.skip(find(self.rest, b"\n"));
                }
                [b'/', b'*', ..] => {
                    self.skip(comment(self.rest));
                }
                _ => {
                    let begin = self.at();
                    let token = self.token();
                    return Some((token, begin..self.at()));
                }
            }
        }
    }
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Where `needle` ends in `bytes`, or where these end.
fn find(bytes: &[u8], needle: &[u8]) -> usize {
    let at = bytes.windows(needle.len().max(1)).position(|window| window == needle);
    at.map_or(bytes.len(), |at| at + needle.len())
}

/// The length of a comment, those inside it included.
fn comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of a text in quotes of the kind that it begins with; a doubled one stands for itself.
fn quoted(bytes: &[u8], escapes: bool) -> usize {
    let quote = bytes[0];
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at..] {
            [b'\\', _, ..] if escapes => at += 2,
            [one, two, ..] if one == quote && two == quote => at += 2,
            [one, ..] if one == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The length of `$tag$…$tag$`; of the sign alone where that is not what begins here.
fn dollar_quoted(bytes: &[u8]) -> usize {
    let Some(end) = bytes.iter().skip(1).position(|byte| !in_word(*byte)) else { return 1 };
    let tag = &bytes[..end + 2];
    if !tag.ends_with(b"$") || tag.get(1).is_some_and(u8::is_ascii_digit) {
        return 1;
    }
    tag.len() + find(&bytes[tag.len()..], tag)
}

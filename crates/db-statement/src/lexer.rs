//! Cuts SQL into tokens by the rules of PostgreSQL's scan.l.
//!
//! Longest match, comments nest, a dollar quote needs its own tag to end, a string goes on behind a line
//! break, and a backslash escapes in `E''` only. What never ends reaches to the end of the text, and no input
//! is an error.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A name as `U&"…"`, with its `UESCAPE`.
    Unicode,
    /// A string of any sort.
    Text,
    /// A number without fraction and exponent, written in decimal.
    Integer,
    /// Any other number.
    Number,
    /// `$1`.
    Parameter,
    /// An operator.
    Operator,
    /// `(`, `)`, `[`, `]`, `,`, `;`, `.`, `:` or a character that has no meaning; the byte is its first.
    Mark(u8),
    /// `::`.
    Cast,
}

/// A token and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Goes through a text token by token, over white space and comments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    /// The text of a token.
    pub(crate) fn text(&self, token: Token) -> &'a str {
        self.text.get(token.start..token.end).unwrap_or_default()
    }

    /// The bytes of the whole text.
    #[inline]
    pub(crate) fn whole(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The bytes of a token.
    #[inline]
    pub(crate) fn bytes(&self, token: Token) -> &'a [u8] {
        self.text.as_bytes().get(token.start..token.end).unwrap_or_default()
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> Option<Token> {
        let start = self.blanks_end(self.at);
        let first = self.byte(start)?;
        let (kind, end) = self.token(start, first);
        // A backslash before the last byte of an unfinished string would lead beyond it.
        let end = end.min(self.text.len());
        self.at = end;
        Some(Token { kind, start, end })
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn class(&self, at: usize) -> u8 {
        self.byte(at).map_or(0, |byte| CLASS[byte as usize])
    }

    fn starts(&self, at: usize, what: &[u8]) -> bool {
        self.text.as_bytes().get(at..).is_some_and(|rest| rest.starts_with(what))
    }

    /// The first place from `at` on whose byte is of none of the classes.
    fn skip(&self, at: usize, classes: u8) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        at + rest.iter().position(|byte| CLASS[*byte as usize] & classes == 0).unwrap_or(rest.len())
    }

    fn blanks_end(&self, mut at: usize) -> usize {
        loop {
            at = self.skip(at, SPACE);
            match self.byte(at) {
                Some(b'-') if self.byte(at + 1) == Some(b'-') => at = self.line_end(at),
                Some(b'/') if self.byte(at + 1) == Some(b'*') => at = self.comment_end(at),
                _ => return at,
            }
        }
    }

    fn line_end(&self, at: usize) -> usize {
        let rest = self.text.as_bytes().get(at..).unwrap_or_default();
        at + rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len())
    }

    fn comment_end(&self, start: usize) -> usize {
        let (mut at, mut depth) = (start + 2, 1_usize);
        while depth > 0 && at < self.text.len() {
            if self.starts(at, b"/*") {
                (at, depth) = (at + 2, depth + 1);
            } else if self.starts(at, b"*/") {
                (at, depth) = (at + 2, depth - 1);
            } else {
                at += 1;
            }
        }
        at
    }

    #[inline(always)]
    fn token(&self, at: usize, first: u8) -> (Kind, usize) {
        match first {
            b'\'' => (Kind::Text, self.string_end(at + 1, false)),
            b'"' => (Kind::Quoted, self.quoted_end(at + 1)),
            b'$' => self.dollar(at),
            b'0'..=b'9' => self.number(at),
            b'.' if self.byte(at + 1) == Some(b'.') => (Kind::Operator, at + 2),
            b'.' if self.class(at + 1) & DIGIT != 0 => self.number(at),
            b':' if self.byte(at + 1) == Some(b':') => (Kind::Cast, at + 2),
            b':' if self.byte(at + 1) == Some(b'=') => (Kind::Operator, at + 2),
            _ if CLASS[first as usize] & START != 0 => self.word(at, first),
            _ if CLASS[first as usize] & OPERATOR != 0 => (Kind::Operator, self.operator_end(at)),
            _ => (Kind::Mark(first), at + 1),
        }
    }

    fn word(&self, at: usize, first: u8) -> (Kind, usize) {
        let end = self.skip(at + 1, NAME);
        if end > at + 1 {
            return (Kind::Word, end);
        }
        // One letter: it may be the prefix of a string.
        match (first | 0x20, self.byte(at + 1)) {
            (b'e', Some(b'\'')) => (Kind::Text, self.string_end(at + 2, true)),
            (b'b' | b'x' | b'n', Some(b'\'')) => (Kind::Text, self.string_end(at + 2, false)),
            (b'u', Some(b'&')) => match self.byte(at + 2) {
                Some(b'\'') => (Kind::Text, self.uescape_end(self.string_end(at + 3, false))),
                Some(b'"') => (Kind::Unicode, self.uescape_end(self.quoted_end(at + 3))),
                _ => (Kind::Word, end),
            },
            _ => (Kind::Word, end),
        }
    }

    fn quoted_end(&self, mut at: usize) -> usize {
        loop {
            let rest = self.text.as_bytes().get(at..).unwrap_or_default();
            at += rest.iter().position(|byte| *byte == b'"').unwrap_or(rest.len());
            if self.byte(at + 1) != Some(b'"') {
                return at + 1;
            }
            at += 2;
        }
    }

    fn string_end(&self, mut at: usize, backslashes: bool) -> usize {
        loop {
            let rest = self.text.as_bytes().get(at..).unwrap_or_default();
            let ends = |byte: &u8| *byte == b'\'' || (backslashes && *byte == b'\\');
            at += rest.iter().position(ends).unwrap_or(rest.len());
            match self.byte(at) {
                Some(b'\\') => at += self.escaped_len(at),
                Some(_) if self.byte(at + 1) == Some(b'\'') => at += 2,
                Some(_) => match self.continuation(at + 1) {
                    Some(next) => at = next,
                    None => return at + 1,
                },
                None => return self.text.len(),
            }
        }
    }

    /// The length of a backslash and the character behind it, so that no character is cut.
    fn escaped_len(&self, at: usize) -> usize {
        let rest = self.text.get(at + 1..).unwrap_or_default();
        1 + rest.chars().next().map_or(0, char::len_utf8)
    }

    /// Where a string goes on that was interrupted by a line break: behind the next quote.
    fn continuation(&self, mut at: usize) -> Option<usize> {
        let mut broken = false;
        loop {
            match self.byte(at)? {
                b'\'' if broken => return Some(at + 1),
                byte if CLASS[byte as usize] & SPACE != 0 => {
                    broken |= matches!(byte, b'\n' | b'\r');
                    at += 1;
                }
                b'-' if self.byte(at + 1) == Some(b'-') => at = self.line_end(at),
                _ => return None,
            }
        }
    }

    /// Where the `UESCAPE 'c'` behind `at` ends, or `at` where there is none.
    fn uescape_end(&self, at: usize) -> usize {
        let word = self.blanks_end(at);
        let end = self.skip(word, NAME);
        let is_uescape = self.text.get(word..end).is_some_and(|word| word.eq_ignore_ascii_case("uescape"));
        let quote = self.blanks_end(end);
        if is_uescape && self.byte(quote) == Some(b'\'') { self.string_end(quote + 1, false) } else { at }
    }

    /// A dollar quote, a parameter, or a lonely dollar.
    fn dollar(&self, at: usize) -> (Kind, usize) {
        if self.class(at + 1) & DIGIT != 0 {
            return (Kind::Parameter, self.skip(at + 1, DIGIT));
        }
        let tag_end = if self.class(at + 1) & START != 0 { self.skip(at + 1, START | DIGIT) } else { at + 1 };
        if self.byte(tag_end) != Some(b'$') {
            return (Kind::Mark(b'$'), at + 1);
        }
        let tag = self.text.get(at..=tag_end).unwrap_or_default();
        let body = self.text.get(tag_end + 1..).unwrap_or_default();
        (Kind::Text, body.find(tag).map_or(self.text.len(), |found| tag_end + 1 + found + tag.len()))
    }

    fn number(&self, at: usize) -> (Kind, usize) {
        let radix = match (self.byte(at), self.byte(at + 1).map(|byte| byte | 0x20)) {
            (Some(b'0'), Some(b'x')) => Some(HEX),
            (Some(b'0'), Some(b'o' | b'b')) => Some(DIGIT),
            _ => None,
        };
        if let Some(digits) = radix {
            let end = self.digits_end(at + 2, digits);
            if end > at + 2 {
                return (Kind::Number, end);
            }
        }
        let whole = self.digits_end(at, DIGIT);
        let mut end = whole;
        // `1..10` is a range, not a number with a fraction.
        if self.byte(end) == Some(b'.') && self.byte(end + 1) != Some(b'.') {
            end = self.digits_end(end + 1, DIGIT);
        }
        if matches!(self.byte(end), Some(b'e' | b'E')) {
            let signed = end + 1 + usize::from(matches!(self.byte(end + 1), Some(b'+' | b'-')));
            if self.class(signed) & DIGIT != 0 {
                end = self.digits_end(signed, DIGIT);
            }
        }
        (if end == whole { Kind::Integer } else { Kind::Number }, end)
    }

    /// The end of digits of a class, with single underscores between them; before the first one, too, as in
    /// `0x_1f`.
    fn digits_end(&self, mut at: usize, class: u8) -> usize {
        loop {
            at = self.skip(at, class);
            if self.byte(at) != Some(b'_') || self.class(at + 1) & class == 0 {
                return at;
            }
            at += 1;
        }
    }

    fn operator_end(&self, start: usize) -> usize {
        let mut end = start + 1;
        if self.class(end) & OPERATOR == 0 {
            return end;
        }
        while self.class(end) & OPERATOR != 0 && !self.starts(end, b"--") && !self.starts(end, b"/*") {
            end += 1;
        }
        // scan.l: an operator of several characters ends in + or - only if it holds one that SQL's own do not
        // have.
        let special = |byte: &u8| b"~!@#%^&|`?".contains(byte);
        let bytes = self.text.as_bytes().get(start..end).unwrap_or_default();
        if !bytes.iter().any(special) {
            while end > start + 1 && matches!(self.byte(end - 1), Some(b'+' | b'-')) {
                end -= 1;
            }
        }
        end
    }
}

/// Whether these bytes, without quotes, are a name that the server leaves as it is.
#[inline]
pub(crate) fn is_folded_name(name: &[u8]) -> bool {
    let class = |byte: &u8| CLASS[*byte as usize];
    name.first().is_some_and(|first| class(first) & START != 0)
        && name.iter().all(|byte| class(byte) & NAME != 0 && class(byte) & UPPER == 0)
}

const SPACE: u8 = 1;
const START: u8 = 2;
const DIGIT: u8 = 4;
const DOLLAR: u8 = 8;
const OPERATOR: u8 = 16;
const HEX: u8 = 32;
const UPPER: u8 = 64;
const NAME: u8 = START | DIGIT | DOLLAR;

const CLASS: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let one = byte as u8;
        classes[byte] = match one {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => SPACE,
            b'0'..=b'9' => DIGIT | HEX,
            b'a'..=b'f' => START | HEX,
            b'A'..=b'F' => START | HEX | UPPER,
            b'G'..=b'Z' => START | UPPER,
            b'g'..=b'z' | b'_' | 0x80..=0xff => START,
            b'$' => DOLLAR,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/'
            | b'%' | b'<' | b'>' | b'=' => OPERATOR,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<(Kind, &str)> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| lexer.next().map(|token| (token.kind, lexer.text(token)))).collect()
    }

    #[test]
    fn a_text_that_is_one_token_is_cut_into_one() {
        let check = |kind: Kind, texts: &[&str]| {
            for text in texts {
                assert_eq!(cut(text), [(kind, *text)]);
            }
        };
        check(
            Kind::Text,
            &["'a'", "'it''s'", "E'it\\'s'", "e'\\\\'", "B'01'", "X'1f'", "N'a'", "U&'\\0061'"],
        );
        check(Kind::Text, &["'a'\n'b'", "'a' -- c\n 'b'", "'a'\r\n\t'b'", "E'a\\''\n'b\\''", "'never ends"]);
        check(
            Kind::Text,
            &["$$a$$", "$a$ $$ $b$ $a$", "$é$x$é$", "$$ never ends", "E'\\", "U&'!0061' UESCAPE '!'"],
        );
        check(Kind::Integer, &["1", "1_000", "007"]);
        check(
            Kind::Number,
            &["1.5", ".5", "1.", "1e5", "1.5E-3", "0x1F", "0o17", "0b01", "0x_ff", "1_0.0_1e1_0"],
        );
        check(Kind::Operator, &["->>", "@-", "<=", ":=", "=>", "|/", "?-|", "*"]);
        check(Kind::Word, &["a", "é", "a$1", "_", "SELECT", "漢字"]);
        check(Kind::Quoted, &["\"a\"", "\"a\"\"b\"", "\"", "\"a -- b\""]);
        check(Kind::Unicode, &["U&\"\\0061\"", "u&\"!0061\" uescape '!'"]);
        check(Kind::Parameter, &["$1", "$65535"]);
    }

    #[test]
    fn what_stands_together_is_cut_apart() {
        let check = |text: &str, want: &[&str]| {
            assert_eq!(cut(text).iter().map(|(_, text)| *text).collect::<Vec<_>>(), want, "{text}");
        };
        check("a=-1", &["a", "=", "-", "1"]);
        check("a<@-1", &["a", "<@-", "1"]);
        check("a--1\n+b", &["a", "+", "b"]);
        check("a/* /* x */ y */b", &["a", "b"]);
        check("1..10", &["1", "..", "10"]);
        check("'a' 'b'", &["'a'", "'b'"]);
        check("a::int[]", &["a", "::", "int", "[", "]"]);
        check("x[1:2]", &["x", "[", "1", ":", "2", "]"]);
        check("1e", &["1", "e"]);
        check("$ $a", &["$", "$", "a"]);
        check("*/*x*/1", &["*", "1"]);
    }
}

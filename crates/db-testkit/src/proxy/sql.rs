//! Finds a COMMIT in SQL text that arrives in pieces.
//!
//! Only a statement's first word counts: `COMMIT`, or its synonym `END`. Text in quotes, in dollar quotes and
//! in comments is stepped over, and so is the `END` of a `BEGIN ATOMIC` body. The scanner keeps a few bytes
//! of state and never the text, so that a query of a gigabyte costs what a short one costs.

/// The longest word or dollar tag that is remembered; a longer one is no keyword of ours.
const WORD: usize = 64;

/// Reads one query's text and answers whether it holds a COMMIT.
#[derive(Debug, Clone)]
pub(super) struct CommitScan {
    place: Place,
    /// The word or dollar tag being read, upper-cased, cut at [`WORD`].
    word: Vec<u8>,
    /// The byte before this one, where two bytes mean one thing (`--`, `/*`, `*/`).
    before: u8,
    /// No word of the current statement has been seen yet.
    at_start: bool,
    /// The statement's last word was BEGIN, which may open an ATOMIC body.
    after_begin: bool,
    /// Open `BEGIN ATOMIC` and, inside one, CASE blocks.
    bodies: u32,
    /// The last string was `E''`: a quote that follows at once continues it.
    escaping: bool,
    found: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Word,
    LineComment,
    BlockComment(u32),
    Quoted {
        quote: u8,
        escapes: bool,
    },
    /// After a backslash in an `E''` string.
    Escaped,
    /// Between the dollars of an opening dollar quote.
    DollarTag,
    /// Inside a dollar quote; `matched` bytes of the closing tag have been seen, none being `None`.
    Dollar {
        matched: Option<usize>,
    },
}

impl Default for CommitScan {
    fn default() -> Self {
        Self {
            place: Place::Text,
            word: Vec::new(),
            before: 0,
            at_start: true,
            after_begin: false,
            bodies: 0,
            escaping: false,
            found: false,
        }
    }
}

impl CommitScan {
    /// Reads the next piece of the text.
    pub(super) fn feed(&mut self, text: &[u8]) {
        for &byte in text {
            self.step(byte);
        }
    }

    /// Ends the text and answers; the scanner is ready for the next text.
    pub(super) fn finish(&mut self) -> bool {
        if self.place == Place::Word {
            self.end_word();
        }
        let found = self.found;
        let mut word = std::mem::take(&mut self.word);
        word.clear();
        *self = Self { word, ..Self::default() };
        found
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.word.capacity()
    }

    fn step(&mut self, byte: u8) {
        let before = std::mem::replace(&mut self.before, byte);
        match self.place {
            Place::Text => self.text(before, byte),
            Place::Word => self.in_word(before, byte),
            Place::LineComment => {
                if byte == b'\n' {
                    self.place = Place::Text;
                }
            }
            Place::BlockComment(depth) => self.in_block_comment(depth, before, byte),
            Place::Quoted { quote, escapes } => {
                if byte == quote {
                    self.place = Place::Text;
                } else if escapes && byte == b'\\' {
                    self.place = Place::Escaped;
                }
            }
            Place::Escaped => self.place = Place::Quoted { quote: b'\'', escapes: true },
            Place::DollarTag => self.in_dollar_tag(before, byte),
            Place::Dollar { matched } => self.in_dollar(matched, byte),
        }
    }

    fn text(&mut self, before: u8, byte: u8) {
        match byte {
            b'-' if before == b'-' => self.place = Place::LineComment,
            b'*' if before == b'/' => {
                self.before = 0;
                self.place = Place::BlockComment(1);
            }
            b'\'' | b'"' => {
                self.leave_start();
                self.escaping &= before == byte;
                self.place = Place::Quoted { quote: byte, escapes: self.escaping };
            }
            b'$' => {
                self.leave_start();
                self.word.clear();
                self.place = Place::DollarTag;
            }
            b';' => {
                self.at_start = true;
                self.after_begin = false;
            }
            _ if is_word(byte) => {
                self.word.clear();
                self.word.push(byte.to_ascii_uppercase());
                self.place = Place::Word;
            }
            b'-' | b'/' => {}
            _ if byte.is_ascii_whitespace() => {}
            _ => self.leave_start(),
        }
    }

    fn leave_start(&mut self) {
        self.at_start = false;
        self.after_begin = false;
    }

    fn in_word(&mut self, before: u8, byte: u8) {
        if is_word(byte) || byte == b'$' {
            if self.word.len() < WORD {
                self.word.push(byte.to_ascii_uppercase());
            }
            return;
        }
        let escapes = byte == b'\'' && self.word == b"E";
        self.end_word();
        self.place = Place::Text;
        if escapes {
            self.escaping = true;
            self.place = Place::Quoted { quote: b'\'', escapes: true };
        } else {
            self.text(before, byte);
        }
    }

    fn end_word(&mut self) {
        let word = self.word.as_slice();
        if self.bodies > 0 {
            match word {
                b"CASE" => self.bodies = self.bodies.saturating_add(1),
                b"END" => self.bodies -= 1,
                _ => {}
            }
        } else if self.at_start && matches!(word, b"COMMIT" | b"END") {
            self.found = true;
        } else if self.after_begin && word == b"ATOMIC" {
            self.bodies = 1;
        }
        self.after_begin = word == b"BEGIN";
        self.at_start = false;
    }

    fn in_block_comment(&mut self, depth: u32, before: u8, byte: u8) {
        match (before, byte) {
            (b'/', b'*') => {
                self.before = 0;
                self.place = Place::BlockComment(depth.saturating_add(1));
            }
            (b'*', b'/') => {
                self.before = 0;
                self.place = if depth <= 1 { Place::Text } else { Place::BlockComment(depth - 1) };
            }
            _ => {}
        }
    }

    fn in_dollar_tag(&mut self, before: u8, byte: u8) {
        match byte {
            b'$' => self.place = Place::Dollar { matched: None },
            // `$1` is a parameter, and a tag longer than an identifier is none.
            _ if self.word.is_empty() && byte.is_ascii_digit() => self.place = Place::Text,
            _ if is_word(byte) && self.word.len() < WORD => self.word.push(byte),
            _ => {
                self.place = Place::Text;
                self.text(before, byte);
            }
        }
    }

    fn in_dollar(&mut self, matched: Option<usize>, byte: u8) {
        let next = match matched {
            Some(n) if n == self.word.len() && byte == b'$' => {
                self.place = Place::Text;
                return;
            }
            Some(n) if self.word.get(n) == Some(&byte) => Some(n + 1),
            _ if byte == b'$' => Some(0),
            _ => None,
        };
        self.place = Place::Dollar { matched: next };
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::CommitScan;

    fn check(sql: &str, expected: bool) {
        for size in 1..=sql.len() {
            let mut scan = CommitScan::default();
            sql.as_bytes().chunks(size).for_each(|piece| scan.feed(piece));
            assert_eq!(scan.finish(), expected, "{sql:?} in pieces of {size}");
        }
    }

    #[test]
    fn a_commit_is_found_wherever_a_statement_may_begin() {
        check("COMMIT", true);
        check("  cOmMiT ; ", true);
        check("END", true);
        check("commit and chain", true);
        check("COMMIT PREPARED 'x'", true);
        check("INSERT INTO t VALUES ('a;b'); COMMIT", true);
        check("-- note\nCOMMIT", true);
        check("/* a /* nested */ comment */COMMIT", true);
        check(";;commit;", true);
        check("SELECT $tag$ x $tag $tag$; commit", true);
        check(r"SELECT E'it\'s; '; COMMIT", true);
        check("SELECT $1; COMMIT", true);
        check(
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; COMMIT",
            true,
        );
    }

    #[test]
    fn a_word_that_only_looks_like_commit_is_not_one() {
        check("SELECT 'COMMIT'", false);
        check("SELECT 1 -- ; COMMIT", false);
        check("/* COMMIT */ SELECT 1", false);
        check("/* ; /* */ COMMIT */ SELECT 1", false);
        check("commitment", false);
        check("commit_log", false);
        check("SELECT commit FROM t", false);
        check("SELECT $$; COMMIT; $$", false);
        check("SELECT $a$; COMMIT; $b$ $$ $a$", false);
        check(r"SELECT E'\'; COMMIT; '", false);
        check(r"SELECT E'a''\'; COMMIT; '", false);
        check("SELECT \"; COMMIT\"", false);
        check("BEGIN", false);
        check("ROLLBACK", false);
        check("SELECT CASE WHEN a THEN b END", false);
        check("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", false);
        check(
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; SELECT 2",
            false,
        );
    }
}

//! Splits a file of SQL into statements.
//!
//! PostgreSQL runs several statements that come in one message as one transaction, so whoever wants to run
//! them one by one must know where each ends: not at a semicolon in a string, a comment, parentheses or a
//! `BEGIN ATOMIC` body.

mod lexer;

pub(crate) use lexer::{Lexer, Token};

/// One statement of a file, from its first token to its last: no comments around it and no semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement<'a> {
    /// What the server is sent.
    pub text: &'a str,
    /// Where it begins in the file, in bytes.
    pub offset: usize,
    /// The line that it begins on; the first is 1.
    pub line: usize,
}

/// How much of a statement an error quotes.
const HEAD: usize = 60;

impl Statement<'_> {
    /// How the statement begins: at most 60 characters of its first line.
    pub fn head(&self) -> String {
        let line = self.text.lines().next().unwrap_or_default().trim_end();
        // A plan may hold a million of them: with no room to spare.
        match line.char_indices().nth(HEAD) {
            Some((end, _)) => [line.get(..end).unwrap_or_default(), "…"].concat(),
            None if line.len() < self.text.len() => [line, " …"].concat(),
            None => line.to_owned(),
        }
    }

    /// The line of the file that the server points at with a position, in characters from 1; else the first
    /// line.
    pub(crate) fn line_of(&self, position: Option<usize>) -> usize {
        let end = position.and_then(|position| self.text.char_indices().nth(position.checked_sub(1)?));
        let before = end.and_then(|(end, _)| self.text.get(..end)).unwrap_or_default();
        self.line + before.bytes().filter(|byte| *byte == b'\n').count()
    }
}

/// Splits a file of SQL; what lies between the statements is white space, comments and semicolons only.
///
/// Never fails: what is not closed reaches to the end of the file, and the server will say so. It is assumed
/// that the session begins with `standard_conforming_strings = on`; a `SET` in the file is followed.
pub fn split(sql: &str) -> Vec<Statement<'_>> {
    split_as(sql, true)
}

/// [`split`] for a session in which `standard_conforming_strings` is what `standard` says.
pub(crate) fn split_as(sql: &str, standard: bool) -> Vec<Statement<'_>> {
    let mut lexer = Lexer::new(sql, !standard);
    let (mut statements, mut open) = (Vec::new(), None::<Open>);
    let mut lines = Lines::default();
    while let Some((token, range)) = lexer.next() {
        if token == Token::Blank {
            continue;
        }
        if token == Token::Mark(b';') && open.as_ref().is_none_or(Open::may_end) {
            if let Some(done) = open.take() {
                let statement = done.close(sql, &mut lines);
                if let Some(on) = strings_set_to(statement.text, standard) {
                    lexer.backslashes = !on;
                }
                statements.push(statement);
            }
            continue;
        }
        let word = sql.get(range.clone()).unwrap_or_default();
        open.get_or_insert_with(|| Open::at(range.start)).take(token, word, range.end);
    }
    statements.extend(open.map(|last| last.close(sql, &mut lines)));
    statements
}

/// A statement whose end has not come yet.
struct Open {
    start: usize,
    end: usize,
    /// How much of `CREATE [OR REPLACE] FUNCTION | PROCEDURE` was seen.
    routine: Routine,
    parentheses: usize,
    /// How deep in a `BEGIN ATOMIC` body: 1, and 1 more in each `CASE`.
    body: usize,
    before: Before,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Routine {
    Start,
    Create,
    Or,
    Replace,
    Yes,
    No,
}

/// The token before, where it decides what the next one means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Begin,
    /// Behind `AS` or a dot a reserved word is a name.
    Naming,
    /// A statement of a body begins here, or the body ends.
    Statement,
    Other,
}

impl Open {
    fn at(start: usize) -> Self {
        let (routine, before) = (Routine::Start, Before::Other);
        Open { start, end: start, routine, parentheses: 0, body: 0, before }
    }

    fn may_end(&self) -> bool {
        self.parentheses == 0 && self.body == 0
    }

    fn take(&mut self, token: Token, text: &str, end: usize) {
        let is = |word: &str| token == Token::Word && text.eq_ignore_ascii_case(word);
        self.routine = match self.routine {
            Routine::Start if is("create") => Routine::Create,
            Routine::Create if is("or") => Routine::Or,
            Routine::Or if is("replace") => Routine::Replace,
            Routine::Create | Routine::Replace if is("function") || is("procedure") => Routine::Yes,
            Routine::Yes => Routine::Yes,
            _ => Routine::No,
        };
        match token {
            Token::Mark(b'(') => self.parentheses += 1,
            Token::Mark(b')') => self.parentheses = self.parentheses.saturating_sub(1),
            _ if self.routine != Routine::Yes || self.parentheses > 0 => {}
            _ if self.body == 0 => self.body = usize::from(is("atomic") && self.before == Before::Begin),
            _ if self.before == Before::Naming => {}
            _ if is("case") => self.body += 1,
            // Elsewhere it is the label of a column: `SELECT 1 end`.
            _ if is("end") && (self.body > 1 || self.before == Before::Statement) => self.body -= 1,
            _ => {}
        }
        self.before = match token {
            _ if is("begin") => Before::Begin,
            Token::Mark(b';') => Before::Statement,
            _ if is("atomic") && self.before == Before::Begin => Before::Statement,
            Token::Mark(b'.') => Before::Naming,
            _ if is("as") => Before::Naming,
            _ => Before::Other,
        };
        self.end = end;
    }

    fn close<'a>(self, sql: &'a str, lines: &mut Lines) -> Statement<'a> {
        let text = sql.get(self.start..self.end).unwrap_or_default();
        Statement { text, offset: self.start, line: lines.of(sql, self.start) }
    }
}

/// Counts lines from the place that was asked for last.
struct Lines {
    at: usize,
    line: usize,
}

impl Default for Lines {
    fn default() -> Self {
        Lines { at: 0, line: 1 }
    }
}

impl Lines {
    fn of(&mut self, sql: &str, offset: usize) -> usize {
        let between = sql.as_bytes().get(self.at..offset).unwrap_or_default();
        self.line += between.iter().filter(|byte| **byte == b'\n').count();
        self.at = offset;
        self.line
    }
}

/// What a statement sets `standard_conforming_strings` to, where it does; `default` is what RESET brings
/// back.
fn strings_set_to(statement: &str, default: bool) -> Option<bool> {
    let mut words = Lexer::new(statement, false)
        .filter(|(token, _)| *token != Token::Blank)
        .filter_map(|(token, range)| Some((token, statement.get(range)?)))
        .map(|(_, text)| text.trim_matches(['\'', '"']).to_ascii_lowercase());
    match words.next()?.as_str() {
        "reset" => matches!(words.next()?.as_str(), "standard_conforming_strings" | "all").then_some(default),
        "set" => {
            let name = words.find(|word| word != "session" && word != "local")?;
            let value = words.nth(1).filter(|_| name == "standard_conforming_strings")?;
            match value.as_str() {
                "default" => Some(default),
                off => Some(!matches!(
                    off,
                    "off" | "of" | "false" | "fals" | "fal" | "fa" | "f" | "no" | "n" | "0"
                )),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(sql: &str, expected: &[&str]) {
        let texts: Vec<_> = split(sql).iter().map(|statement| statement.text).collect();
        assert_eq!(texts, expected, "{sql}");
    }

    #[test]
    fn a_semicolon_ends_a_statement_and_comments_around_it_are_no_part_of_it() {
        check("", &[]);
        check(" -- nothing\n;; /* at all */", &[]);
        check("SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"]);
        check("-- a\nSELECT 1 -- b\n; /* c */ SELECT /* d */ 2 ;", &["SELECT 1", "SELECT /* d */ 2"]);
        check("SELECT 1 -- a; b\n, 2", &["SELECT 1 -- a; b\n, 2"]);
        check("/* a /* b; */ c; */ SELECT 1; SELECT 2", &["SELECT 1", "SELECT 2"]);
        check("SELECT 1--;\r;SELECT 2", &["SELECT 1", "SELECT 2"]);
        check("SELECT 4*/2;SELECT 1", &["SELECT 4*/2", "SELECT 1"]);
    }

    #[test]
    fn a_semicolon_in_quotes_ends_nothing() {
        check("SELECT ';', 'it''s;'; SELECT 2", &["SELECT ';', 'it''s;'", "SELECT 2"]);
        check(r"SELECT '\'; SELECT 2", &[r"SELECT '\'", "SELECT 2"]);
        check(r"SELECT E'\';', e'\\'; SELECT 2", &[r"SELECT E'\';', e'\\'", "SELECT 2"]);
        check("SELECT E'a'\n  'b\\';c'; SELECT 2", &["SELECT E'a'\n  'b\\';c'", "SELECT 2"]);
        check("SELECT E'a' -- c\n 'b\\';c'; SELECT 2", &["SELECT E'a' -- c\n 'b\\';c'", "SELECT 2"]);
        check(r"SELECT E'a' 'b\'; SELECT 2", &[r"SELECT E'a' 'b\'", "SELECT 2"]);
        check(r"SELECT tablE'\'; SELECT 2", &[r"SELECT tablE'\'", "SELECT 2"]);
        check(r#"SELECT U&'\0441;', "a;""b;"; SELECT 2"#, &[r#"SELECT U&'\0441;', "a;""b;""#, "SELECT 2"]);
    }

    #[test]
    fn a_dollar_quote_ends_at_its_own_tag() {
        check("DO $$ a; $b$ ; $$; SELECT 1", &["DO $$ a; $b$ ; $$", "SELECT 1"]);
        check("DO $a$ ; $$ ; $A$ ; $a$; SELECT 1", &["DO $a$ ; $$ ; $A$ ; $a$", "SELECT 1"]);
        check("DO $é1$ ; $é1$; SELECT 1", &["DO $é1$ ; $é1$", "SELECT 1"]);
        check("SELECT a$b$; SELECT $1; SELECT 1", &["SELECT a$b$", "SELECT $1", "SELECT 1"]);
        check("DO $a$ ; $a", &["DO $a$ ; $a"]);
    }

    #[test]
    fn a_body_ends_with_its_end() {
        let body = "CREATE OR REPLACE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a > 1 THEN 1 END AS end; \
                    SELECT t.case FROM t; END";
        check(&format!("{body}; SELECT 1"), &[body, "SELECT 1"]);
        check(
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end; SELECT CASE WHEN true THEN 2 END end; END; SELECT 1",
            &[
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 end; SELECT CASE WHEN true THEN 2 END end; END",
                "SELECT 1",
            ],
        );
        check(
            "create procedure p() begin atomic ; end; SELECT 1",
            &["create procedure p() begin atomic ; end", "SELECT 1"],
        );
        check("BEGIN; SELECT 1; END; SELECT 2", &["BEGIN", "SELECT 1", "END", "SELECT 2"]);
        check(
            "CREATE FUNCTION f(begin atomic) AS ''; SELECT 1",
            &["CREATE FUNCTION f(begin atomic) AS ''", "SELECT 1"],
        );
        let rule = "CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)";
        check(&format!("{rule}; SELECT 1"), &[rule, "SELECT 1"]);
    }

    #[test]
    fn the_session_s_kind_of_strings_is_followed() {
        let off = r"SELECT 'it\'s; '";
        check(
            &format!("SET standard_conforming_strings = off; {off}; RESET ALL; SELECT '\\'; SELECT 2"),
            &["SET standard_conforming_strings = off", off, "RESET ALL", "SELECT '\\'", "SELECT 2"],
        );
        check(
            &format!("SET LOCAL standard_conforming_strings TO 'off'; {off}"),
            &["SET LOCAL standard_conforming_strings TO 'off'", off],
        );
        assert_eq!(split_as(&format!("{off}; SELECT 1"), false).len(), 2);
        assert_eq!(split_as(r"SELECT B'1\', X'\'; SELECT 1", false).len(), 2);
    }

    #[test]
    fn a_statement_knows_its_place() {
        let places: Vec<_> =
            split("-- one\nSELECT 1;\n\n  SELECT 'é';SELECT 3").iter().map(|s| (s.offset, s.line)).collect();
        assert_eq!(places, [(7, 2), (20, 4), (32, 4)]);
    }

    /// Pieces that meet in every way: quotes that open, close and escape, bodies, comments, and letters of
    /// two bytes.
    const PIECES: [&str; 34] = [
        "'",
        "''",
        "\"",
        "\\",
        "E'",
        "e'",
        "$",
        "$$",
        "$a$",
        "$1",
        "--",
        "/*",
        "*/",
        ";",
        "(",
        ")",
        "\n",
        "\r",
        " ",
        "a",
        "é",
        "\u{a0}",
        "0",
        ".",
        "as",
        "create ",
        "or replace ",
        "function ",
        "begin ",
        "atomic ",
        "case ",
        "end ",
        "U&",
        "set standard_conforming_strings = off",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn nothing_makes_it_panic_and_nothing_is_lost(
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40),
            standard in any::<bool>(),
        ) {
            let sql = pieces.concat();
            prop_assert_eq!(lost(&sql, standard), None);
        }

        #[test]
        fn any_text_is_split_without_loss(sql in any::<String>()) {
            prop_assert_eq!(lost(&sql, true), None);
        }
    }

    /// What stands between the statements and is neither blank nor a semicolon: must be nothing.
    fn lost(sql: &str, standard: bool) -> Option<String> {
        let mut at = 0;
        for statement in split_as(sql, standard) {
            if !is_blank(&sql[at..statement.offset]) || statement.text.is_empty() {
                return Some(sql[at..statement.offset].to_owned());
            }
            at = statement.offset + statement.text.len();
        }
        (!is_blank(&sql[at..])).then(|| sql[at..].to_owned())
    }

    /// Whether a text holds white space, comments and semicolons only: written anew, without the lexer.
    fn is_blank(text: &str) -> bool {
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\u{b}', '\u{c}', ';']);
            if let Some(comment) = rest.strip_prefix("--") {
                rest = comment.find(['\n', '\r']).map_or("", |end| &comment[end..]);
            } else if rest.starts_with("/*") {
                let mut depth = 0;
                while !rest.is_empty() {
                    let step = match rest.as_bytes() {
                        [b'/', b'*', ..] => {
                            depth += 1;
                            2
                        }
                        [b'*', b'/', ..] => {
                            depth -= 1;
                            2
                        }
                        _ => rest.chars().next().map_or(1, char::len_utf8),
                    };
                    rest = &rest[step..];
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                return rest.is_empty();
            }
        }
    }
}

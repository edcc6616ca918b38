//! Finds what a file binds to a session or a transaction that ends before it is used.
//!
//! A temporary table goes with the session of a runner that is killed. What has not run of the file would
//! then mean a table of the same name that is not temporary: to go on is to change the wrong table.

use crate::segments::{How, Segment};
use crate::split::{Lexer, Token};
use crate::statement::Words;

/// A temporary table that is gone, and that a statement which has not run needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) name: String,
    /// The line of the statement that needs it.
    pub(crate) line: usize,
}

/// What is gone where a migration was cut off behind its first `done` segments.
pub(crate) fn gone(segments: &[Segment<'_>], done: usize) -> Option<Gone> {
    let (ran, rest) = segments.split_at_checked(done)?;
    let mut names: Vec<String> = Vec::new();
    for statement in ran.iter().flat_map(|segment| &segment.statements) {
        match temporary(statement.text) {
            Some(name) => names.push(name),
            None => names.retain(|name| !drops(statement.text, name)),
        }
    }
    for statement in rest.iter().flat_map(|segment| &segment.statements) {
        let made = temporary(statement.text);
        names.retain(|name| made.as_ref() != Some(name));
        if let Some(name) = names.iter().find(|name| mentions(statement.text, name)) {
            return Some(Gone { name: name.clone(), line: statement.line });
        }
    }
    None
}

/// The lines of SET LOCAL behind which its transaction ends at once.
pub(crate) fn without_effect(segments: &[Segment<'_>]) -> Vec<usize> {
    let is_local = |text: &str| Words::of(text).take_all(&["set", "local"]);
    let together = segments.iter().filter(|segment| matches!(segment.how, How::Together(_)));
    together
        .flat_map(|segment| {
            let last = segment.statements.iter().rev().take_while(|statement| is_local(statement.text));
            last.map(|statement| statement.line).collect::<Vec<_>>().into_iter().rev()
        })
        .collect()
}

/// The name of the temporary relation that a statement makes.
fn temporary(text: &str) -> Option<String> {
    let mut words = Words::of(text);
    if words.take("create") {
        words.take_all(&["or", "replace"]);
        let _ = words.take("global") || words.take("local");
        if !(words.take("temp") || words.take("temporary")) {
            return None;
        }
        words.take("recursive");
        let _ = ["table", "view", "sequence"].iter().any(|word| words.take(word));
        words.take_all(&["if", "not", "exists"]);
        return words.name().map(|name| folded(&name));
    }
    if !(words.take("select") || words.take("with")) {
        return None;
    }
    while words.peek(0).is_some() {
        if words.take("into") {
            let temporary = words.take("temp") || words.take("temporary");
            words.take("table");
            return words.name().filter(|_| temporary).map(|name| folded(&name));
        }
        words.skip();
    }
    None
}

fn drops(text: &str, name: &str) -> bool {
    Words::of(text).take("drop") && mentions(text, name)
}

fn mentions(text: &str, name: &str) -> bool {
    Lexer::new(text, false).any(|(token, range)| {
        let token_text = text.get(range).unwrap_or_default();
        match token {
            Token::Word | Token::Quoted => folded(token_text) == name,
            // A body of code, perhaps.
            Token::Text => token_text
                .split(|one: char| !(one.is_alphanumeric() || one == '_'))
                .any(|word| word.eq_ignore_ascii_case(name)),
            _ => false,
        }
    })
}

/// The last part of a name, as the server stores it.
fn folded(name: &str) -> String {
    match name.strip_suffix('"').and_then(|name| name.rsplit_once('"')) {
        Some((_, quoted)) => quoted.to_owned(),
        None => name.rsplit('.').next().unwrap_or(name).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::segments;

    #[track_caller]
    fn check(sql: &str, done: usize, expected: Option<(&str, usize)>) {
        let found = gone(&segments(sql, true, true).unwrap(), done);
        assert_eq!(found.as_ref().map(|gone| (gone.name.as_str(), gone.line)), expected, "{sql}");
    }

    #[test]
    fn a_temporary_table_that_is_needed_behind_the_cut_is_gone() {
        check("CREATE TEMP TABLE users AS SELECT 1;\nVACUUM;\nDELETE FROM users", 1, Some(("users", 3)));
        check("CREATE TEMP TABLE users AS SELECT 1;\nVACUUM;\nDELETE FROM users", 2, Some(("users", 3)));
        check("SELECT 1 INTO TEMP \"Users\";\nVACUUM;\nTABLE \"Users\"", 2, Some(("Users", 3)));
        check(
            "CREATE TEMPORARY VIEW u AS SELECT 1;\nVACUUM;\nDO $$BEGIN PERFORM * FROM U; END$$",
            2,
            Some(("u", 3)),
        );
    }

    #[test]
    fn what_is_not_needed_or_made_again_is_not_missed() {
        check("CREATE TEMP TABLE u (); VACUUM; TABLE users", 2, None);
        check("CREATE TEMP TABLE u (); DROP TABLE u; VACUUM; DELETE FROM u", 2, None);
        check("CREATE TEMP TABLE u (); VACUUM; CREATE TEMP TABLE IF NOT EXISTS u (); DELETE FROM u", 2, None);
        check("CREATE TABLE u (); VACUUM; DELETE FROM u", 2, None);
        check("CREATE TEMP TABLE u (); DELETE FROM u; VACUUM", 0, None);
    }

    #[test]
    fn a_local_setting_at_the_end_of_its_part_has_no_effect() {
        let lines = |sql: &str, in_transaction| {
            let segments = segments(sql, in_transaction, true);
            without_effect(&segments.unwrap())
        };
        assert_eq!(lines("SET LOCAL work_mem = '1MB';\nSELECT 1", true), [0_usize; 0]);
        assert_eq!(
            lines("SELECT 1;\nSET LOCAL work_mem = '1MB';\nSET LOCAL jit = off;\nVACUUM", true),
            [2, 3]
        );
        assert_eq!(lines("SET LOCAL work_mem = '1MB';\nSELECT 1", false), [1]);
        assert_eq!(lines("BEGIN;\nSET LOCAL work_mem = '1MB';\nSELECT 1;\nCOMMIT", false), [0_usize; 0]);
    }
}

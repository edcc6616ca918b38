//! What the text of a statement tells about the code that runs beside it, and no lock or catalog does.

use crate::split::Statement;
use crate::statement::Words;

/// One thing that the text tells: a rule, and what is the matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) rule: &'static str,
    /// The table, as written, where it is about one.
    pub(crate) table: Option<String>,
    pub(crate) message: String,
}

/// The rule of a write that reaches every row.
pub(crate) const WHOLE_TABLE: &str = "trace/whole-table-write";
pub(crate) const RENAME: &str = "trace/rename";
pub(crate) const TRIGGER: &str = "trace/trigger";
pub(crate) const DROP_OBJECT: &str = "trace/drop-object";
pub(crate) const REVOKE: &str = "trace/revoke";

/// What the text of one statement tells.
pub(crate) fn told(sql: &str) -> Vec<Told> {
    let mut words = Words::of(sql);
    let one = if words.take("update") {
        words.take("only");
        whole_table(words, "changes")
    } else if words.take_all(&["delete", "from"]) {
        words.take("only");
        whole_table(words, "deletes")
    } else if words.take("alter") {
        alter(words)
    } else if words.take("create") {
        trigger(words)
    } else if words.take("drop") {
        drop_object(words)
    } else if words.take("revoke") {
        revoke(words)
    } else {
        None
    };
    one.into_iter().collect()
}

/// What the statements of a file tell about what the file itself has not made.
pub(crate) fn of_file(statements: &[Statement<'_>]) -> Vec<(usize, Told)> {
    let made = made(statements);
    let told = statements.iter().flat_map(|one| told(one.text).into_iter().map(|told| (one.line, told)));
    told.filter(|(_, told)| !told.is_about_any(&made)).collect()
}

/// The names of what the statements of a file create.
pub(crate) fn made(statements: &[Statement<'_>]) -> Vec<String> {
    statements.iter().filter_map(|statement| created(statement.text)).collect()
}

impl Told {
    /// Whether it is about one of these.
    pub(crate) fn is_about_any(&self, made: &[String]) -> bool {
        self.table.as_ref().is_some_and(|table| made.iter().any(|made| same(made, table)))
    }
}

/// Whether two names as written are of one thing: without its schema it may be anywhere.
pub(crate) fn same(one: &str, other: &str) -> bool {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().trim_matches('"').to_lowercase();
    last(one) == last(other)
}

/// The name of what a statement creates, of the kinds that are renamed or written.
fn created(sql: &str) -> Option<String> {
    let mut words = Words::of(sql);
    if !words.take("create") {
        return None;
    }
    words.take_all(&["or", "replace"]);
    for word in ["global", "local", "temporary", "temp", "unlogged", "recursive"] {
        words.take(word);
    }
    let kinds =
        ["table", "type", "domain", "schema", "function", "procedure", "aggregate", "view", "sequence"];
    let is_one = kinds.iter().any(|word| words.take(word));
    words.take_all(&["if", "not", "exists"]);
    if is_one { words.name() } else { None }
}

/// An UPDATE or DELETE without a condition, or with one that holds for every row.
fn whole_table(mut words: Words<'_>, does: &str) -> Option<Told> {
    let table = words.name()?;
    if !words.has("where") {
        return Some(every_row(table, does));
    }
    let mut depth = 0_i32;
    loop {
        match words.peek(0)? {
            "(" => depth += 1,
            ")" => depth -= 1,
            word if depth == 0 && word.eq_ignore_ascii_case("where") => break,
            _ => {}
        }
        words.skip();
    }
    words.skip();
    let always = words.take("true") || words.take_all(&["1", "=", "1"]);
    if always {
        return words.peek(0).is_none().then(|| every_row(table, does));
    }
    // The usual way to fill a column: as good as every row has none.
    let column = words.name()?;
    (does == "changes" && words.take_all(&["is", "null"]) && words.peek(0).is_none()).then(|| Told {
        rule: WHOLE_TABLE,
        message: format!(
            "changes each row of {table} whose {column} is NULL in one transaction: whoever writes one of them waits for \
             its end"
        ),
        table: Some(table),
    })
}

fn every_row(table: String, does: &str) -> Told {
    let message = format!(
        "{does} every row of {table} in one transaction: whoever writes one of them waits for its end"
    );
    Told { rule: WHOLE_TABLE, table: Some(table), message }
}

fn alter(mut words: Words<'_>) -> Option<Told> {
    if words.take("schema") {
        let name = words.name()?;
        return words.take_all(&["rename", "to"]).then(|| {
            let message = format!("renames the schema {name}: code that names it fails");
            Told { rule: RENAME, table: Some(name), message }
        });
    }
    if words.take("type") || words.take("domain") {
        let name = words.name()?;
        if words.take_all(&["rename", "value"]) {
            let value = words.peek(0).unwrap_or_default().to_owned();
            let message = format!("renames the value {value} of {name}: code that reads or writes it fails");
            return Some(Told { rule: RENAME, table: Some(name), message });
        }
        return (words.take_all(&["rename", "to"]) || words.take_all(&["rename", "attribute"])).then(|| {
            let message = format!("renames the type {name} or a part of it: code that names it fails");
            Told { rule: RENAME, table: Some(name), message }
        });
    }
    let routine = ["function", "procedure", "routine", "aggregate", "sequence"];
    if routine.iter().any(|word| words.take(word)) {
        words.take_all(&["if", "exists"]);
        let name = words.name()?;
        return (words.has("rename") && words.has("to")).then(|| {
            let message = format!("renames {name}: code that calls it fails");
            Told { rule: RENAME, table: None, message }
        });
    }
    None
}

fn drop_object(mut words: Words<'_>) -> Option<Told> {
    let kinds = ["function", "procedure", "routine", "aggregate", "type", "domain", "schema", "sequence"];
    let kind = kinds.iter().find(|kind| words.take(kind))?;
    words.take_all(&["if", "exists"]);
    let name = words.name()?;
    let message = format!("drops the {kind} {name}: code that names it fails");
    Some(Told { rule: DROP_OBJECT, table: Some(name), message })
}

fn revoke(mut words: Words<'_>) -> Option<Told> {
    while !words.take("on") {
        words.peek(0)?;
        words.skip();
    }
    words.take_all(&["all", "tables", "in"]);
    words.take_all(&["all", "sequences", "in"]);
    for kind in ["table", "sequence", "function", "procedure", "schema", "type"] {
        words.take(kind);
    }
    let name = words.name().filter(|name| name != "public")?;
    let message = format!("takes rights on {name} away: code that runs with them fails");
    Some(Told { rule: REVOKE, table: Some(name), message })
}

fn trigger(mut words: Words<'_>) -> Option<Told> {
    words.take_all(&["or", "replace"]);
    words.take("constraint");
    if !words.take("trigger") {
        return None;
    }
    let name = words.name()?;
    while !words.take("on") {
        words.peek(0)?;
        words.skip();
    }
    let table = words.name()?;
    let message = format!(
        "the trigger {name} runs in every such statement on {table} from its COMMIT on: the time that it takes and the \
         errors that it raises are theirs"
    );
    Some(Told { rule: TRIGGER, table: Some(table), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::split;

    #[track_caller]
    fn check(sql: &str, expected: &[(&str, &str)]) {
        let found = of_file(&split(sql));
        let found: Vec<(&str, &str)> =
            found.iter().map(|(_, told)| (told.rule, told.table.as_deref().unwrap_or_default())).collect();
        assert_eq!(found, expected, "{sql}");
    }

    #[test]
    fn a_write_without_a_condition_reaches_every_row() {
        check("UPDATE people SET a = 1", &[(WHOLE_TABLE, "people")]);
        check("update only s.\"P\" p set a = (select 1 where true)", &[(WHOLE_TABLE, "s.\"P\"")]);
        check("DELETE FROM people WHERE true", &[(WHOLE_TABLE, "people")]);
        check("DELETE FROM people WHERE 1 = 1 AND id = 7", &[]);
        check("DELETE FROM people RETURNING id", &[(WHOLE_TABLE, "people")]);
        check("UPDATE people SET a = 1 FROM other o WHERE o.id = people.id", &[]);
        check("DELETE FROM people WHERE id = 1", &[]);
        check("CREATE TABLE fresh (a int); INSERT INTO fresh VALUES (1); UPDATE fresh SET a = 2", &[]);
    }

    #[test]
    fn renames_and_triggers_are_told() {
        check("ALTER SCHEMA billing RENAME TO money", &[(RENAME, "billing")]);
        check("ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", &[(RENAME, "mood")]);
        check("ALTER TYPE mood RENAME TO feeling", &[(RENAME, "mood")]);
        check("ALTER TYPE mood ADD VALUE 'new'", &[]);
        check("CREATE TYPE mood AS ENUM ('a'); ALTER TYPE mood RENAME VALUE 'a' TO 'b'", &[]);
        check("ALTER FUNCTION f(int) RENAME TO g", &[(RENAME, "")]);
        check("DROP FUNCTION IF EXISTS f(int)", &[(DROP_OBJECT, "f")]);
        check("DROP FUNCTION f(int); CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'", &[]);
        check("REVOKE INSERT, UPDATE ON TABLE s.people FROM app", &[(REVOKE, "s.people")]);
        check("REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE admin FROM app", &[]);
        check("UPDATE people SET a = b WHERE a IS NULL", &[(WHOLE_TABLE, "people")]);
        check("UPDATE people SET a = b WHERE a IS NULL AND id < 9", &[]);
        check(
            "CREATE OR REPLACE TRIGGER t BEFORE UPDATE OF a ON s.people FOR EACH ROW EXECUTE FUNCTION f()",
            &[(TRIGGER, "s.people")],
        );
    }
}

//! The strongest lock that a statement takes on tables that exist, as PostgreSQL's documentation has it.
//!
//! It is read from the text alone, so it is what the statement may take at worst; a statement that is not
//! listed, such as a SELECT, a DO block or a function call, is not guessed at. What is really taken shows
//! `dbctl migrate check`.

use crate::statement::Words;

const ACCESS_EXCLUSIVE: &str = "ACCESS EXCLUSIVE";
const SHARE_ROW_EXCLUSIVE: &str = "SHARE ROW EXCLUSIVE";
const SHARE: &str = "SHARE";
const SHARE_UPDATE_EXCLUSIVE: &str = "SHARE UPDATE EXCLUSIVE";
/// On the table and on the one that becomes its partition.
const ATTACH: &str = "SHARE UPDATE EXCLUSIVE; ACCESS EXCLUSIVE on the partition";
const ROW_EXCLUSIVE: &str = "ROW EXCLUSIVE";

/// The strongest lock that the statement takes, where its text tells.
pub(crate) fn of(statement: &str) -> Option<&'static str> {
    let mut words = Words::of(statement);
    let first = words.peek(0)?.to_ascii_lowercase();
    words.take(&first);
    match first.as_str() {
        "insert" | "update" | "delete" | "merge" => Some(ROW_EXCLUSIVE),
        "copy" if words.has("from") => Some(ROW_EXCLUSIVE),
        "truncate" | "cluster" => Some(ACCESS_EXCLUSIVE),
        "vacuum" if words.has("full") => Some(ACCESS_EXCLUSIVE),
        "vacuum" | "analyze" => Some(SHARE_UPDATE_EXCLUSIVE),
        "reindex" if words.has("concurrently") => Some(SHARE_UPDATE_EXCLUSIVE),
        "reindex" => Some(SHARE),
        "refresh" if words.has("concurrently") => Some("EXCLUSIVE"),
        "refresh" => Some(ACCESS_EXCLUSIVE),
        "comment" => Some(SHARE_UPDATE_EXCLUSIVE),
        "create" => create(words),
        "drop" => drop_statement(words),
        "alter" => alter(words),
        _ => None,
    }
}

fn create(mut words: Words<'_>) -> Option<&'static str> {
    words.take("unique");
    if words.take("index") {
        return Some(if words.take("concurrently") { SHARE_UPDATE_EXCLUSIVE } else { SHARE });
    }
    words.take_all(&["or", "replace"]);
    words.take("constraint");
    if words.take("trigger") {
        return Some(SHARE_ROW_EXCLUSIVE);
    }
    if words.take("rule") || words.take("policy") {
        return Some(ACCESS_EXCLUSIVE);
    }
    if words.take("statistics") {
        return Some(SHARE_UPDATE_EXCLUSIVE);
    }
    if !words.take("table") {
        return None;
    }
    match (words.has("partition") && words.has("of"), words.mentions("references")) {
        (true, _) => Some(ACCESS_EXCLUSIVE),
        (false, true) => Some(SHARE_ROW_EXCLUSIVE),
        (false, false) => None,
    }
}

fn drop_statement(mut words: Words<'_>) -> Option<&'static str> {
    if words.take("index") {
        return Some(if words.take("concurrently") { SHARE_UPDATE_EXCLUSIVE } else { ACCESS_EXCLUSIVE });
    }
    let relations = ["table", "view", "materialized", "sequence", "trigger", "rule", "policy"];
    relations.iter().any(|word| words.take(word)).then_some(ACCESS_EXCLUSIVE)
}

fn alter(mut words: Words<'_>) -> Option<&'static str> {
    if words.take("index") {
        return Some(if words.has("rename") || words.has("attach") {
            SHARE_UPDATE_EXCLUSIVE
        } else {
            ACCESS_EXCLUSIVE
        });
    }
    if !words.take("table") {
        let relations = ["view", "materialized", "sequence", "trigger", "policy"];
        return relations.iter().any(|word| words.take(word)).then_some(ACCESS_EXCLUSIVE);
    }
    // Several actions take the strongest of their locks, and only these take less than the strongest of all.
    let several = words.commas();
    let weak = [
        ("validate", "constraint", SHARE_UPDATE_EXCLUSIVE),
        ("attach", "partition", ATTACH),
        ("set", "statistics", SHARE_UPDATE_EXCLUSIVE),
        ("detach", "concurrently", SHARE_UPDATE_EXCLUSIVE),
        ("foreign", "key", SHARE_ROW_EXCLUSIVE),
        ("enable", "trigger", SHARE_ROW_EXCLUSIVE),
        ("disable", "trigger", SHARE_ROW_EXCLUSIVE),
    ];
    let found = weak.iter().find(|(one, other, _)| words.has(one) && words.has(other));
    Some(found.filter(|_| !several && !words.has("column")).map_or(ACCESS_EXCLUSIVE, |(_, _, lock)| lock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_the_lock() {
        let check = |sql: &str, lock: Option<&str>| assert_eq!(of(sql), lock, "{sql}");
        check("ALTER TABLE t ADD COLUMN a int", Some(ACCESS_EXCLUSIVE));
        check(
            "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES u NOT VALID",
            Some(SHARE_ROW_EXCLUSIVE),
        );
        check("ALTER TABLE t VALIDATE CONSTRAINT f", Some(SHARE_UPDATE_EXCLUSIVE));
        check("ALTER TABLE t VALIDATE CONSTRAINT f, DROP COLUMN a", Some(ACCESS_EXCLUSIVE));
        check("ALTER TABLE t ADD CHECK (a IN (1, 2))", Some(ACCESS_EXCLUSIVE));
        check("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", Some(SHARE_UPDATE_EXCLUSIVE));
        check("CREATE INDEX i ON t (a)", Some(SHARE));
        check("CREATE TABLE t (a int REFERENCES u)", Some(SHARE_ROW_EXCLUSIVE));
        check("CREATE TABLE t (a int)", None);
        check("CREATE TABLE t PARTITION OF p DEFAULT", Some(ACCESS_EXCLUSIVE));
        check("UPDATE t SET a = 1", Some(ROW_EXCLUSIVE));
        check("DROP TABLE t", Some(ACCESS_EXCLUSIVE));
        check("ALTER TABLE t ATTACH PARTITION p FOR VALUES IN (1)", Some(ATTACH));
        check("DO $$ BEGIN END $$", None);
    }
}

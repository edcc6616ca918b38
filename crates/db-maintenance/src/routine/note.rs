//! What upkeep notes in comments: one line for each note, behind what people wrote.

use crate::error::Result;
use crate::name::{TableName, literal};
use crate::session::{Check, Session};

/// What failed for a lasting reason, and with which words.
pub(super) const FAILED: &str = "[db-maintenance failed] ";

/// How much had been written to a view's tables when it was refreshed.
pub(super) const REFRESHED: &str = "[db-maintenance refreshed] ";

/// How many bytes a row took in an index that was as it should be.
pub(super) const BASELINE: &str = "[db-maintenance baseline] ";

/// The note in a comment.
pub(super) fn noted<'a>(comment: Option<&'a str>, tag: &str) -> Option<&'a str> {
    comment?.lines().find_map(|line| line.strip_prefix(tag)).map(str::trim)
}

/// The comment with this note in place of the one that it has; without one where there is none.
fn with(comment: Option<&str>, tag: &str, note: Option<&str>) -> String {
    let said = comment.unwrap_or_default().lines().filter(|line| !line.starts_with(tag));
    let note = note.map(|note| format!("{tag}{}", note.split_whitespace().collect::<Vec<_>>().join(" ")));
    said.map(str::to_owned).chain(note).collect::<Vec<_>>().join("\n")
}

const LOOK: &str = "SELECT c.oid, c.relkind::text, obj_description(c.oid, 'pg_class') FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles o ON o.oid = c.relowner \
    WHERE n.nspname = $1::text AND c.relname = $2::text AND o.rolname = $3::text";

/// Notes it, as the owner; nothing where the name means nothing of that owner's any more.
pub(super) async fn write(
    session: &mut Session<'_>,
    name: &TableName,
    owner: &str,
    tag: &str,
    note: Option<&str>,
) -> Result<()> {
    let row = session.client().query_opt(LOOK, &[&name.schema, &name.name, &owner]).await?;
    let Some(row) = row else { return Ok(()) };
    let (oid, kind, comment): (u32, String, Option<String>) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if noted(comment.as_deref(), tag) == note {
        return Ok(());
    }
    let word = match kind.as_str() {
        "i" => "INDEX",
        "m" => "MATERIALIZED VIEW",
        _ => "TABLE",
    };
    let text = with(comment.as_deref(), tag, note);
    let sql = [format!("COMMENT ON {word} {} IS {}", name.quoted(), literal(&text))];
    let sql_of_check = format!(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = {oid} AND n.nspname = {} AND c.relname = {})",
        literal(&name.schema),
        literal(&name.name)
    );
    let check = Check { sql: sql_of_check, otherwise: "the name means another object now".to_owned() };
    session.step(&format!("a note on {name}"), Some(owner), &sql, Some(&check)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_stays_and_each_note_stands_once() {
        let first = with(Some("of the board\nsince 2020"), REFRESHED, Some("7"));
        assert_eq!(first, "of the board\nsince 2020\n[db-maintenance refreshed] 7");
        let second = with(Some(&first), REFRESHED, Some("9"));
        assert_eq!(second, "of the board\nsince 2020\n[db-maintenance refreshed] 9");
        let both = with(Some(&second), FAILED, Some("no\n  room"));
        assert_eq!(noted(Some(&both), FAILED), Some("no room"));
        assert_eq!(noted(Some(&both), REFRESHED), Some("9"));
        assert_eq!(with(Some(&with(Some(&both), FAILED, None)), REFRESHED, None), "of the board\nsince 2020");
        assert_eq!((with(None, FAILED, None), noted(None, FAILED)), (String::new(), None));
    }
}

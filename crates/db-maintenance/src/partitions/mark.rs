//! The mark of a partition that retention takes out: a line at the end of the table's comment.
//!
//! It is written before the partition is detached, so a run that was killed in between is found, and it goes
//! with the table whatever that is called. Only a table of the set's own owner is believed.

use serde::{Deserialize, Serialize};

const BEGINS: &str = "[db-maintenance] ";

/// What is known of a partition that retention takes out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The partitioned table, by its number and name.
    pub(crate) parent: u32,
    pub(crate) set: String,
    /// The bounds that it had.
    pub(crate) bounds: String,
    /// When it was taken out, by the server's clock.
    pub(crate) at: String,
    /// The run that did.
    pub(crate) run: String,
    /// What was archived, once it was read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) archived: Option<Archived>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Archived {
    pub(crate) name: String,
    pub(crate) rows: u64,
    pub(crate) sha256: String,
}

impl Mark {
    /// The mark of a comment.
    pub(crate) fn of(comment: &str) -> Option<Mark> {
        let (_, json) = comment.rsplit_once(BEGINS)?;
        serde_json::from_str(json).ok()
    }

    /// The comment with this mark; what people wrote stays.
    pub(crate) fn on(&self, comment: Option<&str>) -> String {
        let said = comment.map(without).filter(|said| !said.is_empty());
        let json = serde_json::to_string(self).unwrap_or_default();
        match said {
            Some(said) => format!("{said}\n{BEGINS}{json}"),
            None => format!("{BEGINS}{json}"),
        }
    }
}

/// A comment without its mark.
fn without(comment: &str) -> &str {
    comment.rsplit_once(BEGINS).map_or(comment, |(said, _)| said).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_comes_back_and_keeps_what_people_wrote() {
        let mark = Mark {
            parent: 7,
            set: "app.events".to_owned(),
            bounds: "FOR VALUES FROM ('a''b') TO (MAXVALUE)".to_owned(),
            at: "2026-11-28T00:00:00Z".to_owned(),
            run: "1".to_owned(),
            archived: None,
        };
        let comment = mark.on(Some("ours since 2020"));
        assert_eq!(Mark::of(&comment), Some(mark.clone()));
        let archived = Archived { name: "n".to_owned(), rows: 1, sha256: "s".to_owned() };
        let later = Mark { archived: Some(archived), ..mark.clone() }.on(Some(&comment));
        assert!(
            later.starts_with("ours since 2020\n[db-maintenance] {") && later.matches(BEGINS).count() == 1
        );
        assert_eq!(Mark::of("said [db-maintenance] of it"), None);
        assert_eq!(Mark::of(&mark.on(None)), Some(mark));
    }
}

//! What became otherwise about a table or a view, and what is known of a column for that.

use serde::Serialize;

/// What became otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlterationKind {
    /// A table was dropped with its rows.
    DroppedTable,
    /// A view or a foreign table was dropped.
    DroppedView,
    /// A column was dropped with its values.
    DroppedColumn,
    /// A table was emptied.
    Truncated,
    /// A table or a view has another name, or is in another schema.
    Renamed,
    /// A column has another name.
    RenamedColumn,
    /// A row without a value for the column is refused: the code that does not know it cannot insert any
    /// more.
    RequiredColumn,
    /// A new column is `json`, which has no equality: `SELECT DISTINCT` and `GROUP BY` over all columns fail.
    JsonColumn,
    /// Row security was switched on: whoever no policy lets in sees no rows.
    RowSecurity,
}

/// What became otherwise about one table or view that was there before.
///
/// ```
/// use db_migrations::check::{Alteration, AlterationKind};
/// let is_lost = |one: &Alteration| one.kind == AlterationKind::DroppedColumn;
/// assert_eq!(<[Alteration]>::iter(&[]).filter(|one| is_lost(one)).count(), 0);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Alteration {
    /// The table or the view, as it was called.
    pub relation: String,
    /// What became otherwise.
    pub kind: AlterationKind,
    /// The column that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub now: Option<String>,
    #[serde(skip)]
    pub(crate) oid: i64,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    pub(super) number: i32,
    pub(super) name: String,
    pub(super) not_null: bool,
    /// The server gives it a value where an INSERT does not.
    pub(super) has_default: bool,
    pub(super) is_json: bool,
}

impl Column {
    /// `NUMBER FLAGS NAME`, as the snapshot's query writes it.
    pub(crate) fn parse(text: &str) -> Option<Column> {
        let mut parts = text.splitn(3, ' ');
        let (number, flags) = (parts.next()?.parse().ok()?, parts.next()?);
        Some(Column {
            number,
            name: parts.next()?.to_owned(),
            not_null: flags.contains('n'),
            has_default: flags.contains('d'),
            is_json: flags.contains('j'),
        })
    }

    pub(super) fn is_required(&self) -> bool {
        self.not_null && !self.has_default
    }
}

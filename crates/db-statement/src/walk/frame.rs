//! What is known of one pair of parentheses, or of a statement.

use super::Access;
use crate::table::Table;

/// Where the words of a frame stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Before the first word of a statement.
    Start,
    /// Between `WITH` and the statement that it belongs to.
    With,
    /// In a query, or a change of rows.
    Query,
    /// In the arguments of a call, a list of columns, an expression.
    Arguments,
    /// In a command whose query comes behind this word.
    Before(&'static str),
    /// `COPY` of a table whose direction is not known yet.
    Copy,
    /// Nothing here matters any more.
    Ignored,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Select,
    Insert,
    Update,
    /// `DELETE` or `MERGE`: its `USING` names tables.
    Using,
    /// A command with a list of tables.
    List,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) state: State,
    pub(super) verb: Verb,
    /// A table's name is next, and this is done to it.
    pub(super) expect: Option<Access>,
    /// Behind a comma comes a table's name, and this is done to it.
    pub(super) comma: Option<Access>,
    /// `INSERT` has its table, and its rows are still to come.
    pub(super) needs_rows: bool,
    /// The next `FROM` belongs to `FOR PORTION OF`.
    pub(super) in_portion: bool,
    /// How many CTEs could be seen when it was opened.
    pub(super) ctes: usize,
    /// Whether it is the query of a CTE.
    pub(super) is_cte_body: bool,
    /// `WITH`: the name that was read last.
    pub(super) cte: Option<String>,
    pub(super) is_recursive: bool,
    /// `WITH`: whether a CTE's query has ended.
    pub(super) has_cte: bool,
    /// `COPY`: the table.
    pub(super) copied: Option<Table>,
}

impl Frame {
    pub(super) fn new(state: State) -> Self {
        Frame {
            state,
            verb: Verb::Select,
            expect: None,
            comma: None,
            needs_rows: false,
            in_portion: false,
            ctes: 0,
            is_cte_body: false,
            cte: None,
            is_recursive: false,
            has_cte: false,
            copied: None,
        }
    }
}

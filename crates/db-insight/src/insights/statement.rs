//! What the last look at a server's plans said of one statement.

use std::time::SystemTime;

use db_statement::Fingerprint;

use crate::Tip;
use crate::history::Window;

/// A statement whose plan was asked for: its plan with the tips at the nodes, and what it is called
/// elsewhere.
///
/// It holds no value of any execution.
///
/// ```no_run
/// # fn show(insights: &db_insight::Insights) {
/// for one in insights.statements() {
///     println!("{} is {:?} in pg_stat_statements\n{}", one.statement, one.query_ids, one.tree);
/// }
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExplainedStatement {
    /// Its fingerprint: the name that the service's own figures give it.
    pub statement: Fingerprint,
    /// Its normal form.
    pub text: String,
    /// What `pg_stat_statements`, `pg_stat_activity` and the server's log call it: `queryid`, one for
    /// each form of the text that the server tells apart.
    pub query_ids: Vec<String>,
    /// When the plan was asked for.
    pub at: SystemTime,
    /// What its executions cost since the look before, or since the counters were reset.
    pub window: Window,
    /// The plan as a tree, with what is wrong at its nodes.
    pub tree: String,
    /// What is wrong, the gravest first.
    pub tips: Vec<Tip>,
}

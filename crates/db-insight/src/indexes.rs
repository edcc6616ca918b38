//! Advises indexes for a workload: what would help each statement, proven or by a stated model; and which
//! help nobody.
//!
//! The server plans each statement, and its plan says what is read, what holds for it, how it is sorted and
//! joined. From that come candidates, and for each what it would cost: by HypoPG where the database has it,
//! by really building it on a copy where that is asked for ([`Prove::Build`]), else by the planner's
//! formulas. Nothing is run but EXPLAIN.

mod candidate;
mod catalog;
mod condition;
mod cost;
mod drops;
mod evaluate;
mod expression;
mod kind;
mod larger_change;
mod plan;
mod promise;
mod proof;
mod select;
mod session;
mod spec;
mod statements;
mod statistics;
mod suggestion;
mod widen;
mod workload;

use std::time::Duration;

use diesel_async::AsyncPgConnection;
use serde::Serialize;
use serde_json::Value;

use catalog::Catalog;
use proof::Prover;
use select::Selector;
use session::Session;

pub use drops::{Drop, YOUNGEST_WINDOW_DAYS};
pub use kind::IndexKind;
pub use larger_change::LargerChange;
pub use promise::{InvalidAdvice, KEPT_WITHIN, Outcome, Promised, Verdict, compare, read_advice};
pub use statements::statements_of_server;
pub(crate) use statements::{StatementCounts, counts_of_server};
pub use statistics::StatisticsAdvice;
pub use suggestion::{Migration, Suggestion};
pub use workload::{InvalidWorkload, Query, read_workload};

/// How a suggestion is proven.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Prove {
    /// By HypoPG where the database has it, else by the model.
    #[default]
    Auto,
    /// By the model alone: the planner's formulas, and its estimates of rows.
    Model,
    /// By building it on temporary copies of the tables, with all rows: it reads them and needs room for
    /// them.
    ///
    /// It locks nothing that a writer needs, and leaves nothing behind. It is no way on a standby.
    Build,
}

/// What counts as a gain.
///
/// ```
/// use db_insight::indexes::AdviceConfig;
///
/// let config = AdviceConfig { least_gain: 0.8, ..AdviceConfig::default() };
/// assert_eq!(config.fewest_rows, 1000.0);
/// ```
#[derive(Debug, Clone)]
pub struct AdviceConfig {
    /// The part of a statement's cost that must go: 0 to 1.
    pub least_gain: f64,
    /// The cost that must go each time, in the planner's units: a page read in order is one.
    pub least_saved: f64,
    /// Tables with fewer rows get no index.
    pub fewest_rows: f64,
    /// How it is proven.
    pub prove: Prove,
    /// The greatest table, in bytes, that [`Prove::Build`] copies.
    pub largest_copy: u64,
    /// How long [`Prove::Build`] may build. What is not proven by then is advised by the model, and a note
    /// says which statements those are.
    pub build_within: Duration,
    /// Whether a sample of the tables, about 30,000 rows of each, is read to see where the planner's
    /// expectations are wrong: that is how statistics are advised.
    pub sample: bool,
}

impl Default for AdviceConfig {
    fn default() -> Self {
        AdviceConfig {
            least_gain: 0.5,
            least_saved: 50.0,
            fewest_rows: 1000.0,
            prove: Prove::Auto,
            largest_copy: 2 << 30,
            build_within: Duration::from_secs(60),
            sample: false,
        }
    }
}

/// All that is advised.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Advice {
    /// Indexes to make.
    pub suggestions: Vec<Suggestion>,
    /// Statistics to make, where [`sample`](AdviceConfig::sample) allowed to look.
    pub statistics: Vec<StatisticsAdvice>,
    /// The names of indexes to drop.
    pub drop: Vec<String>,
    /// Why they can be dropped.
    pub drops: Vec<Drop>,
    /// Materialized views and partitions, where the workload shows that they would help.
    pub larger_changes: Vec<LargerChange>,
    /// What kept the advisor from an answer, and what to do first.
    pub notes: Vec<Note>,
}

/// What kept the advisor from an answer, or what to do first.
#[derive(Debug, Clone, Serialize, PartialEq)]
#[non_exhaustive]
pub struct Note {
    /// The statement, if it is about one.
    pub case: Value,
    /// A word for programs: `not_analysed`, `invalid_index`, `not_planned`, `young_statistics`, `not_proven`,
    /// `rewrite`, …
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Note {
    pub(crate) fn general(code: &'static str, message: String) -> Self {
        Note { case: Value::Null, code, message }
    }
}

/// Why there is no advice at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdviceError {
    /// The database.
    #[error(transparent)]
    Database(#[from] db_core::Error),
    /// The catalogue's answer was not understood.
    #[error("the catalogue's answer is not understood: {0}; report the server's version")]
    Answer(serde_json::Error),
    /// There is no room or no right for copies.
    #[error("the indexes cannot be built on copies: {0}; take the model (`--prove model`) in its place")]
    NoCopy(String),
}

/// Advises indexes for a workload.
///
/// The session's settings are changed while it runs, and reset afterwards.
///
/// ```no_run
/// use db_insight::indexes::{AdviceConfig, advise, read_workload};
///
/// # async fn run(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let workload = read_workload(r#"[{"sql": "SELECT * FROM orders WHERE customer_id = $1", "params": ["7"]}]"#)?;
/// for one in advise(conn, &workload, &AdviceConfig::default()).await?.suggestions {
///     println!("{}", one.create);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`AdviceError`] where the database does not answer. A statement that the server does not plan is a note,
/// no error.
pub async fn advise(
    conn: &mut AsyncPgConnection,
    workload: &[Query],
    config: &AdviceConfig,
) -> Result<Advice, AdviceError> {
    let catalog = Catalog::read(conn).await?;
    let mut session = Session::begin(conn).await?;
    let advice = advise_in(&mut session, &catalog, workload, config).await;
    session.end().await?;
    advice
}

async fn advise_in(
    session: &mut Session<'_>,
    catalog: &Catalog,
    workload: &[Query],
    config: &AdviceConfig,
) -> Result<Advice, AdviceError> {
    let mut advice = Advice::default();
    for table in &catalog.tables {
        for index in
            table.indexes.iter().filter(|index| !index.valid && !index.building && !index.partitioned)
        {
            advice.notes.push(Note::general(
                "invalid_index",
                format!(
                    "{} on {} is INVALID: no query uses it and every write maintains it; \
                     REINDEX INDEX CONCURRENTLY {} or drop it",
                    index.shown, table.shown, index.shown
                ),
            ));
        }
    }
    let mut prover = Prover::open(session, catalog, config, &mut advice.notes).await?;
    let mut selector = Selector::new(catalog, config);
    for query in workload {
        selector.read(session, query, &mut advice.notes).await;
    }
    if config.sample {
        for (query, reading) in &selector.read {
            for found in statistics::of_statement(session, catalog, query, reading).await? {
                // One is enough for all statements that want the same.
                if advice.statistics.iter().all(|known| known.statistics != found.statistics) {
                    advice.statistics.push(found);
                }
            }
        }
    }
    prover.begin();
    let result = selector.choose(session, &mut prover, &mut advice).await;
    prover.close(session).await?;
    result?;
    advice.larger_changes = larger_change::of_workload(catalog, &selector.read, &advice.suggestions);
    advice.drops = drops::drops(catalog, &mut advice.notes);
    advice.drop = advice.drops.iter().map(|drop| drop.index.clone()).collect();
    Ok(advice)
}

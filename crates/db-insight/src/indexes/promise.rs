//! Compares what advice promised with what came once its indexes and statistics were made.
//!
//! What was promised is read from the advice's own JSON. A person may take suggestions out of it first:
//! what is left in it was accepted.

use std::collections::BTreeSet;

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt, Bool, Double, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::session::Session;
use super::suggestion::Migration;
use super::workload::Query;
use super::{AdviceError, expression};

/// What is within this part of the promise was kept.
pub const KEPT_WITHIN: f64 = 0.2;

/// One accepted suggestion, as the advice's JSON has it.
#[derive(Debug, Clone, Deserialize)]
#[non_exhaustive]
pub struct Promised {
    /// The statement that it is for.
    pub case: Value,
    /// The index or the statistics, for people.
    #[serde(alias = "statistics")]
    pub index: String,
    /// The statement's cost in the planner's units, before and after; of statistics none.
    #[serde(default)]
    pub cost: Option<[f64; 2]>,
    /// The rows that were expected, and those that a sample has; of an index none.
    #[serde(default)]
    pub rows: Option<[f64; 2]>,
    /// The bytes that an index will take, about.
    #[serde(default)]
    pub bytes: u64,
    /// Of statistics: the table.
    #[serde(default)]
    pub table: String,
    /// Of statistics: the columns.
    #[serde(default)]
    pub columns: Vec<String>,
    /// What has to be there before.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The migration that makes it.
    pub migration: Migration,
}

/// A text that is no advice.
#[derive(Debug, thiserror::Error)]
#[error("not the advice that `dbctl advise indexes --json` prints: {0}")]
pub struct InvalidAdvice(#[from] serde_json::Error);

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// What came is within [`KEPT_WITHIN`] of what was promised.
    Kept,
    /// More came.
    More,
    /// Less came.
    Less,
    /// It is there, and the statement's plan does not use it.
    NotUsed,
    /// It is there and not valid: no query uses it, and every write maintains it.
    NotValid,
    /// It is not there.
    Missing,
    /// The statement is not in the workload, or the server does not plan it: nothing could be compared.
    NotCompared,
}

/// A promise and what came of it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The statement.
    pub case: Value,
    /// The index or the statistics.
    pub index: String,
    /// What became of it.
    pub verdict: Verdict,
    /// The part of the statement's cost that was to go, and that went: 0 to 1. Of statistics, the number of
    /// times by which the expected rows were wrong, before and now.
    pub promised: f64,
    /// What came.
    pub came: Option<f64>,
    /// The bytes that were promised, and those that it takes.
    pub bytes: [u64; 2],
    /// What one should know: a size that is not as promised, a table that has grown.
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
struct Accepted {
    suggestions: Vec<Promised>,
    #[serde(default)]
    statistics: Vec<Promised>,
}

/// Reads what `dbctl advise indexes --json` printed: what is in it counts as accepted.
///
/// ```
/// let text = r#"{"suggestions": [{"case": 1, "index": "orders USING btree (customer_id)", "cost": [900.0,
/// 9.0],
///     "migration": {"name": "add_x", "up": "CREATE INDEX x …;", "down": "DROP INDEX x;", "metadata":
/// ""}}]}"#;
/// assert_eq!(db_insight::indexes::read_advice(text)?.len(), 1);
/// # Ok::<(), db_insight::indexes::InvalidAdvice>(())
/// ```
///
/// # Errors
///
/// [`InvalidAdvice`] where the text is no advice.
pub fn read_advice(text: &str) -> Result<Vec<Promised>, InvalidAdvice> {
    let Accepted { mut suggestions, statistics } = serde_json::from_str(text)?;
    suggestions.extend(statistics);
    Ok(suggestions)
}

impl Promised {
    /// The name of what it makes.
    pub fn name(&self) -> &str {
        self.migration.name.strip_prefix("add_").unwrap_or(&self.migration.name)
    }

    fn is_of_index(&self) -> bool {
        self.cost.is_some()
    }
}

#[derive(QueryableByName)]
struct Made {
    #[diesel(sql_type = Bool)]
    valid: bool,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    /// Its own name and those of its parts.
    #[diesel(sql_type = Array<Text>)]
    names: Vec<String>,
    #[diesel(sql_type = Double)]
    rows: f64,
}

const MADE: &str = "SELECT i.indisvalid AND i.indisready AS valid, t.bytes, t.names, \
    greatest(r.reltuples, 0)::float8 AS rows \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid \
    JOIN pg_catalog.pg_class r ON r.oid = i.indrelid CROSS JOIN LATERAL (\
      SELECT sum(pg_catalog.pg_relation_size(l.oid))::int8 AS bytes, array_agg(l.relname::text) AS names \
      FROM (SELECT c.oid UNION SELECT p.relid::oid FROM pg_catalog.pg_partition_tree(c.oid) p) parts \
      JOIN pg_catalog.pg_class l ON l.oid = parts.oid) t \
    WHERE c.relkind IN ('i', 'I') \
      AND (c.relname = $1 OR pg_catalog.right(pg_catalog.pg_get_indexdef(c.oid), length($2)) = $2) \
    ORDER BY c.relname = $1 DESC, i.indisvalid DESC LIMIT 1";

#[derive(QueryableByName)]
struct Exists {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// Extended statistics of that name, or a target of its own where it is about one column.
const STATISTICS: &str = "SELECT (SELECT count(*) FROM pg_catalog.pg_statistic_ext e WHERE e.stxname = $1) \
    + (SELECT count(*) FROM pg_catalog.pg_attribute a WHERE a.attstattarget > 100 AND cardinality($3) = 1 \
      AND a.attrelid = pg_catalog.to_regclass($2) AND a.attname = ANY ($3)) AS number";

/// Looks, for each promise, whether it is there, whether its statement uses it, and what that saves now.
///
/// Nothing is run but EXPLAIN. The statements come from the workload again, because advice keeps no
/// statement.
///
/// ```no_run
/// use db_insight::indexes::{Verdict, compare, read_advice, read_workload};
///
/// # async fn run(conn: &mut diesel_async::AsyncPgConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let promised = read_advice(&std::fs::read_to_string("advice.json")?)?;
/// let workload = read_workload(&std::fs::read_to_string("workload.json")?)?;
/// for one in compare(conn, &promised, &workload).await? {
///     println!("{}: {:?}", one.index, one.verdict);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`AdviceError`] where the database does not answer.
pub async fn compare(
    conn: &mut AsyncPgConnection,
    promised: &[Promised],
    workload: &[Query],
) -> Result<Vec<Outcome>, AdviceError> {
    let mut session = Session::begin(conn).await?;
    let mut outcomes = Vec::new();
    for one in promised {
        let outcome = match one.is_of_index() {
            true => of_index(&mut session, one, workload).await,
            false => of_statistics(&mut session, one, workload).await,
        };
        match outcome {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                session.end().await?;
                return Err(error);
            }
        }
    }
    session.end().await?;
    Ok(outcomes)
}

async fn of_index(
    session: &mut Session<'_>,
    promised: &Promised,
    workload: &[Query],
) -> Result<Outcome, AdviceError> {
    let [before, after] = promised.cost.unwrap_or_default();
    let gain = |cost: f64| if before > 0.0 { 1.0 - cost / before } else { 0.0 };
    let mut outcome = Outcome {
        case: promised.case.clone(),
        index: promised.index.clone(),
        verdict: Verdict::Missing,
        promised: gain(after),
        came: None,
        bytes: [promised.bytes, 0],
        notes: Vec::new(),
    };
    // A person may have renamed it: then it is known by what it is.
    let made: Vec<Made> = diesel::sql_query(MADE)
        .bind::<Text, _>(promised.name())
        .bind::<Text, _>(format!(" {}", promised.index))
        .get_results(&mut *session.conn)
        .await
        .map_err(Error::from)?;
    let Some(made) = made.into_iter().next() else { return Ok(outcome) };
    outcome.bytes[1] = u64::try_from(made.bytes).unwrap_or(0);
    if !made.valid {
        outcome.verdict = Verdict::NotValid;
        outcome.notes.push(format!("REINDEX INDEX CONCURRENTLY {}", expression::quoted(promised.name())));
        return Ok(outcome);
    }
    let [said, is] = outcome.bytes.map(|bytes| bytes as f64);
    if said > 0.0 && (is - said).abs() > KEPT_WITHIN * said {
        outcome.notes.push(format!("it takes {is:.0} bytes, and {said:.0} were promised"));
    }
    let names: BTreeSet<&String> = made.names.iter().collect();
    match planned(session, promised, workload).await {
        Ok((cost, used)) => {
            let came = gain(cost);
            outcome.came = Some(came);
            outcome.verdict = if used.iter().any(|name| names.contains(name)) {
                judged(outcome.promised, came)
            } else {
                Verdict::NotUsed
            };
            if outcome.verdict == Verdict::Less && made.rows > 0.0 {
                outcome.notes.push(format!(
                    "the table has {:.0} rows now: where it has grown, so has the statement's cost",
                    made.rows
                ));
            }
        }
        Err(reason) => {
            outcome.verdict = Verdict::NotCompared;
            outcome.notes.push(reason);
        }
    }
    Ok(outcome)
}

/// Statistics keep their promise if the expected rows are no longer ten times wrong.
async fn of_statistics(
    session: &mut Session<'_>,
    promised: &Promised,
    workload: &[Query],
) -> Result<Outcome, AdviceError> {
    let [expected, sampled] = promised.rows.unwrap_or_default();
    let mut outcome = Outcome {
        case: promised.case.clone(),
        index: promised.index.clone(),
        verdict: Verdict::Missing,
        promised: super::statistics::wrong_by(expected, sampled),
        came: None,
        bytes: [0, 0],
        notes: Vec::new(),
    };
    let found: Exists = diesel::sql_query(STATISTICS)
        .bind::<Text, _>(promised.name())
        .bind::<Text, _>(&promised.table)
        .bind::<Array<Text>, _>(&promised.columns)
        .get_result(&mut *session.conn)
        .await
        .map_err(Error::from)?;
    if found.number == 0 {
        return Ok(outcome);
    }
    let query = workload.iter().find(|query| query.id == promised.case);
    let now = match query {
        Some(query) => super::statistics::expected_now(session, query, &promised.table).await,
        None => Err("the workload has no statement of that id".to_owned()),
    };
    match now {
        Ok(now) => {
            let wrong = super::statistics::wrong_by(now, sampled);
            outcome.came = Some(wrong);
            outcome.verdict = if wrong < super::statistics::WRONG_BY { Verdict::Kept } else { Verdict::Less };
        }
        Err(reason) => {
            outcome.verdict = Verdict::NotCompared;
            outcome.notes.push(reason);
        }
    }
    Ok(outcome)
}

/// What the statement costs now, and which indexes it uses.
async fn planned(
    session: &mut Session<'_>,
    promised: &Promised,
    workload: &[Query],
) -> Result<(f64, BTreeSet<String>), String> {
    let query = workload.iter().find(|query| query.id == promised.case);
    let query = query.ok_or_else(|| "the workload has no statement of that id".to_owned())?;
    let prepared = session.prepare(query).await?;
    let reading = session.plan(&prepared).await?;
    Ok((reading.cost, reading.indexes))
}

fn judged(promised: f64, came: f64) -> Verdict {
    if (came - promised).abs() <= KEPT_WITHIN * promised.abs() {
        Verdict::Kept
    } else if came > promised {
        Verdict::More
    } else {
        Verdict::Less
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_kept_within_a_fifth() {
        assert_eq!(judged(0.9, 0.75), Verdict::Kept);
        assert_eq!(judged(0.9, 0.7), Verdict::Less);
        assert_eq!(judged(0.5, 0.7), Verdict::More);
    }
}

//! Finds statements that a unit of work repeats: N+1 queries, loops of writes, duplicates.
//!
//! Executions of one statement count together if they ran in one scope, on one database, from one line of
//! code, for one tenant, and no more than [`LONGEST_GAP_MS`] apart. Five of them with different values are a
//! loop that one statement should replace. Not counted: what steers the session, batches, pages, retries,
//! polls, and what is in no scope.

mod shape;
mod trace;
mod watch;

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use db_statement::{Fingerprint, ValueRole, values};

pub use trace::{InvalidTrace, Label, Trace, Verdict, read_traces};
pub use watch::{RepeatsMode, RepeatsWatch};

use shape::{Kind, Shape};

/// How often a statement runs before it counts as repeated.
pub const FEWEST_REPEATS: usize = 5;

/// The longest pause between two executions that still belong together, in milliseconds.
pub const LONGEST_GAP_MS: u64 = 2000;

/// The most rows that an execution gives in the middle if it is one of a loop: more is a batch.
const MOST_ROWS: u64 = 100;

/// Executions with the same values that are this far apart, in milliseconds, are a poll.
const POLL_MS: u64 = 90;

/// One execution of a statement, as the detector sees it: hashes in place of values.
///
/// ```
/// use db_insight::repeats::{Execution, Label, find};
///
/// let of_user = |id: u64| Execution {
///     at_ms: id,
///     scope: Some("GET /orders 17".into()),
///     sql: "SELECT * FROM users WHERE id = $1".into(),
///     binds: vec![id],
///     ..Execution::default()
/// };
/// let ran: Vec<Execution> = (1..=6).map(of_user).collect();
/// let found = find(&ran);
/// assert_eq!((found[0].label, found[0].count), (Label::NPlusOne, 6));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Execution {
    /// When it was sent, in milliseconds from any moment.
    pub at_ms: u64,
    /// The unit of work: one request, one run of a job. What is in none is not counted.
    pub scope: Option<String>,
    /// The connection, where it is known.
    pub connection: Option<String>,
    /// The database, where it is known.
    pub database: Option<String>,
    /// The transaction, where it is known.
    pub transaction: Option<String>,
    /// The statement's text.
    pub sql: String,
    /// A hash of each parameter.
    pub binds: Vec<u64>,
    /// How many elements the longest array among the parameters has, where that is known.
    pub longest_array: Option<usize>,
    /// The line of code that asked for it.
    pub callsite: Option<String>,
    /// How many rows it gave or changed.
    pub rows: Option<u64>,
    /// Whether it ended in an error.
    pub failed: bool,
}

/// A statement that a unit of work repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What kind of repetition it is.
    pub label: Label,
    /// Which statement.
    pub fingerprint: Fingerprint,
    /// Its normal form: it holds no value.
    pub statement: String,
    /// How often it ran.
    pub count: usize,
    /// With how many different values.
    pub distinct: usize,
    /// The line of code, where it is known.
    pub callsite: Option<String>,
    /// The unit of work.
    pub scope: String,
    /// What to write in its place.
    pub instead: &'static str,
}

/// A sentence with all of it, for a log or a failed test.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { label, statement, count, distinct, scope, instead, .. } = self;
        let site = self.callsite.as_deref().unwrap_or("an unknown line");
        write!(
            f,
            "{}: {statement} ran {count} times with {distinct} different values in {scope}, ",
            label.as_str()
        )?;
        write!(f, "asked for at {site}: {instead}")
    }
}

/// Finds the repeated statements among executions of any number of scopes, worst first.
pub fn find(executions: &[Execution]) -> Vec<Finding> {
    let mut order: Vec<usize> = (0..executions.len()).collect();
    order.sort_by_key(|at| executions.get(*at).map_or(0, |one| one.at_ms));
    let ordered: Vec<&Execution> = order.iter().filter_map(|at| executions.get(*at)).collect();
    let mut shapes = Shapes::default();
    let void = void_attempts(&ordered, &mut shapes);
    let mut groups: HashMap<Key<'_>, Vec<Seen>> = HashMap::new();
    let mut tenants: HashMap<Place<'_>, u64> = HashMap::new();
    let mut failures: HashMap<&str, usize> = HashMap::new();
    let mut writes: HashMap<(&str, String), usize> = HashMap::new();
    for (at, one) in ordered.iter().enumerate() {
        let Some(scope) = one.scope.as_deref() else { continue };
        let (fingerprint, shape) = shapes.of(&one.sql);
        let place = (scope, one.connection.as_deref());
        if one.failed {
            *failures.entry(scope).or_default() += 1;
            continue;
        }
        if shape.context {
            tenants.insert(place, one.binds.iter().fold(text_hash(&one.sql), |hash, next| mix(hash, *next)));
            continue;
        }
        let batch = shape.takes_array && one.longest_array.is_none_or(|longest| longest > 1);
        if shape.kind == Kind::Exempt || batch || void.contains(&at) {
            continue;
        }
        for table in &shape.writes {
            *writes.entry((scope, table.clone())).or_default() += 1;
        }
        let written = shape.reads.iter().filter_map(|table| writes.get(&(scope, table.clone()))).sum();
        let key = Key {
            scope,
            database: one.database.as_deref(),
            callsite: one.callsite.as_deref(),
            tenant: tenants.get(&place).copied(),
            fingerprint,
        };
        groups.entry(key).or_default().push(Seen {
            at_ms: one.at_ms,
            values: values_of(one),
            rows: one.rows,
            failures: failures.get(scope).copied().unwrap_or(0),
            written,
        });
    }
    let mut found: Vec<Finding> = Vec::new();
    for (key, seen) in groups {
        let Some(shape) = shapes.known.get(&key.fingerprint) else { continue };
        found.extend(
            runs(&seen).into_iter().filter_map(|run| judge(&key, shape, run)).max_by_key(|one| one.count),
        );
    }
    found.sort_by(|a, b| (a.label, b.count, &a.statement).cmp(&(b.label, a.count, &b.statement)));
    found
}

type Place<'a> = (&'a str, Option<&'a str>);

/// A scope, a connection and a transaction.
type Transaction<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key<'a> {
    scope: &'a str,
    database: Option<&'a str>,
    callsite: Option<&'a str>,
    tenant: Option<u64>,
    fingerprint: Fingerprint,
}

/// One execution in its group.
#[derive(Debug, Clone)]
struct Seen {
    at_ms: u64,
    /// What each value of the text was, and what it is for.
    values: Vec<(ValueRole, u64)>,
    rows: Option<u64>,
    /// How many statements of the scope had failed before.
    failures: usize,
    /// How often the tables that it reads had been written before.
    written: usize,
}

#[derive(Default)]
struct Shapes {
    known: HashMap<Fingerprint, Shape>,
}

impl Shapes {
    fn of(&mut self, sql: &str) -> (Fingerprint, &Shape) {
        let fingerprint = db_statement::fingerprint(sql);
        match self.known.entry(fingerprint) {
            Entry::Occupied(known) => (fingerprint, known.into_mut()),
            Entry::Vacant(new) => (fingerprint, new.insert(Shape::of(sql))),
        }
    }
}

/// The executions of transactions that failed as a whole: they run again, which is no loop.
fn void_attempts(ordered: &[&Execution], shapes: &mut Shapes) -> BTreeSet<usize> {
    let mut void = BTreeSet::new();
    let mut open: HashMap<Transaction<'_>, Vec<usize>> = HashMap::new();
    for (at, one) in ordered.iter().enumerate() {
        if one.transaction.is_none() {
            continue;
        }
        let key = (one.scope.as_deref(), one.connection.as_deref(), one.transaction.as_deref());
        let (_, shape) = shapes.of(&one.sql);
        if one.failed {
            void.extend(open.remove(&key).unwrap_or_default());
        } else if shape.boundary {
            open.remove(&key);
        } else {
            open.entry(key).or_default().push(at);
        }
    }
    void
}

fn values_of(one: &Execution) -> Vec<(ValueRole, u64)> {
    let in_text = values(&one.sql);
    let bind = |number: u16| usize::from(number).checked_sub(1).and_then(|at| one.binds.get(at)).copied();
    let mut all: Vec<(ValueRole, u64)> = in_text
        .iter()
        .map(|value| {
            let told = value.constant.or_else(|| value.parameter.and_then(bind)).unwrap_or_default();
            (value.role, told)
        })
        .collect();
    let named = |at: usize| in_text.iter().any(|value| value.parameter.map(usize::from) == Some(at + 1));
    all.extend(
        one.binds.iter().enumerate().filter(|(at, _)| !named(*at)).map(|(_, bind)| (ValueRole::Other, *bind)),
    );
    all
}

/// Cuts a group where it pauses.
fn runs(seen: &[Seen]) -> Vec<&[Seen]> {
    seen.chunk_by(|one, next| next.at_ms.saturating_sub(one.at_ms) <= LONGEST_GAP_MS).collect()
}

fn judge(key: &Key<'_>, shape: &Shape, run: &[Seen]) -> Option<Finding> {
    let run = without_retries(run);
    if run.len() < FEWEST_REPEATS || shape.volatile || are_pages(shape, &run) || are_many_rows(shape, &run) {
        return None;
    }
    let distinct = run.iter().map(|one| &one.values).collect::<std::collections::HashSet<_>>().len();
    let (label, count) = match shape.kind {
        Kind::Write if is_optimistic_retry(&run) => return None,
        Kind::Write if distinct == 1 && is_poll(&run) => return None,
        Kind::Write => (Label::LoopWrite, run.len()),
        Kind::Read if distinct >= 2 => (Label::NPlusOne, run.len()),
        Kind::Read if is_poll(&run) => return None,
        // Between two of them nothing that they read was written.
        Kind::Read => {
            let alike = run.chunk_by(|one, next| one.written == next.written).map(<[&Seen]>::len).max()?;
            (Label::Duplicate, alike)
        }
        Kind::Exempt => return None,
    };
    if count < FEWEST_REPEATS {
        return None;
    }
    Some(Finding {
        label,
        fingerprint: key.fingerprint,
        statement: shape.text.clone(),
        count,
        distinct,
        callsite: key.callsite.map(str::to_owned),
        scope: key.scope.to_owned(),
        instead: instead(label, shape),
    })
}

/// Leaves out what ran again, with the same values, after something had failed.
fn without_retries(run: &[Seen]) -> Vec<&Seen> {
    let mut last: HashMap<&[(ValueRole, u64)], usize> = HashMap::new();
    run.iter()
        .filter(|one| {
            let before = last.insert(&one.values, one.failures);
            before.is_none_or(|failures| failures == one.failures)
        })
        .collect()
}

/// Whether they are the pages of one list: all but the last are full, and only the cursor or the offset
/// moves.
fn are_pages(shape: &Shape, run: &[&Seen]) -> bool {
    if !shape.pages {
        return false;
    }
    let changes = |one: &Seen, next: &Seen, role: ValueRole| {
        let pairs = one.values.iter().zip(&next.values);
        pairs.filter(|(a, b)| a.0 == role && a.1 != b.1).count()
    };
    let moves_on = run.windows(2).all(|pair| {
        let [one, next] = pair else { return true };
        changes(one, next, ValueRole::Cursor) > 0
            && changes(one, next, ValueRole::Equal) == 0
            && changes(one, next, ValueRole::Limit) == 0
    });
    let full = run.first().and_then(|first| first.rows);
    // A loop that ends at the first empty page has one that is not full before it.
    let empty = run.iter().rev().take_while(|one| one.rows == Some(0)).count();
    let Some((last, before)) = run.get(..run.len() - empty).and_then(<[_]>::split_last) else { return false };
    let are_full = match shape.limit.or(full) {
        Some(limit) => {
            before
                .iter()
                .all(|one| one.rows.is_none_or(|rows| rows.saturating_mul(10) >= limit.saturating_mul(9)))
                && last.rows.is_none_or(|rows| rows <= limit)
        }
        None => true,
    };
    moves_on && are_full
}

/// Whether an execution gives so many rows that it is one of a batch.
fn are_many_rows(shape: &Shape, run: &[&Seen]) -> bool {
    let mut rows: Vec<u64> = run.iter().filter_map(|one| one.rows).collect();
    rows.sort_unstable();
    let Some(middle) = rows.get(rows.len() / 2) else { return false };
    let inserts = shape.kind == Kind::Write && shape.text.starts_with("insert");
    if inserts { *middle > 1 } else { *middle >= MOST_ROWS }
}

/// Whether each write but the last hit no row: its condition named a version that had passed.
fn is_optimistic_retry(run: &[&Seen]) -> bool {
    let Some((_, before)) = run.split_last() else { return false };
    before.iter().all(|one| one.rows == Some(0)) && run.len() <= 10
}

/// Whether they ask for the same again and again, with a pause between.
fn is_poll(run: &[&Seen]) -> bool {
    let mut gaps: Vec<u64> = run
        .windows(2)
        .filter_map(|pair| Some(pair.get(1)?.at_ms.saturating_sub(pair.first()?.at_ms)))
        .collect();
    gaps.sort_unstable();
    gaps.get(gaps.len() / 2).is_some_and(|middle| *middle >= POLL_MS)
}

fn instead(label: Label, shape: &Shape) -> &'static str {
    match label {
        Label::NPlusOne if shape.text.contains("count(") || shape.text.contains("sum(") => {
            "ask once with GROUP BY for all keys (`filter(column.eq_any(ids)).group_by(column)`)"
        }
        Label::NPlusOne if shape.limit.is_some() => {
            "take db-loader's `Children` with a limit for each parent: one statement for all"
        }
        Label::NPlusOne => {
            "load all at once: `filter(column.eq_any(ids))`, `Child::belonging_to(&parents)`, or a loader of db-loader"
        }
        Label::LoopWrite if shape.text.starts_with("insert") => {
            "insert all rows in one statement: `insert_into(table).values(&rows)`, or COPY for thousands"
        }
        Label::LoopWrite => {
            "write all rows in one statement: `filter(id.eq_any(ids))`, or UPDATE … FROM (VALUES …); or a batch"
        }
        Label::Duplicate => {
            "ask once and keep the answer for the request, or load it through a loader of db-loader"
        }
        Label::Ok => "",
    }
}

fn mix(hash: u64, next: u64) -> u64 {
    (hash ^ next).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
}

fn text_hash(text: &str) -> u64 {
    // The setting's value is in it, which a fingerprint leaves out.
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| mix(hash, u64::from(byte)))
}

#[cfg(test)]
mod tests;

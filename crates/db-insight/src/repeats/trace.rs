//! Reads traces of statements from JSON, and judges each.

use std::hash::{BuildHasher, RandomState};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Execution, Finding, find};

/// What kind of repetition a trace shows; the worst comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Label {
    /// One query for each of many rows, where one could fetch all.
    #[serde(rename = "n+1")]
    NPlusOne,
    /// One write for each of many rows.
    #[serde(rename = "loop_write")]
    LoopWrite,
    /// The same query with the same values.
    #[serde(rename = "duplicate")]
    Duplicate,
    /// Nothing is repeated for no reason.
    #[serde(rename = "ok")]
    Ok,
}

impl Label {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Label::NPlusOne => "n+1",
            Label::LoopWrite => "loop_write",
            Label::Duplicate => "duplicate",
            Label::Ok => "ok",
        }
    }
}

/// A text that is no list of traces.
#[derive(Debug, thiserror::Error)]
#[error(
    "not a list of traces, as [{{\"id\", \"events\": [{{\"t_ms\", \"scope\", \"sql\", \"binds\"}}]}}]: {0}"
)]
pub struct InvalidTrace(#[from] serde_json::Error);

/// The statements of one or more units of work, under a name.
///
/// ```
/// use db_insight::repeats::{Label, read_traces};
///
/// let text = r#"[{"id": "a", "events": [{"t_ms": 1, "scope": "r1", "sql": "SELECT 1"}]}]"#;
/// assert_eq!(read_traces(text).unwrap()[0].verdict().label, Label::Ok);
/// ```
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its name, as the file has it.
    pub id: Value,
    /// What ran.
    pub executions: Vec<Execution>,
}

/// What a trace shows.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// The worst that was found.
    pub label: Label,
    /// All that was found, worst first.
    pub findings: Vec<Finding>,
}

impl Trace {
    /// Judges the trace.
    pub fn verdict(&self) -> Verdict {
        let findings = find(&self.executions);
        Verdict { label: findings.first().map_or(Label::Ok, |first| first.label), findings }
    }
}

/// Reads `[{"id", "events": […]}]`. All fields may be absent or null; values are kept as hashes only.
///
/// # Errors
///
/// [`InvalidTrace`] where the text is no such list.
pub fn read_traces(text: &str) -> Result<Vec<Trace>, InvalidTrace> {
    let files: Vec<TraceFile> = serde_json::from_str(text)?;
    let keys = RandomState::new();
    Ok(files
        .into_iter()
        .map(|file| Trace {
            id: file.id,
            executions: file.events.into_iter().flatten().map(|one| one.read(&keys)).collect(),
        })
        .collect())
}

#[derive(Deserialize)]
struct TraceFile {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    events: Option<Vec<Event>>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    t_ms: Option<f64>,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    conn: Value,
    #[serde(default)]
    db: Value,
    #[serde(default)]
    sql: Option<String>,
    #[serde(default)]
    binds: Value,
    #[serde(default)]
    callsite: Value,
    #[serde(default)]
    rows: Value,
    #[serde(default)]
    error: Value,
    #[serde(default)]
    tx: Value,
}

impl Event {
    fn read(self, keys: &RandomState) -> Execution {
        let binds: Vec<&Value> = match &self.binds {
            Value::Array(all) => all.iter().collect(),
            Value::Object(named) => named.values().collect(),
            Value::Null => Vec::new(),
            one => vec![one],
        };
        Execution {
            // Negative and absent times are the beginning.
            at_ms: self.t_ms.unwrap_or_default() as u64,
            scope: name(&self.scope),
            connection: name(&self.conn),
            database: name(&self.db),
            transaction: name(&self.tx),
            longest_array: binds.iter().filter_map(|bind| elements(bind)).max(),
            binds: binds.iter().map(|bind| keys.hash_one(bind.to_string())).collect(),
            sql: self.sql.unwrap_or_default(),
            callsite: name(&self.callsite),
            rows: self.rows.as_u64().or_else(|| self.rows.as_f64().map(|rows| rows as u64)),
            failed: failed(&self.error),
        }
    }
}

/// A name, which may be a number; none for null, false and the empty text.
fn name(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn failed(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// How many elements a parameter has, where it is an array, in JSON or as the server writes it.
fn elements(value: &Value) -> Option<usize> {
    match value {
        Value::Array(all) => Some(all.len()),
        Value::String(text) => {
            let inner = text.strip_prefix('{')?.strip_suffix('}')?;
            Some(if inner.is_empty() { 0 } else { inner.split(',').count() })
        }
        _ => None,
    }
}

//! The statements that advice is for.

use serde::Deserialize;
use serde_json::Value;

/// One statement of a workload.
///
/// ```
/// let workload = db_insight::indexes::read_workload(r#"[{"id": 1, "sql": "SELECT 1", "calls_per_day": 5}]"#).unwrap();
/// assert_eq!(workload[0].calls_per_day, Some(5.0));
/// ```
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Query {
    /// Its name, as the file has it.
    #[serde(default)]
    pub id: Value,
    /// The statement.
    pub sql: String,
    /// Its parameters, as SQL writes them: `42`, `'paid'`, `NULL`. None: a plan for any value.
    #[serde(default, deserialize_with = "literals")]
    pub params: Vec<String>,
    /// How often it runs; none where nobody knows.
    #[serde(default)]
    pub calls_per_day: Option<f64>,
}

/// A text that is no workload.
#[derive(Debug, thiserror::Error)]
#[error("not a workload, as [{{\"id\", \"sql\", \"params\": [\"1\"], \"calls_per_day\"}}]: {0}")]
pub struct InvalidWorkload(#[from] serde_json::Error);

/// Reads `[{"id", "sql", "params", "calls_per_day"}]`; all but `sql` may be absent.
///
/// # Errors
///
/// [`InvalidWorkload`] where the text is no such list.
pub fn read_workload(text: &str) -> Result<Vec<Query>, InvalidWorkload> {
    Ok(serde_json::from_str(text)?)
}

/// Literals are texts; a number, a boolean or null stands for itself.
fn literals<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let values: Option<Vec<Value>> = Option::deserialize(from)?;
    let literal = |value: Value| match value {
        Value::String(text) => text,
        Value::Null => "NULL".to_owned(),
        other => other.to_string(),
    };
    Ok(values.unwrap_or_default().into_iter().map(literal).collect())
}

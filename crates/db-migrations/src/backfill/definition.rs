//! What a backfill is to do, as its caller says it.

use std::time::Duration;

use db_throttle::ThrottleConfig;
use sha2::{Digest, Sha256};

/// A column, and the expression that its value comes from.
///
/// ```
/// use db_migrations::backfill::Fill;
///
/// assert_eq!(Fill::parse("email_lower = lower(email)"), Some(Fill::new("email_lower", "lower(email)")));
/// assert_eq!(Fill::parse("email_lower"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The column, not quoted.
    pub column: String,
    /// An SQL expression over the row; the row's table is called `t` in it.
    pub expression: String,
}

impl Fill {
    /// `column` gets the value of `expression`.
    pub fn new(column: impl Into<String>, expression: impl Into<String>) -> Self {
        Fill { column: column.into(), expression: expression.into() }
    }

    /// Reads `COLUMN = EXPRESSION`; a column in double quotes is taken as it stands there.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let (column, rest) = match text.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (quoted.get(..end)?.to_owned(), quoted.get(end + 1..)?)
            }
            None => {
                let end = text.find(|one: char| one == '=' || one.is_whitespace())?;
                (text.get(..end)?.to_lowercase(), text.get(end..)?)
            }
        };
        let expression = rest.trim_start().strip_prefix('=')?.trim();
        (!column.is_empty() && !expression.is_empty()).then(|| Fill::new(column, expression))
    }
}

/// What is filled: a table's columns, by expressions, where a condition holds.
///
/// ```
/// use db_migrations::backfill::{Backfill, Fill};
///
/// let backfill = Backfill::new("users", [Fill::new("email_lower", "lower(email)")]);
/// assert_eq!(backfill.name(), "users.email_lower");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfill {
    pub(crate) table: String,
    pub(crate) fills: Vec<Fill>,
    pub(crate) condition: Option<String>,
    pub(crate) name: Option<String>,
}

impl Backfill {
    /// Fills these columns of a table where one of them is NULL. The table is named as in SQL, with its
    /// schema where `search_path` does not lead to it.
    pub fn new(table: impl Into<String>, fills: impl IntoIterator<Item = Fill>) -> Self {
        Backfill { table: table.into(), fills: fills.into_iter().collect(), condition: None, name: None }
    }

    /// Fills only rows for which this SQL condition holds, in place of those where a column is NULL.
    #[must_use]
    pub fn only(self, condition: impl Into<String>) -> Self {
        Backfill { condition: Some(condition.into()), ..self }
    }

    /// Keeps its progress under this name, not under the names of its table and columns.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Backfill { name: Some(name.into()), ..self }
    }

    /// The name under which its progress is kept.
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| {
            let columns: Vec<&str> = self.fills.iter().map(|fill| fill.column.as_str()).collect();
            format!("{}.{}", self.table, columns.join("+"))
        })
    }

    /// Tells this definition from another one of the same name.
    pub(crate) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let fills = self.fills.iter().flat_map(|fill| [fill.column.as_str(), fill.expression.as_str()]);
        let parts = [self.table.as_str(), self.condition.as_deref().unwrap_or_default()];
        for part in parts.into_iter().chain(fills) {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
        hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// How a backfill behaves.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillConfig {
    /// The size of batches and the pauses between them.
    pub throttle: ThrottleConfig,
    /// Between two probes.
    pub probe_interval: Duration,
    /// A read that stands for the application's; none reads one row of the table by its key.
    pub probe: Option<String>,
    /// The longest that a batch waits for a row that somebody has locked. Then it passes such rows over, and
    /// they are tried again at the end.
    ///
    /// The batch's own rows are locked meanwhile, so keep it below what the application bears.
    pub lock_timeout: Duration,
    /// How long rows that stay locked are tried again at the end.
    pub locked_patience: Duration,
    /// After so many rows that cannot be written it stops: something else is wrong than a few rows.
    pub max_failed: u32,
    /// The schema of the tables that keep the progress. None: that of the ledger of migrations.
    pub ledger_schema: Option<String>,
}

impl Default for BackfillConfig {
    fn default() -> Self {
        BackfillConfig {
            throttle: ThrottleConfig::default(),
            probe_interval: Duration::from_millis(10),
            probe: None,
            lock_timeout: Duration::from_millis(30),
            locked_patience: Duration::from_secs(30),
            max_failed: 100,
            ledger_schema: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_split_at_its_first_equals_sign() {
        let parsed = |text: &str| Fill::parse(text).map(|fill| (fill.column, fill.expression));
        let some = |column: &str, expression: &str| Some((column.to_owned(), expression.to_owned()));
        assert_eq!(parsed("A=b = c"), some("a", "b = c"));
        assert_eq!(parsed("\"A = x\" = 1"), some("A = x", "1"));
        assert_eq!(parsed("= 1"), None);
        assert_eq!(parsed("a ="), None);
        assert_eq!(parsed("a b = 1"), None);
    }

    #[test]
    fn another_expression_is_another_backfill() {
        let one = Backfill::new("t", [Fill::new("a", "1")]);
        let other = Backfill::new("t", [Fill::new("a", "2")]);
        assert_ne!(one.hash(), other.hash());
        assert_ne!(one.hash(), one.clone().only("true").hash());
        assert_eq!(one.name(), other.name());
    }
}

//! The summary of a statement, as OpenTelemetry's `db.query.summary` wants it.

use std::fmt;

use crate::table::Table;
use crate::walk::{Access, Visitor, walk};

/// The longest summary, in bytes: OpenTelemetry asks for 255 characters at most.
pub const LONGEST_SUMMARY: usize = 255;

/// The summary of one SQL text: its operations and the tables they name, in the order of the text.
///
/// Operations are in upper case, tables as [`Table`] prints them; names of CTEs are none, nor are calls of
/// functions. So statements with the same fingerprint have the same summary. What would reach beyond
/// [`LONGEST_SUMMARY`] is left out, from the first word that does not fit.
///
/// ```
/// let summary = db_statement::summary("insert into shipping_details select * from orders where id = 1");
/// assert_eq!(summary.as_str(), "INSERT shipping_details SELECT orders");
/// assert_eq!(summary.operation(), Some("INSERT"));
/// ```
pub fn summary(text: &str) -> Summary {
    let mut parts = Parts { text: String::new(), operation: None, targets: 0, target: None, full: false };
    walk(text, &mut parts);
    Summary {
        text: parts.text,
        operation: parts.operation,
        collection: parts.target.filter(|_| parts.targets == 1 && !parts.full),
    }
}

/// What a statement does, in a few words of low cardinality: a span's name, a metric's attribute.
///
/// ```
/// let summary = db_statement::summary("SELECT * FROM users u JOIN orders o ON o.user_id = u.id");
/// assert_eq!(summary.to_string(), "SELECT users orders");
/// assert_eq!(summary.collection(), None);
/// assert_eq!(db_statement::summary("TRUNCATE users").collection(), Some("users"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Summary {
    text: String,
    operation: Option<String>,
    collection: Option<String>,
}

impl Summary {
    /// The value of `db.query.summary`; empty for a text without a statement.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of `db.operation.name`: the first operation of the text, in upper case.
    pub fn operation(&self) -> Option<&str> {
        self.operation.as_deref()
    }

    /// The value of `db.collection.name`: the table, if the text names exactly one.
    pub fn collection(&self) -> Option<&str> {
        self.collection.as_deref()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

struct Parts {
    text: String,
    operation: Option<String>,
    targets: usize,
    target: Option<String>,
    full: bool,
}

impl Parts {
    fn push(&mut self, word: &str) {
        let gap = usize::from(!self.text.is_empty());
        // A summary ends before the first word that does not fit: never within one.
        self.full |= self.text.len() + gap + word.len() > LONGEST_SUMMARY;
        if !self.full {
            self.text.push_str(if gap == 1 { " " } else { "" });
            self.text.push_str(word);
        }
    }
}

impl Visitor for Parts {
    fn operation(&mut self, verb: &str) {
        self.operation.get_or_insert_with(|| verb.to_owned());
        self.push(verb);
    }

    fn table(&mut self, table: Table, _: Access) {
        if self.full {
            return;
        }
        let name = table.to_string();
        self.push(&name);
        if self.target.as_ref() != Some(&name) {
            self.targets += 1;
            self.target = Some(name);
        }
    }

    fn unknown(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_ends_before_the_word_that_does_not_fit() {
        let tables: Vec<String> = (0..100).map(|n| format!("a_table_{n:02}")).collect();
        let summary = summary(&format!("SELECT * FROM {}", tables.join(", ")));
        assert_eq!(summary.as_str(), format!("SELECT {}", tables[..22].join(" ")));
        assert_eq!(summary.as_str().len(), 6 + 22 * 11);
        assert_eq!(summary.collection(), None);
    }

    #[test]
    fn a_text_without_a_statement_has_none() {
        assert_eq!(summary(" ; -- nothing").as_str(), "");
        assert_eq!(summary("").operation(), None);
    }
}

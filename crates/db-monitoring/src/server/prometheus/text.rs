//! Prometheus' text format, version 0.0.4: names are made valid, label values escaped, and no sample comes
//! twice.

use std::collections::HashSet;
use std::fmt::Write;

/// The text as it grows: a family, then its samples.
#[derive(Default)]
pub(crate) struct Exposition {
    text: String,
    name: String,
    /// Begun, and without a sample so far: an empty family is left out.
    head: Option<String>,
    families: HashSet<String>,
    /// Whether the family that was begun was there before: its samples are dropped.
    again: bool,
}

/// Labels of one thing, escaped once for all families that it is in.
pub(crate) struct Labels(String);

impl Labels {
    pub(crate) fn new(labels: &[(&str, &str)]) -> Self {
        let mut text = String::with_capacity(64);
        for (name, value) in labels {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            escape(&mut text, value);
            text.push('"');
        }
        if !text.is_empty() {
            text.push('}');
        }
        Labels(text)
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// A name that Prometheus takes.
pub(crate) fn metric_name(name: &str) -> String {
    let valid = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    name.chars().map(valid).collect()
}

impl Exposition {
    /// Begins a family. One without samples is left out, and one that comes again, too: Prometheus refuses
    /// both.
    pub(crate) fn family(&mut self, name: &str, help: &str, kind: &str) {
        self.again = self.families.contains(name);
        self.name.clear();
        self.name.push_str(name);
        self.head = Some(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(crate) fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        self.sample_of(&Labels::new(labels), value);
    }

    pub(crate) fn sample_of(&mut self, Labels(labels): &Labels, value: f64) {
        if self.again {
            return;
        }
        if let Some(head) = self.head.take() {
            self.families.insert(self.name.clone());
            self.text.push_str(&head);
        }
        self.text.push_str(&self.name);
        self.text.push_str(labels);
        self.text.push(' ');
        let _ = match value {
            value if value.is_nan() => write!(self.text, "NaN"),
            value if value.is_infinite() => {
                write!(self.text, "{}", if value > 0.0 { "+Inf" } else { "-Inf" })
            }
            // A double's digits are many times as slow to find as an integer's.
            value if value.fract() == 0.0 && value.abs() < 9e15 => write!(self.text, "{}", whole(value)),
            value => write!(self.text, "{value}"),
        };
        self.text.push('\n');
    }

    /// A family of one sample without labels.
    pub(crate) fn single(&mut self, name: &str, help: &str, kind: &str, value: f64) {
        self.family(name, help, kind);
        self.sample(&[], value);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the caller has looked: it is whole, and small enough")]
fn whole(value: f64) -> i64 {
    value as i64
}

/// Prometheus has doubles only.
#[expect(clippy::cast_precision_loss, reason = "what is greater than 2^53 is as good rounded")]
pub(crate) fn float(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_and_empty_or_repeated_families_left_out() {
        let mut text = Exposition::default();
        text.family("a", "An a.", "gauge");
        text.sample(&[("name", "x\"\\\n}é"), ("other", "")], 1.5);
        text.family("b", "Empty.", "gauge");
        text.family("a", "Again.", "gauge");
        text.sample(&[], 2.0);
        text.single("c", "A c.", "counter", 12_345_678_901.0);
        text.single("d", "A d.", "gauge", f64::INFINITY);
        assert_eq!(
            text.into_text(),
            "# HELP a An a.\n# TYPE a gauge\na{name=\"x\\\"\\\\\\n}é\",other=\"\"} 1.5\n\
             # HELP c A c.\n# TYPE c counter\nc 12345678901\n# HELP d A d.\n# TYPE d gauge\nd +Inf\n"
        );
        assert_eq!(metric_name("auto_explain.log-x$"), "auto_explain_log_x_");
    }
}

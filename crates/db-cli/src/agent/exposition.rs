//! Prometheus' text format: <https://prometheus.io/docs/instrumenting/exposition_formats>.

use std::fmt::Write;

use chrono::{DateTime, Utc};

/// Prometheus' text format.
#[derive(Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Families that were written elsewhere, as they are.
    pub(super) fn append(&mut self, families: &str) {
        self.0.push_str(families);
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// One family: its name, what it means, its kind, and its samples, each with one label's value; without a
    /// label there is one sample.
    pub(super) fn family(
        &mut self,
        (name, help, kind): (&str, &str, &str),
        label: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (value, figure) in samples {
            let _ = match label {
                "" => writeln!(self.0, "{name} {figure}"),
                label => writeln!(self.0, "{name}{{{label}=\"{}\"}} {figure}", escaped(&value)),
            };
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has doubles only")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has doubles only")]
pub(super) fn unix(at: DateTime<Utc>) -> f64 {
    at.timestamp_millis() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_empty_families_left_out() {
        let mut text = Exposition::default();
        text.family(("a", "An a.", "gauge"), "job", [("x\"\\\n".to_owned(), 1.5)]);
        text.family(("b", "A b.", "gauge"), "job", []);
        assert_eq!(text.0, "# HELP a An a.\n# TYPE a gauge\na{job=\"x\\\"\\\\\\n\"} 1.5\n");
        let mut text = Exposition::default();
        text.family(("c", "A c.", "gauge"), "", [(String::new(), 2.0)]);
        assert_eq!(text.0, "# HELP c A c.\n# TYPE c gauge\nc 2\n");
    }
}

//! What a page shows of partitions.

use std::time::SystemTime;

use db_core::panel::{Column, Panel, Table, Value};

use super::Report;

impl Report {
    /// The sets of partitions, how far ahead they reach and what they need, for a page.
    ///
    /// ```
    /// let nothing = db_maintenance::partitions::Report::default();
    /// assert_eq!(nothing.panel().title, "Partitions");
    /// ```
    pub fn panel(&self) -> Panel {
        let columns = [
            Column::new("table", "Table"),
            Column::new("partitions", "Partitions"),
            Column::new("ahead_seconds", "Ahead"),
            Column::new("wanted_ahead_seconds", "Wanted ahead"),
            Column::new("fails_at", "Next insert fails"),
            Column::new("rows_in_default", "Rows in the default"),
            Column::new("needs", "Needs"),
        ];
        let table = Table::new("sets", columns).when_empty("The policy names no table.");
        let table = self.sets.iter().fold(table, |table, set| {
            let health = &set.health;
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            let seconds = |seconds: i64| Value::Seconds(seconds as f64);
            let needs: Vec<String> = set
                .failed
                .iter()
                .map(|failed| format!("{}: {}", failed.what, failed.why))
                .chain(health.missing.iter().map(|what| format!("no partition for {what}")))
                .chain(health.pending.iter().map(|table| format!("{table} is half detached")))
                .collect();
            table.row([
                Value::text(set.table.to_string()),
                Value::Count(health.partitions as u64),
                health.ahead_seconds.map_or(Value::Missing, seconds),
                seconds(health.wanted_ahead_seconds),
                health.next_insert_fails_at.map_or(Value::Missing, |at| Value::At(SystemTime::from(at))),
                Value::Count(u64::try_from(health.rows_in_default).unwrap_or(0)),
                Value::some_text((!needs.is_empty()).then(|| needs.join("; "))),
            ])
        });
        Panel::new("partitions", "Partitions").table(table)
    }
}

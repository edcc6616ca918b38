//! What a page shows of the migrations that are applied, and how charts mark them.

use std::time::UNIX_EPOCH;

use db_core::panel::{Column, Panel, Table, Value};

use super::History;

impl History {
    /// What is applied, and what was cut off, for a page.
    ///
    /// ```
    /// # fn show(history: &db_migrations::History) {
    /// println!("{}", history.panel().to_text());
    /// # }
    /// ```
    pub fn panel(&self) -> Panel {
        let columns = [
            Column::new("version", "Version"),
            Column::new("name", "Name"),
            Column::new("applied_at", "Applied"),
            Column::new("took_seconds", "Took"),
            Column::new("by", "By"),
            Column::new("how", "How"),
        ];
        let table = Table::new("applied", columns).when_empty("No migration is recorded in this database.");
        let table = self.applied.iter().fold(table, |table, one| {
            table.row([
                Value::text(one.version.as_str()),
                Value::some_text(one.name.as_deref()),
                one.at.map_or(Value::Missing, Value::At),
                one.elapsed.map_or(Value::Missing, |took| Value::Seconds(took.as_secs_f64())),
                Value::some_text(one.by.as_deref()),
                Value::some_text(one.how.as_deref()),
            ])
        });
        let cut_off: Vec<_> =
            self.cut_off.iter().map(|(version, parts)| format!("{version} after {parts} parts")).collect();
        let panel = Panel::new("migrations", "Migrations")
            .figure("applied", "Applied in all", Value::Count(self.count))
            .table(table);
        match cut_off.is_empty() {
            true => panel,
            false => panel.text(format!(
                "Begun and not ended: {}. `dbctl migrate apply` goes on where it was cut off.",
                cut_off.join(", ")
            )),
        }
    }

    /// When what was applied, in seconds since 1970, for charts.
    ///
    /// ```
    /// # fn mark(history: &db_migrations::History) {
    /// for (at, what) in history.marks() {
    ///     println!("{at}: {what}");
    /// }
    /// # }
    /// ```
    pub fn marks(&self) -> Vec<(f64, String)> {
        let applied = self.applied.iter().filter_map(|one| Some((one.at?, one)));
        applied
            .map(|(at, one)| {
                let name = one.name.as_deref().unwrap_or(one.version.as_str());
                let at = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                (at, format!("migration {name}"))
            })
            .collect()
    }
}

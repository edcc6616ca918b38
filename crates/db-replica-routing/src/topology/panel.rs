//! What a page or a report shows of the servers.

use db_core::panel::{Column, Panel, Table, Value};

use super::Topology;

impl Topology {
    /// The servers as this service sees them, for a page.
    ///
    /// ```
    /// # fn show(topology: &db_replica_routing::Topology) {
    /// println!("{}", topology.panel().to_text());
    /// # }
    /// ```
    pub fn panel(&self) -> Panel {
        let columns = [
            Column::new("server", "Server"),
            Column::new("role", "Role"),
            Column::new("up", "Answers"),
            Column::new("lag_seconds", "Behind"),
            Column::new("latency_seconds", "Round trip"),
            Column::new("trouble", "Trouble"),
        ];
        let table = self.nodes.iter().fold(Table::new("nodes", columns), |table, node| {
            table.row([
                Value::text(node.endpoint.to_string()),
                Value::some_text(node.role.map(|role| role.to_string())),
                Value::text(if node.is_up() { "yes" } else { "no" }),
                node.lag.map_or(Value::Missing, |lag| Value::Seconds(lag.as_secs_f64())),
                Value::Seconds(node.latency.as_secs_f64()),
                Value::some_text(node.trouble.as_ref().map(ToString::to_string)),
            ])
        });
        let writer = Value::some_text(self.writer.as_ref().map(ToString::to_string));
        Panel::new("nodes", "The servers as this service sees them")
            .figure("writer", "Writes go to", writer)
            .table(table)
    }
}

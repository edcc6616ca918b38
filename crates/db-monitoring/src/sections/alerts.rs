//! What people were told and is not over yet, and how alerting itself is.

use db_core::CheckStatus;

use crate::alerts::AlertStatus;
use crate::panel::{Column, Panel, Table, Value};

pub(crate) fn alerts(status: &AlertStatus) -> Vec<Panel> {
    let open = Panel::new("alerts", "Open incidents");
    let open = if status.leads {
        open.table(incidents(status))
    } else {
        open.missing("another replica of this service tells people, and knows")
    };
    let mut own = Panel::new("alerting", "How alerting itself is")
        .figure("leads", "This replica tells people", Value::text(if status.leads { "yes" } else { "no" }))
        .figure(
            "evaluated_at",
            "Conditions were looked at",
            status.evaluated.map_or(Value::Missing, Value::At),
        )
        .figure("delivered_at", "A message came through", status.delivered.map_or(Value::Missing, Value::At))
        .figure("deliveries", "Messages that came through", Value::Count(status.deliveries))
        .figure("diverted", "Went another way", Value::Count(status.diverted));
    own = match status.lost {
        0 => own.figure("lost", "Reached nobody", Value::Count(0)),
        lost => own.judged("lost", "Reached nobody", Value::Count(lost), CheckStatus::Critical),
    };
    for trouble in [&status.trouble, &status.heartbeat_trouble].into_iter().flatten() {
        own = own.missing(trouble.clone());
    }
    vec![open, own]
}

fn incidents(status: &AlertStatus) -> Table {
    let columns = [
        Column::new("status", "Status"),
        Column::new("key", "About"),
        Column::new("title", "Incident"),
        Column::new("said", "Said"),
        Column::new("since_at", "Since"),
        Column::new("known", "Known now"),
    ];
    let empty = Table::new("incidents", columns).when_empty("Nothing is wrong that people were told of.");
    status.open.iter().fold(empty, |table, incident| {
        let open = &incident.open;
        let grave = if open.critical { CheckStatus::Critical } else { CheckStatus::Warn };
        table.row([
            Value::Status(grave),
            Value::text(&*incident.key),
            Value::text(&*open.title),
            Value::text(&*open.text),
            super::at(Some(open.since as f64)),
            Value::text(if incident.is_unknown { "no" } else { "yes" }),
        ])
    })
}

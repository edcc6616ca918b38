//! Who is connected: by state with the longest, by application, and how much room is left.

use std::collections::BTreeMap;

use super::{known, some_seconds};
use crate::panel::{Column, Panel, Row, Table, Value};
use crate::server::{Backend, Snapshot};

#[derive(Default)]
struct Group {
    sessions: u64,
    longest: Option<f64>,
    transaction: Option<f64>,
}

impl Group {
    fn add(&mut self, backend: &Backend) {
        self.sessions += 1;
        let longer = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.max(b)),
            (a, b) => a.or(b),
        };
        self.longest = longer(self.longest, backend.state_age);
        self.transaction = longer(self.transaction, backend.xact_age);
    }
}

/// Connections by state and duration, and by application.
pub(crate) fn connections(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("connections", "Connections by state and duration");
    let (backends, panel) = match known(&snapshot.activity, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let clients =
        || backends.iter().filter(|backend| backend.backend_type.as_deref() == Some("client backend"));
    let (mut states, mut applications) =
        (BTreeMap::<&str, Group>::new(), BTreeMap::<(&str, &str), Group>::new());
    for backend in clients() {
        states.entry(backend.state.as_deref().unwrap_or("(not visible)")).or_default().add(backend);
        let who =
            (backend.application_name.as_deref().unwrap_or(""), backend.usename.as_deref().unwrap_or(""));
        applications.entry(who).or_default().add(backend);
    }
    let used = clients().count() as u64;
    let room = room(snapshot);
    let by_state = states.iter().fold(
        Table::new(
            "by_state",
            [
                Column::new("state", "State"),
                Column::new("sessions", "Sessions"),
                Column::new("longest_seconds", "Longest in this state"),
                Column::new("transaction_seconds", "Oldest transaction"),
            ],
        )
        .titled("By state")
        .when_empty("Nobody is connected but us."),
        |table, (state, group)| {
            table.row([
                Value::text(*state),
                Value::Count(group.sessions),
                some_seconds(group.longest),
                some_seconds(group.transaction),
            ])
        },
    );
    let mut applications: Vec<_> = applications.into_iter().collect();
    applications.sort_by_key(|(_, group)| std::cmp::Reverse(group.sessions));
    let by_application = applications.iter().fold(
        Table::new(
            "by_application",
            [
                Column::new("application", "Application"),
                Column::new("role", "Role"),
                Column::new("sessions", "Sessions"),
                Column::new("transaction_seconds", "Oldest transaction"),
            ],
        )
        .titled("By application"),
        |table, ((application, role), group)| {
            let name = if application.is_empty() { "(no name)" } else { *application };
            table.row([
                Value::text(name),
                Value::text(*role),
                Value::Count(group.sessions),
                some_seconds(group.transaction),
            ])
        },
    );
    let panel = panel.figure("used", "Connected", Value::Count(used));
    let panel = match room {
        Some(room) => panel.figure("room", "Room for", Value::Count(room)).figure(
            "used_percent",
            "In use",
            super::percent(used as f64, room as f64),
        ),
        None => panel,
    };
    panel.table(by_state).table(by_application).table(longest(backends))
}

/// How many ordinary roles may connect: `max_connections` without what is kept for others.
pub(crate) fn room(snapshot: &Snapshot) -> Option<u64> {
    let setting = |name: &str| {
        let settings = snapshot.settings.get().ok()?;
        settings.iter().find(|setting| setting.name == name)?.setting.as_deref()?.parse::<u64>().ok()
    };
    let kept = ["superuser_reserved_connections", "reserved_connections"];
    Some(setting("max_connections")?.saturating_sub(kept.into_iter().filter_map(setting).sum()))
}

/// Who has worked longest on one transaction.
fn longest(backends: &[Backend]) -> Table {
    let mut busy: Vec<&Backend> = backends.iter().filter(|backend| backend.xact_age.is_some()).collect();
    busy.sort_by(|a, b| b.xact_age.unwrap_or(0.0).total_cmp(&a.xact_age.unwrap_or(0.0)));
    let columns = [
        Column::new("pid", "Session"),
        Column::new("application", "Application"),
        Column::new("state", "State"),
        Column::new("waits_for", "Waits for"),
        Column::new("transaction_seconds", "Transaction"),
        Column::new("statement_seconds", "Statement"),
        Column::new("statement", "Text"),
    ];
    busy.into_iter().take(20).map(session_row).fold(
        Table::new("longest", columns).titled("Longest transactions").when_empty("No transaction is open."),
        Table::with,
    )
}

/// A session as a row, which a person may want to end.
pub(crate) fn session_row(backend: &Backend) -> Row {
    let mut row = Row::of([
        Value::text(backend.pid.to_string()),
        Value::some_text(backend.application_name.clone()),
        Value::some_text(backend.state.clone()),
        Value::some_text(waits_for(backend)),
        some_seconds(backend.xact_age),
        some_seconds(backend.query_age),
        backend.query.clone().map_or(Value::Missing, Value::Code),
    ]);
    row.session = session(backend);
    row
}

/// What tells the session from a later one with the same number.
pub(crate) fn session(backend: &Backend) -> Option<(i32, String)> {
    Some((i32::try_from(backend.pid).ok()?, format!("{:.6}", backend.backend_start?)))
}

/// What it waits for, in the server's words; nothing if it works.
pub(crate) fn waits_for(backend: &Backend) -> Option<String> {
    let kind = backend.wait_event_type.as_deref()?;
    Some(match backend.wait_event.as_deref() {
        Some(event) => format!("{kind}: {event}"),
        None => kind.to_owned(),
    })
}

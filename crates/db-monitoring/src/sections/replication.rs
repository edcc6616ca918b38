//! Who gets the log and how far they are, and which slots hold it back.

use super::{known, some_bytes, some_count, some_seconds, why};
use crate::panel::{Column, Panel, Table, Value};
use crate::server::{Archiver, Sender, ServerRole, Slot, Snapshot};

/// Replication, slots and the archive.
pub(crate) fn replication(snapshot: &Snapshot) -> Vec<Panel> {
    vec![senders(snapshot), receiver(snapshot), slots(snapshot), archive(snapshot)]
}

fn senders(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("replication", "Replication")
        .note("How far those are that get the log from this server. Where nothing is written the time is old and the bytes are 0.");
    let (senders, panel) = match known(&snapshot.senders, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let sent_from = snapshot.position.get().ok().and_then(|position| position.current.or(position.replayed));
    let columns = [
        Column::new("standby", "Standby"),
        Column::new("address", "Address"),
        Column::new("state", "State"),
        Column::new("sync", "Synchronous"),
        Column::new("behind_bytes", "Behind"),
        Column::new("replay_seconds", "Replay lag"),
        Column::new("flush_seconds", "Flush lag"),
        Column::new("reply_seconds", "Last heard of"),
    ];
    let row = |sender: &Sender| {
        let behind = sent_from.zip(sender.replayed).map(|(from, to)| from.saturating_sub(to).max(0));
        [
            Value::some_text(sender.application_name.clone()),
            Value::some_text(sender.client_addr.clone()),
            Value::some_text(sender.state.clone()),
            Value::some_text(sender.sync_state.clone()),
            some_bytes(behind),
            some_seconds(sender.replay_lag),
            some_seconds(sender.flush_lag),
            some_seconds(sender.reply_age),
        ]
    };
    let table = senders
        .iter()
        .map(row)
        .fold(Table::new("senders", columns).when_empty("Nobody gets the log from this server."), Table::row);
    panel.figure("senders", "Receivers", Value::Count(senders.len() as u64)).table(table)
}

fn receiver(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("receiver", "Where this server gets the log");
    if snapshot.server.get().is_ok_and(|server| server.role == ServerRole::Primary) {
        return panel.text("It is the primary: it writes the log itself.");
    }
    let position = snapshot.position.get().ok();
    let panel = match position {
        Some(position) => {
            let waits = position.received.zip(position.replayed).map(|(got, done)| got.saturating_sub(done));
            panel
                .figure("to_replay_bytes", "Received and not replayed", some_bytes(waits))
                .figure(
                    "last_replayed_seconds",
                    "Last transaction replayed",
                    some_seconds(position.last_replayed_age),
                )
                .figure(
                    "paused",
                    "Replay",
                    match position.replay_paused {
                        Some(true) => Value::text("paused"),
                        Some(false) => Value::text("goes on"),
                        None => Value::Missing,
                    },
                )
        }
        None => panel,
    };
    match snapshot.receiver.get() {
        Ok(receiver) => panel.figure("status", "Receiver", Value::some_text(receiver.status.clone())).figure(
            "last_message_seconds",
            "Last message",
            some_seconds(receiver.last_message_age),
        ),
        Err(skipped) => panel.missing(why(skipped)),
    }
}

fn slots(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("slots", "Replication slots");
    let (slots, panel) = match known(&snapshot.slots, panel) {
        Ok(known) => known,
        Err(panel) => return panel,
    };
    let columns = [
        Column::new("slot", "Slot"),
        Column::new("type", "Type"),
        Column::new("active", "In use"),
        Column::new("retained_bytes", "Log it holds"),
        Column::new("status", "Log"),
        Column::new("inactive_seconds", "Unused for"),
        Column::new("xmin_age", "Holds rows back by"),
    ];
    let row = |slot: &Slot| {
        let active = slot.active.map(|active| if active { "yes" } else { "no" });
        [
            Value::text(&*slot.slot_name),
            Value::some_text(slot.plugin.clone().or_else(|| slot.slot_type.clone())),
            Value::some_text(active),
            some_bytes(slot.retained),
            Value::some_text(slot.invalidation_reason.clone().or_else(|| slot.wal_status.clone())),
            some_seconds(slot.inactive_age),
            some_count(slot.xmin_age.max(slot.catalog_xmin_age)),
        ]
    };
    let table = slots.iter().map(row).fold(
        Table::new("slots", columns).when_empty("There is no slot, so none holds the log back."),
        Table::row,
    );
    let retained = slots.iter().filter_map(|slot| slot.retained).max().unwrap_or(0);
    panel.figure("retained_bytes", "Most held by one", super::bytes(retained)).table(table)
}

fn archive(snapshot: &Snapshot) -> Panel {
    let panel = Panel::new("archive", "Archive of the log");
    match snapshot.archiver.get() {
        Ok(Archiver { archived_count, last_archived_age, failed_count, last_failed_age, .. }) => panel
            .figure("archived", "Archived", some_count(*archived_count))
            .figure("last_archived_seconds", "Last one", some_seconds(*last_archived_age))
            .figure("failed", "Failed", some_count(*failed_count))
            .figure("last_failed_seconds", "Last failure", some_seconds(*last_failed_age)),
        Err(skipped) => panel.missing(why(skipped)),
    }
}

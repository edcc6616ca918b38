//! Standbys, slots, and how far behind they are.

use crate::server::prometheus::text::{Exposition, Labels, float};
use crate::server::prometheus::whole::{figures, write_rows};
use crate::server::{Lag, LagState, Sender, Slot, Snapshot};

pub(super) fn write(text: &mut Exposition, snapshot: &Snapshot, now: f64) {
    own(text, snapshot, now);
    standbys(text, snapshot);
    if let Ok(slots) = snapshot.slots.get() {
        let rows: Vec<_> = slots
            .iter()
            .map(|it| {
                let kind = it.slot_type.as_deref().unwrap_or_default();
                (Labels::new(&[("slot_name", &it.slot_name), ("slot_type", kind)]), it)
            })
            .collect();
        let known = figures!(Slot, "pg_replication_slot_", "gauge":
            "slot_is_active" = |it| it.active.map(|active| f64::from(u8::from(active)));
            "safe_wal_size_bytes" = |it| it.safe_wal_size.map(float);
        );
        let ours = figures!(Slot, "dbp_replication_slot_", "gauge":
            "retained_bytes" = |it| it.retained.map(float);
            "unconfirmed_bytes" = |it| it.unconfirmed.map(float);
            "inactive_seconds" = |it| it.inactive_age;
        );
        write_rows(text, known, rows.iter());
        write_rows(text, ours, rows.iter());
        text.family("pg_replication_slot_wal_status", "Whether the log that a slot needs is there.", "gauge");
        for it in slots {
            if let Some(status) = &it.wal_status {
                let kind = it.slot_type.as_deref().unwrap_or_default();
                text.sample(
                    &[("slot_name", &it.slot_name), ("slot_type", kind), ("wal_status", status)],
                    1.0,
                );
            }
        }
    }
}

fn own(text: &mut Exposition, snapshot: &Snapshot, now: f64) {
    let Ok(position) = snapshot.position.get() else { return };
    let is_replica = f64::from(u8::from(position.in_recovery));
    text.single("pg_replication_is_replica", "Whether it is a standby.", "gauge", is_replica);
    if let Some(age) = position.last_replayed_age {
        text.single(
            "pg_replication_last_replay_seconds",
            "When the last transaction that was replayed was committed.",
            "gauge",
            now - age,
        );
    }
    let Ok(lag) = snapshot.lag.get() else { return };
    // A primary is behind nobody: boards expect a zero there.
    let seconds = lag.own.as_ref().map_or(Some(0.0), |own| own.seconds);
    if let Some(seconds) = seconds {
        let help = "How late a standby is, by log positions; at least that where it hears nothing.";
        text.single("pg_replication_lag_seconds", help, "gauge", seconds);
    }
    if let Some(own) = &lag.own {
        if let Some(bytes) = own.bytes {
            text.single("dbp_replication_lag_bytes", "How much log it lacks.", "gauge", float(bytes));
        }
        let dead = own.state == LagState::NoReceiver;
        let help = "Whether it gets the log.";
        text.single("dbp_replication_receiver_up", help, "gauge", f64::from(u8::from(!dead)));
    }
}

fn standbys(text: &mut Exposition, snapshot: &Snapshot) {
    let Ok(senders) = snapshot.senders.get() else { return };
    let labels = |it: &Sender| {
        Labels::new(&[
            ("pid", &it.pid.to_string()),
            ("application_name", it.application_name.as_deref().unwrap_or_default()),
            ("client_addr", it.client_addr.as_deref().unwrap_or_default()),
            ("state", it.state.as_deref().unwrap_or_default()),
            ("sync_state", it.sync_state.as_deref().unwrap_or_default()),
        ])
    };
    let lags = snapshot.lag.get().map(|lag| &*lag.standbys).unwrap_or_default();
    let rows: Vec<_> = senders
        .iter()
        .filter_map(|it| Some((labels(it), lags.iter().find(|lag| lag.pid == Some(it.pid))?)))
        .collect();
    let count = i64::try_from(senders.len()).unwrap_or(i64::MAX);
    text.single("dbp_standbys", "How many get the log from here.", "gauge", float(count));
    let known = figures!(Lag, "pg_stat_replication_", "gauge": "pg_wal_lsn_diff" = |it| it.bytes.map(float););
    let ours = figures!(Lag, "dbp_standby_", "gauge":
        "lag_seconds" = |it| it.seconds;
        "lag_bytes" = |it| it.bytes.map(float);
    );
    write_rows(text, known, rows.iter());
    write_rows(text, ours, rows.iter());
}

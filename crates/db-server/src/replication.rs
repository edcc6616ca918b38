//! What a standby needs to know of its primary.

use std::path::PathBuf;

use crate::{SUPERUSER, ServerSettings};

/// From where a standby streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Follow {
    pub(crate) port: u16,
    /// The standby's own name: its slot on the primary and its `application_name`.
    pub(crate) name: String,
    /// The file with the password: a server logs a changed connection string, and `ps` shows that of
    /// pg_rewind.
    pub(crate) passfile: PathBuf,
}

impl Follow {
    /// A connection string for replication and for pg_rewind.
    pub(crate) fn conninfo(&self) -> String {
        let Follow { port, name, passfile } = self;
        let passfile = passfile.display().to_string().replace('\\', "\\\\").replace('\'', "\\'");
        format!("host=127.0.0.1 port={port} user={SUPERUSER} passfile='{passfile}' application_name={name}")
    }

    pub(crate) fn add_to(&self, settings: ServerSettings) -> ServerSettings {
        settings.with("primary_conninfo", self.conninfo()).with("primary_slot_name", &self.name)
    }
}

/// Creates a slot that keeps WAL from now on, unless it exists.
pub(crate) fn create_slot(name: &str) -> String {
    format!(
        "SELECT pg_create_physical_replication_slot('{name}', true) \
         WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{name}')"
    )
}

/// Drops the slots that a primary kept for its standbys: on a standby they would only hold back WAL.
pub(crate) const DROP_IDLE_SLOTS: &str = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
     WHERE slot_type = 'physical' AND NOT active";

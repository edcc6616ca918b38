//! What the role may see, and which databases there are.

use serde::Serialize;

use crate::server::record::record;

/// What the role that collects may see. What it may not is skipped, never taken for well.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Access {
    /// Who we are.
    pub role: String,
    /// The database that we are in.
    pub database: String,
    /// Whether it sees what other roles do: `pg_read_all_stats`, which `pg_monitor` includes.
    pub reads_all_stats: bool,
    /// Whether it sees all settings: `pg_read_all_settings`, which `pg_monitor` includes.
    pub reads_all_settings: bool,
    /// Whether it may do anything.
    pub is_superuser: bool,
    /// The server's databases.
    pub databases: Vec<Database>,
}

record! {
    /// A database of the server's.
    pub struct Database: "pg_database", "@ AS s" {
        oid: i64;
        datname: String;
        datistemplate: bool;
        datallowconn: bool;
        /// Whether the role may connect to it.
        can_connect: bool, as "has_database_privilege(s.oid, 'CONNECT')", from [];
    }
}

record! {
    /// What the role may see.
    pub(crate) struct AccessRow: "", "(SELECT 1) AS s" {
        role: String, as "current_user", from [];
        database: String, as "current_database()", from [];
        reads_all_stats: bool, as "pg_has_role('pg_read_all_stats', 'USAGE')", from [];
        reads_all_settings: bool, as "pg_has_role('pg_read_all_settings', 'USAGE')", from [];
        is_superuser: bool, as "coalesce((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), \
            false)", from [];
    }
}

impl AccessRow {
    pub(crate) fn with(self, databases: Vec<Database>) -> Access {
        let AccessRow { role, database, reads_all_stats, reads_all_settings, is_superuser } = self;
        Access { role, database, reads_all_stats, reads_all_settings, is_superuser, databases }
    }
}

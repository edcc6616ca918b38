//! What a backup must know of its server before the first byte: identity, versions, settings, and what
//! forbids it.

use std::collections::BTreeMap;

use crate::manifest::ServerFacts;
use crate::session::{Session, SessionError};

/// The server as it is before a backup.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) facts: ServerFacts,
    /// Whether the server hands its segments to an archive.
    pub(crate) archives: bool,
    /// Whether it keeps summaries of the log, without which no incremental backup can be taken.
    pub(crate) summarizes: bool,
    pub(crate) databases: Vec<String>,
    /// The names of all databases by their numbers, which are the names of their directories.
    pub(crate) names: BTreeMap<u32, String>,
    /// The names of the tablespaces.
    pub(crate) tablespaces: BTreeMap<u32, String>,
    /// Files of configuration that lie outside the data directory, where the role may know of them.
    pub(crate) outside: Vec<String>,
    /// Collations whose version the server's own library contradicts, for the caller to be told.
    pub(crate) collation_mismatches: Vec<String>,
}

/// Settings that a restored server must have at least as high, or it refuses to replay.
const RAISED: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
];

/// Timeouts that would end a long and silent session.
const TIMEOUTS: &str = "'statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', \
                        'transaction_timeout', 'lock_timeout'";

impl Server {
    pub(crate) async fn ask(session: &mut Session) -> Result<Server, SessionError> {
        let identity = session.rows("IDENTIFY_SYSTEM").await?;
        let system = identity.first().and_then(|row| row.first().cloned().flatten());
        let system_identifier = system.and_then(|text| text.parse().ok()).unwrap_or(0);
        Self::ask_of(session, system_identifier).await
    }

    async fn ask_of(session: &mut Session, system_identifier: u64) -> Result<Server, SessionError> {
        let settings = settings(session).await?;
        let setting = |name: &str| settings.get(name).cloned().unwrap_or_default();
        let number = |name: &str| setting(name).parse::<u32>().unwrap_or(0);
        let standby = session.value("SELECT pg_is_in_recovery()").await? == "t";
        let collations = collations(session).await?;
        let kept = RAISED.iter().chain(&["wal_level"]).map(|name| ((*name).to_owned(), setting(name)));
        let facts = ServerFacts {
            system_identifier,
            version: session.version(),
            wal_segment_bytes: number("wal_segment_size"),
            block_bytes: number("block_size"),
            data_checksums: setting("data_checksums") == "on",
            libc: collations.libc,
            icu: collations.icu,
            settings: kept.collect(),
            name: Some(setting("cluster_name")).filter(|name| !name.is_empty()),
            standby,
        };
        let archives = match setting("archive_mode").as_str() {
            "always" => true,
            "on" => !standby,
            _ => false,
        };
        let outside = outside(&settings);
        Ok(Server {
            facts,
            archives,
            summarizes: setting("summarize_wal") == "on",
            databases: names(session, "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
                .await?,
            names: numbered(session, "SELECT oid::text, datname FROM pg_database WHERE NOT datistemplate")
                .await?,
            tablespaces: numbered(session, "SELECT oid::text, spcname FROM pg_tablespace").await?,
            outside,
            collation_mismatches: collations.mismatches,
        })
    }

    /// The directory of the configuration, where it is not the data directory.
    pub(crate) fn config_directory(&self) -> Option<String> {
        let first = self.outside.first()?;
        std::path::Path::new(first).parent()?.to_str().map(str::to_owned)
    }
}

/// The facts as a session that is no replication's sees them.
pub(crate) async fn of_any(session: &mut Session) -> Result<ServerFacts, SessionError> {
    let system = session.value("SELECT system_identifier FROM pg_catalog.pg_control_system()").await?;
    let server = Server::ask_of(session, system.parse().unwrap_or(0)).await?;
    Ok(server.facts)
}

/// The timeouts that hold for this session in spite of what was asked for; there should be none.
pub(crate) async fn timeouts_in_force(session: &mut Session) -> Result<Vec<String>, SessionError> {
    let sql = format!(
        "SELECT name || ' = ' || setting || coalesce(' ' || unit, '') FROM pg_settings WHERE name IN ({TIMEOUTS}) AND \
         setting <> '0'"
    );
    names(session, &sql).await
}

struct Collations {
    libc: Option<String>,
    icu: Option<String>,
    mismatches: Vec<String>,
}

async fn collations(session: &mut Session) -> Result<Collations, SessionError> {
    // A version that belongs to no collation by name says which library orders its texts.
    let of_libc = "SELECT pg_collation_actual_version(oid) FROM pg_collation WHERE collprovider = 'c' AND \
                   pg_collation_actual_version(oid) IS NOT NULL LIMIT 1";
    let of_icu = "SELECT pg_collation_actual_version(oid) FROM pg_collation WHERE collprovider = 'i' AND \
                  pg_collation_actual_version(oid) IS NOT NULL LIMIT 1";
    let mismatches = "SELECT format('database %s: made with %s %s, this library is %s', datname, datlocprovider, \
                      datcollversion, pg_database_collation_actual_version(oid)) FROM pg_database WHERE \
                      datcollversion <> pg_database_collation_actual_version(oid) ORDER BY 1";
    let libc = names(session, of_libc).await?.into_iter().next();
    let icu = names(session, of_icu).await?.into_iter().next();
    // PostgreSQL 14 does not know which version a database was made with.
    let mismatches = if session.major() < 15 { Vec::new() } else { names(session, mismatches).await? };
    Ok(Collations { libc: libc.map(|version| format!("glibc {version}")), icu, mismatches })
}

async fn settings(session: &mut Session) -> Result<BTreeMap<String, String>, SessionError> {
    // What the role may not see is left out, where SHOW would be an error.
    let sql = "SELECT name, CASE unit WHEN 'MB' THEN (setting::bigint * 1048576)::text WHEN 'B' THEN setting ELSE \
               setting END FROM pg_settings WHERE name IN ('wal_segment_size', 'block_size', 'data_checksums', \
               'cluster_name', 'archive_mode', 'summarize_wal', 'wal_level', 'max_connections', \
               'max_worker_processes', 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction', \
               'data_directory', 'config_file', 'hba_file', 'ident_file')";
    let rows = session.rows(sql).await?;
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        Some((fields.next()?, fields.next()?))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

fn outside(settings: &BTreeMap<String, String>) -> Vec<String> {
    let Some(data) = settings.get("data_directory") else { return Vec::new() };
    let inside = |path: &str| std::path::Path::new(path).starts_with(data);
    let files = ["config_file", "hba_file", "ident_file"].iter().filter_map(|name| settings.get(*name));
    files.filter(|path| !path.is_empty() && !inside(path)).cloned().collect()
}

async fn numbered(session: &mut Session, sql: &str) -> Result<BTreeMap<u32, String>, SessionError> {
    let rows = session.rows(sql).await?;
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        Some((fields.next()?.parse().ok()?, fields.next()?))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

async fn names(session: &mut Session, sql: &str) -> Result<Vec<String>, SessionError> {
    let rows = session.rows(sql).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

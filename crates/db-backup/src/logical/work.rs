//! The directory in which a dump lies for a while, and a program's connection to the server.

use std::path::Path;
use std::process::Command;

use db_core::DatabaseUrl;

use crate::physical_error::PhysicalError;

/// A directory for one dump, which only this account may enter and which goes with its value.
pub(super) fn directory(below: &Path) -> Result<Work, PhysicalError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::create_dir_all(below).map_err(PhysicalError::at("create", below))?;
    let path = below.join(format!("db-backup-dump-{:016x}", rand::random::<u64>()));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
    made.map_err(PhysicalError::at("create", &path))?;
    Ok(Work(path))
}

/// A directory that goes with its value.
pub(super) struct Work(std::path::PathBuf);

impl Work {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(directory = %self.0.display(), %error, "the directory of a dump could not be removed; remove it by hand");
        }
    }
}

/// Tells a program of PostgreSQL's where the server is. The password goes into its environment, never into
/// its arguments.
pub(super) fn connect(command: &mut Command, url: &DatabaseUrl, database: &str) {
    let endpoint = &url.hosts()[0];
    command.env("PGHOST", endpoint.host()).env("PGPORT", endpoint.port().to_string());
    command.env("PGUSER", url.user()).env("PGDATABASE", database);
    command.env("PGSSLMODE", url.sslmode_to(endpoint).name());
    for (parameter, variable) in
        [("sslrootcert", "PGSSLROOTCERT"), ("sslcert", "PGSSLCERT"), ("sslkey", "PGSSLKEY")]
    {
        if let Some(value) = url.param(parameter) {
            command.env(variable, value);
        }
    }
    let config = url.postgres_config(endpoint);
    if let Some(password) = config.get_password() {
        use std::os::unix::ffi::OsStrExt;
        command.env("PGPASSWORD", std::ffi::OsStr::from_bytes(password));
    }
    // What role, database or server say must not end a long dump.
    command.env("PGOPTIONS", "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0");
}

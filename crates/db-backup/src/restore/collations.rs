//! Names the indexes of a restored server whose texts another library has sorted.
//!
//! An index is in the order of the C library, or of ICU, with which it was made. Where the restored server
//! has another version of it, or another one, a look-up may miss rows that are there, and a unique index may
//! take a row twice. PostgreSQL says so in a warning to whoever connects, and does not say which indexes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::process::Command;

use db_core::DatabaseUrl;
use serde::Serialize;

use super::reached::address;
use crate::physical_error::PhysicalError;
use crate::session::{Dial, Session, SessionError};

/// An index that was sorted by another library than the server has.
///
/// ```
/// use db_backup::restore::AtRisk;
///
/// let index = AtRisk {
///     database: "app".to_owned(),
///     index: "public.users_name".to_owned(),
///     collation: "de-x-icu".to_owned(),
///     sorted_by: "153.112".to_owned(),
///     library: "153.120".to_owned(),
/// };
/// assert!(index.to_string().ends_with("REINDEX INDEX CONCURRENTLY public.users_name"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AtRisk {
    /// Its database.
    pub database: String,
    /// Its schema and its name, quoted as SQL needs it.
    pub index: String,
    /// The collation, or `default` for the database's own.
    pub collation: String,
    /// The version of the library that sorted it.
    pub sorted_by: String,
    /// The version that the server has; `unknown` where its library tells none.
    pub library: String,
}

impl fmt::Display for AtRisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AtRisk { database, index, collation, sorted_by, library } = self;
        write!(
            f,
            "{index} of {database} was sorted by version {sorted_by} of {collation}, and this server has \
             {library}: REINDEX INDEX CONCURRENTLY {index}"
        )
    }
}

/// What was found, and where nobody could look.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Risks {
    /// The indexes to be made anew.
    pub indexes: Vec<AtRisk>,
    /// Databases that could not be looked into, and why.
    pub not_looked: BTreeMap<String, String>,
}

/// Looks at every database of the server that runs on this directory, logged in to as `login` says, but for
/// its address.
///
/// # Errors
/// [`PhysicalError::NotReady`] where no server runs on it; [`PhysicalError::Session`] where it lets nobody
/// in.
///
/// # Cancel safety
/// Dropping the future changes nothing.
pub async fn risks(directory: &Path, login: &DatabaseUrl, dial: &dyn Dial) -> Result<Risks, PhysicalError> {
    let Some(endpoint) = address(directory) else {
        let (waited, said) = (std::time::Duration::ZERO, "no server runs on it: start it".to_owned());
        return Err(PhysicalError::NotReady { waited, said });
    };
    let login = login.clone().with_endpoint(endpoint);
    let mut session = Session::open_for_sql(&login, dial).await?;
    let databases = "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn ORDER BY 1";
    let databases = session.rows(databases).await?;
    session.close().await;
    let mut risks = Risks::default();
    for database in databases.into_iter().filter_map(|row| row.into_iter().next().flatten()) {
        match of_one(&login.clone().with_database(&database), &database, dial).await {
            Ok(found) => risks.indexes.extend(found),
            Err(error) => {
                risks.not_looked.insert(database, error.to_string());
            }
        }
    }
    Ok(risks)
}

async fn of_one(url: &DatabaseUrl, database: &str, dial: &dyn Dial) -> Result<Vec<AtRisk>, SessionError> {
    let mut session = Session::open_for_sql(url, dial).await?;
    // 100 is the database's own collation, whose version stands with the database.
    let sql = "SELECT DISTINCT pg_catalog.format('%I.%I', n.nspname, c.relname), v.name, v.made, \
               coalesce(v.now, 'unknown') \
               FROM pg_catalog.pg_index x \
               JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database() \
               CROSS JOIN LATERAL pg_catalog.unnest(x.indcollation::pg_catalog.oid[]) AS k(one) \
               JOIN pg_catalog.pg_collation l ON l.oid = k.one \
               CROSS JOIN LATERAL (SELECT \
               CASE WHEN l.oid = 100 THEN 'default' ELSE l.collname::text END AS name, \
               CASE WHEN l.oid = 100 THEN d.datcollversion ELSE l.collversion END AS made, \
               CASE WHEN l.oid = 100 THEN pg_catalog.pg_database_collation_actual_version(d.oid) \
               ELSE pg_catalog.pg_collation_actual_version(l.oid) END AS now) v \
               WHERE v.made IS NOT NULL AND v.made IS DISTINCT FROM v.now ORDER BY 1, 2";
    let rows = session.rows(sql).await?;
    session.close().await;
    let found = rows.into_iter().filter_map(|row| {
        let mut fields = row.into_iter().flatten();
        let (index, collation) = (fields.next()?, fields.next()?);
        let (sorted_by, library) = (fields.next()?, fields.next()?);
        Some(AtRisk { database: database.to_owned(), index, collation, sorted_by, library })
    });
    Ok(found.collect())
}

/// Why a backup's indexes may be out of order on this machine, by its C library; what ICU says only the
/// server knows.
pub(super) fn other_library(of_backup: Option<&str>) -> Option<String> {
    let of_backup = of_backup?;
    let asked = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    differs(
        of_backup,
        asked.status.success().then(|| String::from_utf8_lossy(&asked.stdout).trim().to_owned()),
    )
}

fn differs(of_backup: &str, here: Option<String>) -> Option<String> {
    let here = here.unwrap_or_else(|| "another C library".to_owned());
    (here != of_backup).then(|| {
        format!(
            "texts were sorted by {of_backup}, and this machine has {here}: indexes on them may be out of \
             order; `dbctl backup finish` names those that must be made anew"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_c_library_is_told() {
        assert_eq!(differs("glibc 2.36", Some("glibc 2.36".to_owned())), None);
        let newer = differs("glibc 2.31", Some("glibc 2.36".to_owned())).unwrap();
        assert!(newer.contains("glibc 2.31") && newer.contains("glibc 2.36"), "{newer}");
        assert!(differs("glibc 2.31", None).unwrap().contains("another C library"));
        assert_eq!(other_library(None), None, "the backup says nothing of it");
    }
}

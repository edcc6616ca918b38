//! Passwords of the servers that are started here: random for each cluster, in no argument list, log or
//! `Debug`.
//!
//! A cluster's password is kept beside its data in the form that libpq reads (`passfile`), so that standbys,
//! pg_rewind and pg_basebackup are told the file and never the password.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Account, Error, Result};

/// A password that neither `Debug` nor an error shows.
///
/// ```
/// let password = db_server::Password::new("swordfish");
/// assert!(!format!("{password:?}").contains("swordfish"));
/// assert_eq!(password.reveal(), "swordfish");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl Password {
    /// One that somebody else chose.
    pub fn new(text: impl Into<String>) -> Password {
        Password(text.into())
    }

    /// The password itself, for a connection: never print or log it, and put it into no argument list.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// 128 random bits in digits that need no escaping anywhere.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn random() -> Result<Password> {
        let (source, mut bytes) = (Path::new("/dev/urandom"), [0; 16]);
        File::open(source)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .map_err(Error::io("read", source))?;
        Ok(Password(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The one that [`Password::keep`] wrote there, if there is one.
    pub(crate) fn kept(file: &Path) -> Result<Option<Password>> {
        if !file.exists() {
            return Ok(None);
        }
        let line = fs::read_to_string(file).map_err(Error::io("read", file))?;
        let password = line.trim_end().strip_prefix(ANYWHERE).filter(|password| !password.is_empty());
        Ok(password.map(Password::new))
    }

    /// Writes it to a file that libpq accepts as a password file for every server, readable by the account
    /// alone.
    pub(crate) fn keep(&self, file: &Path, account: Option<&Account>) -> Result<()> {
        write_private(file, &format!("{ANYWHERE}{}\n", self.0), account)
    }

    /// The statements that make it the superuser's, written nowhere by a server that logs its statements.
    pub(crate) fn statements(&self) -> [String; 4] {
        [
            "SET log_statement = 'none'".to_owned(),
            "SET log_min_duration_statement = -1".to_owned(),
            "SET log_min_error_statement = 'panic'".to_owned(),
            format!("ALTER ROLE {} PASSWORD '{}'", crate::SUPERUSER, self.0),
        ]
    }
}

/// Every host, port, database and user of a password file.
const ANYWHERE: &str = "*:*:*:*:";

/// Writes a file that its owner alone can read: at once and whole, or not at all, also where the machine
/// stops.
pub(crate) fn write_private(path: &Path, text: &str, account: Option<&Account>) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(Error::io("create a file in", dir))?;
    let mut file = new.as_file();
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::io("write", new.path()))?;
    if let Some(account) = account {
        account.own(new.path())?;
    }
    new.persist(path).map_err(|error| Error::io("rename into place", path)(error.error))?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Error::io("write", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_password_is_read_back_and_only_its_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let (file, password) = (dir.path().join("pgpass"), Password::random().unwrap());
        assert_eq!(Password::kept(&file).unwrap(), None);
        password.keep(&file, None).unwrap();
        assert_eq!(Password::kept(&file).unwrap().as_ref(), Some(&password));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(Password::random().unwrap(), password);
        fs::write(&file, "").unwrap();
        assert_eq!(Password::kept(&file).unwrap(), None, "an empty file holds none");
    }
}

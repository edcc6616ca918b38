//! Gives what root restores to the account that the server runs as.

use std::fs;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use crate::physical_error::PhysicalError;

/// An account of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Who should own what is restored to a directory: `None` unless this is root. The directory's owner if
    /// that is not root, else its parent's, else the account `postgres`.
    pub(crate) fn of(directory: &Path) -> Result<Option<Owner>, PhysicalError> {
        let account = db_server::Account::for_servers().map_err(|error| PhysicalError::Program {
            program: "looking for the account of the server".to_owned(),
            said: error.to_string(),
        })?;
        let Some(account) = account else { return Ok(None) };
        let of_place = directory
            .ancestors()
            .take(2)
            .filter_map(|path| fs::metadata(path).ok())
            .find(|about| about.uid() != 0);
        Ok(Some(match of_place {
            Some(about) => Owner { uid: about.uid(), gid: about.gid() },
            None => Owner { uid: account.uid, gid: account.gid },
        }))
    }

    /// Gives the account a directory with all that is in it.
    pub(crate) fn own_all(&self, path: &Path) -> Result<(), PhysicalError> {
        lchown(path, Some(self.uid), Some(self.gid))
            .map_err(PhysicalError::at("change the owner of", path))?;
        if !fs::symlink_metadata(path).is_ok_and(|about| about.is_dir()) {
            return Ok(());
        }
        let entries = fs::read_dir(path).map_err(PhysicalError::at("read", path))?;
        entries.flatten().try_for_each(|entry| self.own_all(&entry.path()))
    }
}

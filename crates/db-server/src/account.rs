//! The unprivileged account that servers run under when this process is root.

use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::{Error, Result};

/// A user that PostgreSQL agrees to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its name in the password file.
    pub name: String,
    /// Its user id.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

impl Account {
    /// The account to drop to: `None` when this process is not root and servers run as itself.
    pub fn for_servers() -> Result<Option<Account>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let path = Path::new("/etc/passwd");
        let passwd = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        choose(&passwd).map(Some).ok_or(Error::NoAccount)
    }

    /// Makes the command run as this account.
    pub(crate) fn drop_to(&self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid).env("HOME", "/").env("USER", &self.name);
    }

    /// Gives the account a file or a directory (not what is in it).
    pub(crate) fn own(&self, path: &Path) -> Result<()> {
        lchown(path, Some(self.uid), Some(self.gid)).map_err(Error::io("change the owner of", path))
    }

    /// Whether this account can reach a path through all of its parents.
    pub(crate) fn can_reach(&self, path: &Path) -> bool {
        path.ancestors().filter_map(|parent| parent.metadata().ok()).all(|parent| {
            let needed = match () {
                () if parent.uid() == self.uid => 0o100,
                () if parent.gid() == self.gid => 0o010,
                () => 0o001,
            };
            !parent.is_dir() || parent.mode() & needed != 0
        })
    }
}

/// Applies an optional account to a command.
pub(crate) fn run_as(account: Option<&Account>, command: &mut Command) {
    if let Some(account) = account {
        account.drop_to(command);
    }
}

fn choose(passwd: &str) -> Option<Account> {
    let named = |name: &str| {
        passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let found = fields.next().filter(|found| *found == name)?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            (uid != 0).then(|| Account { name: found.to_owned(), uid, gid })
        })
    };
    named("postgres").or_else(|| named("nobody"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn postgres_comes_before_nobody_and_root_is_never_chosen() {
        let check = |passwd: &str, expected: Option<(&str, u32)>| {
            let found = choose(passwd);
            assert_eq!(found.as_ref().map(|found| (found.name.as_str(), found.uid)), expected, "{passwd}");
        };
        let nobody = "nobody:x:65534:65533:nobody:/:/usr/sbin/nologin";
        let postgres = "postgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash";
        check(&format!("{nobody}\n{postgres}"), Some(("postgres", 101)));
        check(nobody, Some(("nobody", 65534)));
        check("postgres:x:0:0::/:/bin/sh", None);
        check("root:x:0:0:root:/root:/bin/bash", None);
    }

    #[test]
    fn a_private_parent_cannot_be_passed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let inside = dir.path().join("a/b");
        std::fs::create_dir_all(&inside).unwrap();
        let stranger = Account { name: "stranger".to_owned(), uid: 54_321, gid: 54_321 };
        assert!(!stranger.can_reach(&inside), "its parent has mode 700");
        assert!(stranger.can_reach(Path::new("/usr/bin")));
    }
}

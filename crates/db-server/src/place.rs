//! Decides where fetched programs, templates and lasting clusters are kept.
//!
//! That is the workspace's `target/`, so that `cargo clean` removes all of it. Where the account that runs
//! the servers cannot reach that (a clone below `/root`), or this user cannot write there, it is a directory
//! of this user's own below the temporary directory.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::{Account, Error, Result};

/// Where this workspace keeps what it fetched and what it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    root: PathBuf,
    account: Option<Account>,
}

impl Place {
    /// The place for the current directory's workspace, or the directory that `DB_PLATFORM_HOME` names.
    pub fn here() -> Result<Place> {
        let account = Account::for_servers()?;
        if let Some(home) = crate::environment("DB_PLATFORM_HOME").filter(|home| !home.is_empty()) {
            return Place::of(Some(Path::new(&home)), account);
        }
        let cwd = std::env::current_dir().map_err(Error::io("find", Path::new(".")))?;
        Place::of(target_directory(&cwd, &crate::environment).as_deref(), account)
    }

    /// The place in a given target directory, or instead of it.
    pub fn of(target: Option<&Path>, account: Option<Account>) -> Result<Place> {
        if let Some(target) = target {
            let reachable = account.as_ref().is_none_or(|account| account.can_reach(target));
            if reachable && fs::create_dir_all(target).is_ok() && tempfile::tempfile_in(target).is_ok() {
                let root = target.canonicalize().map_err(Error::io("resolve", target))?;
                return Ok(Place { root, account });
            }
        }
        Ok(Place { root: own_temporary_directory(target)?, account })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The account that servers run under, when this process is root.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// Where fetched server programs are.
    pub fn servers(&self) -> PathBuf {
        self.root.join("servers")
    }

    pub(crate) fn templates(&self) -> PathBuf {
        self.root.join("postgres-templates")
    }

    /// Where the cluster of `cargo xtask up` lives.
    pub fn dev_cluster(&self) -> PathBuf {
        self.root.join("dev-cluster")
    }
}

fn target_directory(cwd: &Path, lookup: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let workspace = cwd.ancestors().find(|dir| dir.join("Cargo.lock").is_file());
    match lookup("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => Some(workspace.unwrap_or(cwd).join(dir)),
        None => workspace.map(|dir| dir.join("target")),
    }
}

// The name carries the user and the workspace: two clones must not share a cluster, and two users no
// directory.
fn own_temporary_directory(target: Option<&Path>) -> Result<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    let path = std::env::temp_dir().join(format!("db-platform-{uid}-{:08x}", hasher.finish() as u32));
    if let Err(error) = fs::DirBuilder::new().mode(0o755).create(&path)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::io("create", &path)(error));
    }
    let found = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
    if !found.is_dir() || found.uid() != uid {
        return Err(Error::ForeignDirectory { path });
    }
    path.canonicalize().map_err(Error::io("resolve", &path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_target_directory_is_the_nearest_workspaces() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("crates/one");
        fs::create_dir_all(&inner).unwrap();
        fs::write(dir.path().join("Cargo.lock"), "").unwrap();
        let check = |setting: Option<&str>, expected: PathBuf| {
            let lookup = |_: &str| setting.map(str::to_owned);
            assert_eq!(target_directory(&inner, &lookup), Some(expected));
        };
        check(None, dir.path().join("target"));
        check(Some("elsewhere"), dir.path().join("elsewhere"));
        check(Some("/absolute"), PathBuf::from("/absolute"));
    }

    #[test]
    fn a_target_that_the_account_cannot_reach_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let target = dir.path().join("target");
        let stranger = Account { name: "stranger".to_owned(), uid: 54_321, gid: 54_321 };
        let place = Place::of(Some(&target), Some(stranger)).unwrap();
        assert!(!place.root().starts_with(dir.path()));
        fs::remove_dir_all(place.root()).unwrap();
        let place = Place::of(Some(&target), None).unwrap();
        assert_eq!(place.root(), target.canonicalize().unwrap());
    }
}

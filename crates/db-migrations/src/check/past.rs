//! Which migrations there were at an earlier point of the history, as git knows it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::CheckError;
use crate::source::{Migrations, REPEATABLE, Version};

/// The migrations of a directory at an earlier point.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Past {
    /// The commit.
    pub commit: String,
    /// The versions that were there then.
    pub versions: Vec<Version>,
    /// Files of theirs that were changed or removed since.
    pub edited: Vec<PathBuf>,
}

impl Past {
    /// The migrations of `directory` at the merge base of `reference` and the commit that is checked out.
    ///
    /// # Errors
    /// [`CheckError::Git`] where `directory` is in no repository, or there is no such reference.
    pub fn at(directory: &Path, reference: &str) -> Result<Past, CheckError> {
        let commit = git(directory, &["merge-base", "HEAD", reference])?.trim().to_owned();
        let listed = git(directory, &["ls-tree", "-d", "--name-only", &commit, "./"])?;
        let repeatable = git(directory, &["ls-tree", "--name-only", &commit, "./"])?;
        let changed = git(directory, &["diff", "--relative", "--name-only", &commit, "--", "./*.sql"])?;
        let is_same = |file: &&str| !changed.lines().any(|changed| changed == *file);
        // A repeatable migration that changed runs again: it is new.
        let repeatable = repeatable.lines().filter(is_same).filter_map(|file| {
            let name = file.strip_suffix(".sql").filter(|name| name.starts_with(REPEATABLE))?;
            Some(Version::from_stored(name.to_owned()))
        });
        let versions = listed.lines().filter_map(version_of).chain(repeatable);
        let changed = git(
            directory,
            &[
                "diff",
                "--relative",
                "--name-only",
                "--diff-filter=MDR",
                "--no-renames",
                &commit,
                "--",
                "./*/*.sql",
            ],
        )?;
        Ok(Past {
            versions: versions.collect(),
            edited: changed.lines().map(|file| directory.join(file)).collect(),
            commit,
        })
    }

    /// A file as it was then, such as the `schema.rs` of the code that runs now.
    ///
    /// # Errors
    /// [`CheckError::Git`] where it was not there.
    pub fn file(&self, file: &Path) -> Result<String, CheckError> {
        let directory =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        git(directory, &["show", &format!("{}:./{name}", self.commit)])
    }

    /// The versions that have come since.
    pub fn new_ones(&self, migrations: &Migrations) -> Vec<String> {
        let all = migrations.iter().chain(migrations.repeatable());
        let new = all.filter(|migration| !self.versions.contains(&migration.version));
        new.map(|migration| migration.version.to_string()).collect()
    }
}

/// The version in a migration's name, as diesel reads it.
fn version_of(name: &str) -> Option<Version> {
    let version = name.split('_').next().unwrap_or_default().replace('-', "");
    let is_one = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    is_one.then(|| Version::from_stored(version))
}

fn git(directory: &Path, arguments: &[&str]) -> Result<String, CheckError> {
    let failed = |reason: String| CheckError::Git { command: arguments.join(" "), reason };
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output();
    let output = output.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

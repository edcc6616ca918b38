//! Takes the configuration along that lies outside the data directory, as Debian has it in /etc/postgresql.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::facts::Server;
use super::intake::Intake;
use crate::manifest::{File, Root, What};
use crate::physical_error::PhysicalError;
use crate::session::Session;

/// A file of configuration is no larger; what is, is something else that lies there.
const MOST_BYTES: u64 = 1 << 20;

/// Adds the files of the configuration's directory, where the server is on this machine.
pub(super) async fn add(
    intake: &mut Intake,
    session: &Session,
    server: &Server,
    warnings: &mut Vec<String>,
) -> Result<(), PhysicalError> {
    let Some(directory) = server.config_directory() else { return Ok(()) };
    if !session.endpoint().is_local() {
        warnings.push(format!(
            "the server's configuration is in {directory} on its own machine and not in this backup: take it from there"
        ));
        return Ok(());
    }
    let directory = PathBuf::from(directory);
    let mut found = Vec::new();
    collect(&directory, &directory, &mut found);
    if found.is_empty() {
        warnings.push(format!(
            "the configuration in {} cannot be read and is not in this backup",
            directory.display()
        ));
    }
    for (file, path) in found {
        match fs::read(&path) {
            Ok(content) => intake.whole(file, &content).await?,
            Err(error) => warnings.push(format!("{} is not in this backup: {error}", path.display())),
        }
    }
    Ok(())
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<(File, PathBuf)>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let Ok(about) = fs::metadata(&path) else { continue };
        if about.is_dir() {
            collect(root, &path, found);
            continue;
        }
        let name = path.strip_prefix(root).ok().and_then(Path::to_str);
        let Some(name) = name.filter(|_| about.is_file() && about.len() <= MOST_BYTES) else { continue };
        let modified = about.modified().map_or_else(|_| Utc::now(), DateTime::<Utc>::from);
        let file = File {
            path: name.to_owned(),
            root: Root::Config,
            what: What::File { extent: crate::Extent::default() },
            mode: about.permissions().mode() & 0o7777,
            modified,
        };
        found.push((file, path));
    }
}

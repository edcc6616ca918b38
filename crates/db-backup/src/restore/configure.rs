//! Tells the restored server where the log comes from and where to stop, and keeps a copy away from its source's archive.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::{Action, Purpose, RestoreConfig, Target};
use crate::physical_error::PhysicalError;

const BEGIN: &str = "# Begin of what db-backup wrote for a restore: remove it once the server takes writes.";
const END: &str = "# End of what db-backup wrote for a restore.";

/// Writes the settings and the signal; `timeline` is the one that is followed.
pub(super) fn write(
    directory: &Path,
    config: &RestoreConfig,
    timeline: u32,
    with_log: bool,
) -> Result<(), PhysicalError> {
    // A backup of a standby holds its signal, which would win over recovery.signal.
    for stale in ["standby.signal", "recovery.signal", "postmaster.pid", "postmaster.opts"] {
        remove(&directory.join(stale))?;
    }
    let path = directory.join("postgresql.auto.conf");
    let before = fs::read_to_string(&path).unwrap_or_default();
    let text = format!("{}{}", without_block(&before), block(config, timeline, with_log));
    fs::write(&path, text).map_err(PhysicalError::at("write", &path))?;
    let signal = directory.join("recovery.signal");
    fs::write(&signal, "").map_err(PhysicalError::at("write", &signal))
}

/// Removes what [`write`](self::write) has added, once the server takes writes.
///
/// # Errors
/// Where the file cannot be written.
pub fn tidy(directory: &Path) -> Result<(), PhysicalError> {
    let path = directory.join("postgresql.auto.conf");
    let before = fs::read_to_string(&path).map_err(PhysicalError::at("read", &path))?;
    let unfinished = directory.join("postgresql.auto.conf.db-backup");
    fs::write(&unfinished, without_block(&before)).map_err(PhysicalError::at("write", &unfinished))?;
    if let Ok(about) = fs::metadata(&path) {
        use std::os::unix::fs::MetadataExt;
        let owner = (Some(about.uid()), Some(about.gid()));
        std::os::unix::fs::chown(&unfinished, owner.0, owner.1)
            .map_err(PhysicalError::at("own", &unfinished))?;
        fs::set_permissions(&unfinished, about.permissions())
            .map_err(PhysicalError::at("own", &unfinished))?;
    }
    fs::rename(&unfinished, &path).map_err(PhysicalError::at("write", &path))
}

fn block(config: &RestoreConfig, timeline: u32, with_log: bool) -> String {
    let mut settings: Vec<(&str, String)> = Vec::new();
    let command = if with_log { config.restore_command.as_str() } else { "false" };
    settings.push(("restore_command", command.to_owned()));
    settings.push(("recovery_target_timeline", timeline.to_string()));
    // Of the five kinds of targets only one may be set; a backup may hold another one.
    let own = config.target.settings(config.inclusive);
    for name in [
        "recovery_target",
        "recovery_target_time",
        "recovery_target_lsn",
        "recovery_target_xid",
        "recovery_target_name",
    ] {
        if !own.iter().any(|(set, _)| *set == name) {
            settings.push((name, String::new()));
        }
    }
    settings.extend(own);
    let action = match config.action {
        Action::Promote => "promote",
        Action::Pause => "pause",
        Action::Shutdown => "shutdown",
    };
    settings.push(("recovery_target_action", action.to_owned()));
    // Nobody gets in before the target is reached, and settings that were raised on the way do not stop replay.
    let hot = config.action == Action::Pause && config.target != Target::Latest;
    settings.push(("hot_standby", if hot { "on" } else { "off" }.to_owned()));
    if config.purpose == Purpose::Copy {
        settings.push(("archive_mode", "off".to_owned()));
    }
    let mut text = format!("{BEGIN}\n");
    for (name, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = '{value}'");
    }
    let _ = writeln!(text, "{END}");
    text
}

fn without_block(text: &str) -> String {
    let mut kept = String::new();
    let mut within = false;
    for line in text.lines() {
        within |= line == BEGIN;
        if !within {
            kept.push_str(line);
            kept.push('\n');
        }
        within &= line != END;
    }
    kept
}

fn remove(path: &Path) -> Result<(), PhysicalError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PhysicalError::at("remove", path)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(purpose: Purpose) -> RestoreConfig {
        RestoreConfig {
            target: Target::Lsn(db_core::Lsn(0x300_0000)),
            purpose,
            restore_command: "fetch '%f' \"%p\"".to_owned(),
            ..RestoreConfig::to("/nowhere")
        }
    }

    #[test]
    fn a_copy_never_archives_and_a_restore_in_place_does() {
        let copy = block(&config(Purpose::Copy), 3, true);
        assert!(copy.contains("\narchive_mode = 'off'\n"), "{copy}");
        assert!(copy.contains("\nrecovery_target_lsn = '0/3000000'\n"), "{copy}");
        assert!(copy.contains("\nrecovery_target_time = ''\n"), "{copy}");
        assert!(copy.contains("\nrestore_command = 'fetch ''%f'' \"%p\"'\n"), "{copy}");
        assert!(!block(&config(Purpose::InPlace), 3, true).contains("archive_mode"));
    }

    #[test]
    fn what_was_written_is_taken_out_again_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("postgresql.auto.conf");
        fs::write(&path, "work_mem = '8MB'\n").unwrap();
        write(home.path(), &config(Purpose::Copy), 3, true).unwrap();
        write(home.path(), &config(Purpose::Copy), 4, true).unwrap();
        let both = fs::read_to_string(&path).unwrap();
        assert_eq!(both.matches("restore_command").count(), 1, "{both}");
        assert!(home.path().join("recovery.signal").exists());
        tidy(home.path()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "work_mem = '8MB'\n");
    }
}

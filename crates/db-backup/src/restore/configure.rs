//! Tells the restored server where the log comes from and where to stop, and keeps a copy away from its
//! source's archive.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::reached::still_recovers;
use super::{Action, Purpose, RestoreConfig, Target};
use crate::physical_error::PhysicalError;

const BEGIN: &str = "# Begin of what db-backup wrote for a restore: remove it once the server takes writes.";
const COPY: &str = "# Begin of what keeps this copy out of its source's repository: remove it once archive_command is its own.";
const END: &str = "# End of what db-backup wrote.";

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
    let kept = without(COPY, &without(BEGIN, &before));
    let copy = if config.purpose == Purpose::Copy { copy_settings() } else { String::new() };
    let text = format!("{kept}{copy}{}", block(config, timeline, with_log));
    fs::write(&path, text).map_err(PhysicalError::at("write", &path))?;
    let signal = directory.join("recovery.signal");
    fs::write(&signal, "").map_err(PhysicalError::at("write", &signal))
}

/// The targets, of which one may be set.
const TARGETS: [&str; 5] = [
    "recovery_target",
    "recovery_target_time",
    "recovery_target_lsn",
    "recovery_target_xid",
    "recovery_target_name",
];

/// What a restore sets besides, and [`tidy`] takes out with it.
const OTHERS: [&str; 8] = [
    "restore_command",
    "recovery_target_timeline",
    "recovery_target_action",
    "hot_standby",
    "bgwriter_delay",
    "bgwriter_lru_maxpages",
    "bgwriter_lru_multiplier",
    "recovery_init_sync_method",
];

/// What makes replay faster, whatever the server is set to afterwards. One process replays, and where its
/// buffers are full it writes a page for each that it reads: the background writer does that beside it, if it
/// is let. The restore has brought every file to the disk already, so that the server need not open each of
/// them to do it once more.
const FASTER: [(&str, &str); 4] = [
    ("bgwriter_delay", "10ms"),
    ("bgwriter_lru_maxpages", "1000"),
    ("bgwriter_lru_multiplier", "10"),
    ("recovery_init_sync_method", "syncfs"),
];

/// What [`tidy`] did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "tidied", content = "settings")]
pub enum Tidied {
    /// The settings of the restore are taken out. The server forgets them when it is told
    /// ([`reload`](super::reload)) or started the next time.
    Removed,
    /// There was nothing to take out.
    Nothing,
    /// `ALTER SYSTEM` has rewritten the file since, and nothing tells any more whose these settings are. They
    /// were left: `ALTER SYSTEM RESET` each.
    Rewritten(Vec<String>),
}

/// Removes what a restore has added to the settings, once the server takes writes. That a copy does not
/// archive stays.
///
/// # Errors
/// [`PhysicalError::StillRecovers`] before the target is reached: without its settings the server would end
/// its recovery somewhere else. Else where the file cannot be written.
pub fn tidy(directory: &Path) -> Result<Tidied, PhysicalError> {
    if still_recovers(directory) {
        return Err(PhysicalError::StillRecovers { directory: directory.to_owned() });
    }
    let path = directory.join("postgresql.auto.conf");
    let before = fs::read_to_string(&path).map_err(PhysicalError::at("read", &path))?;
    let after = without(BEGIN, &before);
    if after == before {
        let left = OTHERS.iter().chain(&TARGETS).filter(|name| sets(&before, name));
        let left: Vec<String> = left.map(ToString::to_string).collect();
        return Ok(if left.is_empty() { Tidied::Nothing } else { Tidied::Rewritten(left) });
    }
    let unfinished = directory.join("postgresql.auto.conf.db-backup");
    fs::write(&unfinished, after).map_err(PhysicalError::at("write", &unfinished))?;
    if let Ok(about) = fs::metadata(&path) {
        use std::os::unix::fs::MetadataExt;
        let owner = (Some(about.uid()), Some(about.gid()));
        std::os::unix::fs::chown(&unfinished, owner.0, owner.1)
            .map_err(PhysicalError::at("own", &unfinished))?;
        fs::set_permissions(&unfinished, about.permissions())
            .map_err(PhysicalError::at("own", &unfinished))?;
    }
    fs::rename(&unfinished, &path).map_err(PhysicalError::at("write", &path))?;
    Ok(Tidied::Removed)
}

/// Whether a file of settings sets this one.
fn sets(text: &str, name: &str) -> bool {
    let set = |line: &str| line.split_once('=').is_some_and(|(set, _)| set.trim() == name);
    text.lines().any(set)
}

/// What a copy keeps.
fn copy_settings() -> String {
    format!("{COPY}\narchive_mode = 'off'\n{END}\n")
}

fn block(config: &RestoreConfig, timeline: u32, with_log: bool) -> String {
    let mut settings: Vec<(&str, String)> = Vec::new();
    let command = if with_log { config.restore_command.as_str() } else { "false" };
    settings.push(("restore_command", command.to_owned()));
    settings.push(("recovery_target_timeline", timeline.to_string()));
    // Of the five kinds of targets only one may be set; a backup may hold another one.
    let own = config.target.settings(config.inclusive);
    for name in TARGETS {
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
    // Nobody gets in before the target is reached, and settings that were raised on the way do not stop
    // replay.
    let hot = config.action == Action::Pause && config.target != Target::Latest;
    settings.push(("hot_standby", if hot { "on" } else { "off" }.to_owned()));
    // A server on another system knows no syncfs, and would not start.
    let known =
        FASTER.iter().filter(|(name, _)| cfg!(target_os = "linux") || *name != "recovery_init_sync_method");
    settings.extend(known.map(|(name, value)| (*name, (*value).to_owned())));
    let mut text = format!("{BEGIN}\n");
    for (name, value) in settings {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = '{value}'");
    }
    let _ = writeln!(text, "{END}");
    text
}

/// A text without the lines from `begin` to the next [`END`].
fn without(begin: &str, text: &str) -> String {
    let mut kept = String::new();
    let mut within = false;
    for line in text.lines() {
        within |= line == begin;
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

    fn written(purpose: Purpose) -> (tempfile::TempDir, String) {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("postgresql.auto.conf"), "work_mem = '8MB'\n").unwrap();
        write(home.path(), &config(purpose), 3, true).unwrap();
        write(home.path(), &config(purpose), 4, true).unwrap();
        let text = fs::read_to_string(home.path().join("postgresql.auto.conf")).unwrap();
        (home, text)
    }

    #[test]
    fn the_server_is_told_one_target_and_where_the_log_comes_from() {
        let (home, text) = written(Purpose::InPlace);
        assert!(text.contains("\nrecovery_target_lsn = '0/3000000'\n"), "{text}");
        assert!(text.contains("\nrecovery_target_time = ''\n"), "{text}");
        assert!(text.contains("\nrestore_command = 'fetch ''%f'' \"%p\"'\n"), "{text}");
        assert_eq!(text.matches("restore_command").count(), 1, "{text}");
        assert!(!text.contains("archive_mode"), "{text}");
        assert!(home.path().join("recovery.signal").exists());
    }

    #[test]
    fn settings_are_never_taken_out_before_the_target_is_reached() {
        let (home, before) = written(Purpose::InPlace);
        let refused = tidy(home.path()).unwrap_err();
        assert!(matches!(refused, PhysicalError::StillRecovers { .. }), "{refused}");
        assert_eq!(fs::read_to_string(home.path().join("postgresql.auto.conf")).unwrap(), before);
    }

    /// What the server does when it has reached the target.
    fn promoted(home: &Path) {
        fs::remove_file(home.join("recovery.signal")).unwrap();
    }

    #[test]
    fn settings_that_alter_system_has_rewritten_are_named_and_left() {
        let (home, text) = written(Purpose::InPlace);
        promoted(home.path());
        let path = home.path().join("postgresql.auto.conf");
        let rewritten: String =
            text.lines().filter(|line| !line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        fs::write(&path, &rewritten).unwrap();
        let Tidied::Rewritten(left) = tidy(home.path()).unwrap() else { panic!("{rewritten}") };
        assert_eq!(left.len(), OTHERS.len() + TARGETS.len(), "{left:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), rewritten);
    }

    #[test]
    fn a_copy_never_archives_even_when_it_is_tidied() {
        let (home, text) = written(Purpose::Copy);
        assert_eq!(text.matches("\narchive_mode = 'off'\n").count(), 1, "{text}");
        promoted(home.path());
        tidy(home.path()).unwrap();
        let tidied = fs::read_to_string(home.path().join("postgresql.auto.conf")).unwrap();
        assert!(
            tidied.contains("\narchive_mode = 'off'\n") && !tidied.contains("restore_command"),
            "{tidied}"
        );
    }

    #[test]
    fn what_was_written_is_taken_out_again_and_nothing_else() {
        let (home, _) = written(Purpose::InPlace);
        promoted(home.path());
        assert_eq!(tidy(home.path()).unwrap(), Tidied::Removed);
        assert_eq!(tidy(home.path()).unwrap(), Tidied::Nothing);
        let tidied = fs::read_to_string(home.path().join("postgresql.auto.conf")).unwrap();
        assert_eq!(tidied, "work_mem = '8MB'\n");
    }
}

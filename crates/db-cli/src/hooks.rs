//! The operator's own commands before and after a backup, a restore, an expiry and a rehearsal.
//!
//! The shell runs them, as it runs archive_command. They get a few harmless variables of the environment and
//! what names the outcome, and no setting: no secret. What they print goes to standard error.

use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use db_platform::backup::{BackupId, HookSettings};
use db_server::process::{self, Signal, Stamp};

use crate::FOUND;
use crate::error::CliError;

/// What a hook's environment keeps of ours.
const KEPT: [&str; 9] =
    ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "DBCTL_SETTINGS"];

/// In a hook's environment, and so in that of a `dbctl` that a hook starts: that one runs no hooks.
const PHASE: &str = "DBCTL_HOOK";

/// What ran between two hooks, and how the second one ended.
pub(crate) struct Hooked<T> {
    pub(crate) value: T,
    pub(crate) after: Result<(), CliError>,
}

/// What the hook afterwards is told.
pub(crate) struct Outcome {
    pub(crate) backup: Option<BackupId>,
    /// What is wrong with it, if something is.
    pub(crate) wrong: Option<String>,
}

/// Runs `work` between the two hooks. Where the first one fails, neither the work nor the second one runs.
pub(crate) async fn around<T>(
    hooks: &HookSettings,
    command: &'static str,
    outcome: impl FnOnce(&T) -> Outcome,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<Hooked<T>, CliError> {
    if std::env::var_os(PHASE).is_some() {
        return Ok(Hooked { value: work.await?, after: Ok(()) });
    }
    let about = vec![("DBCTL_COMMAND", command.to_owned())];
    if let Some(before) = &hooks.before {
        run("BACKUP_HOOK_BEFORE", "before", before, &about, hooks.timeout).await?;
    }
    let done = work.await;
    let Some(after) = &hooks.after else { return Ok(Hooked { value: done?, after: Ok(()) }) };
    let told = match &done {
        Ok(value) => outcome(value),
        Err(error) => Outcome { backup: None, wrong: Some(error.to_string()) },
    };
    let mut about = about;
    about.push(("DBCTL_STATUS", if told.wrong.is_some() { "failed" } else { "succeeded" }.to_owned()));
    about.extend(told.backup.map(|id| ("DBCTL_BACKUP", id.to_string())));
    about.extend(told.wrong.map(|wrong| ("DBCTL_ERROR", wrong)));
    let after = run("BACKUP_HOOK_AFTER", "after", after, &about, hooks.timeout).await;
    match done {
        Ok(value) => Ok(Hooked { value, after }),
        Err(error) => {
            // The work's own error is the one that is returned.
            if let Err(hook) = after {
                tracing::warn!("{hook}");
            }
            Err(error)
        }
    }
}

/// The exit status of work that was done, found fit or not, and whose hook afterwards may have failed.
pub(crate) fn status(after: Result<(), CliError>, holds: bool) -> Result<ExitCode, CliError> {
    match (after, holds) {
        (after, true) => after.map(|()| ExitCode::SUCCESS),
        (Ok(()), false) => Ok(ExitCode::from(FOUND)),
        (Err(hook), false) => {
            eprintln!("dbctl: {hook}");
            Ok(ExitCode::from(FOUND))
        }
    }
}

async fn run(
    name: &'static str,
    phase: &'static str,
    command: &str,
    about: &[(&'static str, String)],
    within: Duration,
) -> Result<(), CliError> {
    let failed = |why: String| CliError::Hook { name, why };
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env_clear().env(PHASE, phase);
    shell.envs(KEPT.iter().filter_map(|kept| Some((kept, std::env::var_os(kept)?))));
    shell.envs(about.iter().map(|(name, value)| (name, value)));
    shell.stdin(Stdio::null()).stdout(std::io::stderr()).stderr(Stdio::inherit());
    let child = process::spawn(&mut shell).map_err(|error| failed(error.to_string()))?;
    let mut group = Group(Stamp::of(child.id()));
    let ended = tokio::task::spawn_blocking(move || wait(child, within)).await;
    match ended.map_err(|_| CliError::Interrupted)? {
        Ok(Some(status)) => {
            group.0 = None;
            if status.success() { Ok(()) } else { Err(failed(format!("ended with {status}"))) }
        }
        Ok(None) => Err(failed(format!("took longer than {within:?} and was killed"))),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Everything that a hook has started; killed with this value, as when nobody waits for it any more.
struct Group(Option<Stamp>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            leader.signal_group(Signal::Kill);
        }
    }
}

/// Waits for a hook; none where it takes too long.
fn wait(mut child: Child, within: Duration) -> std::io::Result<Option<ExitStatus>> {
    let mut ended = None;
    db_server::wait_until(within, || {
        ended = child.try_wait().transpose();
        ended.is_some()
    });
    if ended.is_none()
        && let Some(leader) = Stamp::of(child.id())
    {
        leader.signal_group(Signal::Kill);
        child.wait()?;
    }
    ended.transpose()
}

//! `dbctl wal`: what the server calls for each file of its log, and whether the archive is whole.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use db_platform::backup::wal::{
    FetchConfig, Fetched, PushConfig, ReceiveConfig, Received, fetch, fetched_before, needs_refill, push,
    pushed_before, receive, refill, status,
};
use db_platform::backup::{Observer, Progress, Repository};
use db_platform::{BackupDial, Class, Classify};
use serde_json::json;

use crate::args::Options;
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::table::table;
use crate::wal_args::{Fetch, Push, Receive, Status, Wal};
use crate::{connect, interrupt, repository, say};

/// The exit status where the repository says that there is no such file.
const NOT_THERE: u8 = 1;
/// The option by which this program starts itself to fetch ahead.
const REFILL: &str = "--refill";
/// Pauses between two attempts to receive, while the server is away.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The exit status where the archive has a gap, or is late.
const GAP: u8 = 4;

pub(crate) async fn run(command: Wal, options: &Options) -> Result<ExitCode, CliError> {
    match command {
        Wal::Push(command) => self::push_one(&command, options).await,
        Wal::Fetch(command) => fetch_one(&command, options).await,
        Wal::Receive(command) => receive_all(&command, options).await,
        Wal::Status(command) => tell(&command, options).await,
    }
}

async fn push_one(command: &Push, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let config = PushConfig::new(command.spool.clone().unwrap_or_else(|| spool("push")));
    // Most calls end here: the file went along with an earlier one, and no repository is opened.
    if pushed_before(&command.path, &config)? {
        return Ok(ExitCode::SUCCESS);
    }
    let repository = settings.open_to_add().await?;
    push(&repository, &command.path, &config).await?;
    Ok(ExitCode::SUCCESS)
}

async fn fetch_one(command: &Fetch, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let config = match command.spool.clone() {
        Some(spool) => FetchConfig { spool: Some(spool), ..FetchConfig::default() },
        None => FetchConfig::beside(&command.path),
    };
    if command.refill {
        fetch_ahead(settings, command.path.clone(), config).await;
        return Ok(ExitCode::SUCCESS);
    }
    // Most calls end here: the file was fetched ahead, and no repository is opened.
    if !fetched_before(&command.name, &command.path, &config).await? {
        let repository = settings.open().await?;
        if fetch(&repository, &command.name, &command.path, &config).await? == Fetched::NotThere {
            return Ok(ExitCode::from(NOT_THERE));
        }
    }
    if needs_refill(&command.name, &config) {
        start_refill();
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts this command once more, to fetch ahead beside the server. The server's signals to restore_command,
/// its log and its console are not for it. Where it cannot be started each segment is fetched when the
/// server asks for it.
fn start_refill() {
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1)).arg(REFILL).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        tracing::debug!(%error, "nothing is fetched ahead");
    }
}

/// What fails here is asked for by the server once more, and then told. A server that is the first process
/// of its container takes any status but 0 and 1 for a backend that crashed, so a panic must not give one
/// either.
async fn fetch_ahead(settings: BackupSettings, destination: PathBuf, config: FetchConfig) {
    let _ = tokio::spawn(async move {
        let repository = settings.open().await?;
        refill(&repository, &destination, &config).await?;
        Ok::<(), CliError>(())
    })
    .await;
}

/// Receives until a signal comes; a server that goes away is waited for.
async fn receive_all(command: &Receive, options: &Options) -> Result<ExitCode, CliError> {
    let settings = BackupSettings::read(options)?;
    let repository = settings.open().await?;
    let config = ReceiveConfig {
        slot: Some(command.slot.clone()),
        every: command.every,
        compression: settings.compression,
        ..ReceiveConfig::new(connect::config(options)?.direct_url)
    };
    let stop = std::pin::pin!(interrupt::from_now_on());
    if let Some(received) = receive_until(&repository, &config, stop, &quiet).await? {
        let text = format!("received up to {} on timeline {}", received.position, received.timeline);
        let value = json!({ "position": received.position.to_string(), "timeline": received.timeline, "segments": received.segments });
        say::result(options.json, &text, &value);
    }
    Ok(ExitCode::SUCCESS)
}

/// Receives until `stop` is ready; a server that goes away is waited for. None where it was away at the end.
pub(crate) async fn receive_until(
    repository: &Repository,
    config: &ReceiveConfig,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    observer: &Observer,
) -> Result<Option<Received>, CliError> {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        match receive(repository, config, &BackupDial, stop.as_mut(), observer).await {
            Ok(received) => return Ok(Some(received)),
            // The server is restarted, fails over, or is not there yet: what it keeps for the slot is
            // fetched later.
            Err(error) if error.class() != Class::Permanent || began.elapsed() > LONGEST_PAUSE => {
                pause = if began.elapsed() > LONGEST_PAUSE { FIRST_PAUSE } else { pause };
                observer(Progress::Warning(format!("receiving goes on in {pause:?}: {error}")));
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = pause.saturating_mul(2).min(LONGEST_PAUSE),
            () = stop.as_mut() => return Ok(None),
        }
    }
}

fn quiet(progress: Progress) {
    if let Progress::Warning(text) = progress {
        tracing::warn!("{text}");
    }
}

async fn tell(command: &Status, options: &Options) -> Result<ExitCode, CliError> {
    let opened = BackupSettings::read(options)?.open().await?;
    let cluster = repository::cluster(&opened, command.of.cluster).await?;
    let mut session = match command.offline {
        true => None,
        false => Some(connect::replication(options).await?),
    };
    let newest = cluster.backups().await?.whole.pop();
    let segment_bytes = newest.map_or(16 << 20, |summary| summary.server.wal_segment_bytes);
    let status = status(&cluster, session.as_mut(), segment_bytes, command.late_after).await?;
    let rows: Vec<Vec<String>> = status
        .timelines
        .iter()
        .map(|one| {
            vec![
                one.timeline.to_string(),
                one.segments.to_string(),
                one.first.clone(),
                one.last.clone(),
                one.end.clone(),
            ]
        })
        .collect();
    let mut lines = vec![table(&["TIMELINE", "SEGMENTS", "FIRST", "LAST", "END"], &rows, &[0, 1])];
    if let Some(server) = &status.server {
        lines.push(format!(
            "the server writes at {} on timeline {}; {} bytes are not archived yet",
            server.position, server.timeline, server.lag_bytes
        ));
    }
    lines.extend(status.findings.iter().map(|finding| format!("wrong {finding}")));
    say::result(options.json, &say::coloured(&lines.join("\n")), &json!(status));
    Ok(if status.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(GAP) })
}

/// A directory of this user's for what must survive until the next call.
fn spool(name: &str) -> PathBuf {
    let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")));
    home.unwrap_or_else(std::env::temp_dir).join("dbctl").join(name)
}

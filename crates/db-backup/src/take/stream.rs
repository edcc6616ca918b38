//! Speaks BASE_BACKUP: the command, and the stream of archives that the server answers.

use db_core::Lsn;

use super::facts::Server;
use super::intake::Intake;
use super::{SERVER_MANIFEST, TakeConfig};
use crate::ChunkWriter;
use crate::manifest::Root;
use crate::physical_error::PhysicalError;
use crate::progress::{Observer, Progress};
use crate::session::{Copied, Rows, Session};

/// What came through the stream.
pub(super) struct Got {
    pub(super) intake: Intake,
    pub(super) timeline: u32,
    pub(super) start: Lsn,
    pub(super) stop: Lsn,
    /// The tablespaces with their places.
    pub(super) tablespaces: Vec<(u32, String)>,
}

/// How often the observer is told of bytes.
const TELL_EVERY_BYTES: u64 = 8 << 20;

/// The command for what is configured.
pub(super) fn command(config: &TakeConfig, with_wal: bool, incremental: bool) -> String {
    let label = config.label.as_deref().unwrap_or("db-backup").replace('\'', "''");
    let checkpoint = if config.spread_checkpoint { "spread" } else { "fast" };
    // Page checksums are looked at here: the server would send everything and then fail, and nothing would be
    // kept.
    let mut options = vec![
        format!("LABEL '{label}'"),
        "PROGRESS true".to_owned(),
        format!("CHECKPOINT '{checkpoint}'"),
        format!("WAL {with_wal}"),
        "WAIT false".to_owned(),
        "MANIFEST 'yes'".to_owned(),
        "MANIFEST_CHECKSUMS 'CRC32C'".to_owned(),
        "TABLESPACE_MAP false".to_owned(),
        "VERIFY_CHECKSUMS false".to_owned(),
    ];
    options.extend(config.max_rate_kib.map(|rate| format!("MAX_RATE {}", rate.get().clamp(32, 1 << 20))));
    options.extend(incremental.then(|| "INCREMENTAL true".to_owned()));
    format!("BASE_BACKUP ({})", options.join(", "))
}

/// Runs the command and stores what comes.
pub(super) async fn run(
    session: &mut Session,
    command: &str,
    server: &Server,
    writer: ChunkWriter,
    observer: &Observer,
) -> Result<Got, PhysicalError> {
    observer(Progress::Stage("waiting for the checkpoint"));
    session.send_query(command).await?;
    let head = session.until_copy().await?;
    let start = position(head.first())?;
    let (tablespaces, total) = places(head.get(1));
    observer(Progress::Stage("copying"));
    let check = server.facts.data_checksums && server.facts.block_bytes == 8192;
    let mut intake = Intake::new(writer, check.then_some(start.0.0));
    let mut told = 0;
    while let Copied::Data(message) = session.copied().await? {
        message_of(&mut intake, &message).await?;
        let done = intake.bytes();
        if done - told >= TELL_EVERY_BYTES {
            told = done;
            observer(Progress::Bytes { done, total: total.map(|total| total.max(done)) });
        }
    }
    intake.archive_ends()?;
    observer(Progress::Bytes { done: intake.bytes(), total: Some(intake.bytes()) });
    let tail = session.finish().await?;
    let stop = position(tail.first())?;
    Ok(Got { intake, timeline: stop.1, start: start.0, stop: stop.0, tablespaces })
}

/// A message begins with its kind: a new archive, the manifest, data, or how far the server is.
async fn message_of(intake: &mut Intake, message: &[u8]) -> Result<(), PhysicalError> {
    match message.split_first() {
        Some((b'd', data)) => intake.data(data).await,
        Some((b'n', names)) => {
            let name = names.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            let root = match name.strip_suffix(".tar").and_then(|oid| oid.parse().ok()) {
                Some(oid) => Root::Tablespace(oid),
                None => Root::Data,
            };
            intake.archive_begins(root)
        }
        Some((b'm', _)) => intake.plain_begins(Root::Beside, SERVER_MANIFEST).await,
        Some((b'p', _)) => Ok(()),
        _ => Err(PhysicalError::Stream { reason: "a message of an unknown kind".to_owned() }),
    }
}

/// A position and its timeline.
fn position(rows: Option<&Rows>) -> Result<(Lsn, u32), PhysicalError> {
    let row = rows.and_then(|rows| rows.first());
    let field = |at: usize| row.and_then(|row| row.get(at)).and_then(Option::as_deref);
    let position = field(0).and_then(|text| text.parse().ok());
    let timeline = field(1).and_then(|text| text.parse().ok());
    position
        .zip(timeline)
        .ok_or_else(|| PhysicalError::Stream { reason: "no position where one is due".to_owned() })
}

/// The tablespaces with their places, and how many bytes all is estimated to have.
fn places(rows: Option<&Rows>) -> (Vec<(u32, String)>, Option<u64>) {
    let Some(rows) = rows else { return (Vec::new(), None) };
    let field = |row: &[Option<String>], at: usize| row.get(at).cloned().flatten();
    let place = |row: &Vec<Option<String>>| Some((field(row, 0)?.parse().ok()?, field(row, 1)?));
    let kib = |row: &Vec<Option<String>>| field(row, 2).and_then(|text| text.parse::<u64>().ok());
    let total = rows.iter().filter_map(kib).fold(0_u64, u64::saturating_add).saturating_mul(1024);
    (rows.iter().filter_map(place).collect(), (total > 0).then_some(total))
}

//! Receives the log as the server writes it, so that a crash of the server loses milliseconds and not a
//! segment.
//!
//! Source: the PostgreSQL manual, START_REPLICATION PHYSICAL. What arrives is stored in pieces and
//! acknowledged once it is durable; each whole segment is stored as archive_command would. Where the server's
//! `synchronous_standby_names` has the session's application_name, a commit waits for that.

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use db_core::{DatabaseUrl, Lsn};
use tokio::time::Instant;

use super::tail::Tail;
use super::{History, WalError};
use crate::physical_error::PhysicalError;
use crate::progress::{Observer, Progress};
use crate::session::{Copied, Dial, Session, SessionError};
use crate::wal_name::{Segment, WalName};
use crate::{Cluster, Compression, Repository};

/// How the log is received.
#[derive(Debug, Clone)]
pub struct ReceiveConfig {
    /// The server. The role needs LOGIN and REPLICATION.
    pub url: DatabaseUrl,
    /// A replication slot, which is made where there is none: with it the server keeps what was not received
    /// yet. Without it a receiver that was away for long finds a gap.
    pub slot: Option<String>,
    /// How long bytes may wait for others before they are stored. Zero for a synchronous receiver; more saves
    /// requests.
    pub every: Duration,
    /// How hard segments are compressed.
    pub compression: Compression,
}

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// The timeline.
    pub timeline: u32,
    /// The position up to which everything is stored.
    pub position: Lsn,
    /// How many whole segments were stored.
    pub segments: u64,
}

/// A receiver tells the server at least so often how far it is: half of what the server waits by default
/// would do.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The most that is gathered before it is stored, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Microseconds from the Unix epoch to PostgreSQL's, 2000-01-01.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

impl ReceiveConfig {
    /// From this server, without a slot, storing at most 50 ms after a byte came.
    pub fn new(url: DatabaseUrl) -> Self {
        ReceiveConfig {
            url,
            slot: None,
            every: Duration::from_millis(50),
            compression: Compression::default(),
        }
    }
}

/// Receives until `stop` is ready, and then stores what has come.
///
/// # Errors
/// [`PhysicalError`], as when the server goes away: call it again, and it goes on behind what is stored.
pub async fn receive(
    repository: &Repository,
    config: &ReceiveConfig,
    dial: &dyn Dial,
    stop: impl Future<Output = ()>,
    observer: &Observer,
) -> Result<Received, PhysicalError> {
    let mut stop = pin!(stop);
    let mut session = Session::open(&config.url, dial).await?;
    let identity = session.rows("IDENTIFY_SYSTEM").await?;
    let field =
        |at: usize| identity.first().and_then(|row| row.get(at).cloned().flatten()).unwrap_or_default();
    let stream = |what: &str| PhysicalError::Stream { reason: format!("the server does not say {what}") };
    let system = field(0).parse().map_err(|_| stream("which cluster it is"))?;
    let timeline = field(1).parse().map_err(|_| stream("its timeline"))?;
    let position: Lsn = field(2).parse().map_err(|_| stream("its position"))?;
    let unit = "SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'";
    let segment_bytes = session.value(unit).await?.parse().map_err(|_| stream("the size of its segments"))?;
    if let Some(slot) = &config.slot {
        make_slot(&mut session, slot).await?;
    }
    let cluster = repository.cluster(system);
    let segment = begin_at(&cluster, timeline, position, segment_bytes).await?;
    let mut receiver = Receiver {
        tail: Tail::new(&cluster),
        cluster,
        segment_bytes,
        segment,
        content: Vec::with_capacity(segment_bytes as usize),
        stored: 0,
        waiting_since: None,
        told: Instant::now(),
        segments: 0,
    };
    observer(Progress::Stage("receiving"));
    loop {
        let start = receiver.segment.start(segment_bytes);
        let slot = config.slot.as_ref().map(|slot| format!("SLOT \"{slot}\" ")).unwrap_or_default();
        let command =
            format!("START_REPLICATION {slot}PHYSICAL {start} TIMELINE {}", receiver.segment.timeline);
        session.send_query(&command).await?;
        session.until_copy().await?;
        let ended = receiver.stream(&mut session, config, stop.as_mut(), observer).await?;
        if !ended {
            receiver.store(&mut session).await?;
            session.close().await;
            return Ok(receiver.received());
        }
        receiver.next_timeline(&mut session, config).await?;
    }
}

struct Receiver {
    tail: Tail,
    cluster: Cluster,
    segment_bytes: u32,
    /// The segment that is being filled, and its bytes so far.
    segment: Segment,
    content: Vec<u8>,
    /// How many of them are stored.
    stored: usize,
    waiting_since: Option<Instant>,
    told: Instant,
    segments: u64,
}

impl Receiver {
    /// Takes in what comes; true when the timeline has ended, false when it is time to stop.
    async fn stream(
        &mut self,
        session: &mut Session,
        config: &ReceiveConfig,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        observer: &Observer,
    ) -> Result<bool, PhysicalError> {
        loop {
            let due = self.waiting_since.map_or(self.told + TELL_EVERY, |since| since + config.every);
            tokio::select! {
                biased;
                () = stop.as_mut() => return Ok(false),
                message = session.copied() => match message? {
                    Copied::Data(message) => self.message(session, config, &message).await?,
                    Copied::Done => return Ok(true),
                },
                () = tokio::time::sleep_until(due) => {
                    self.store(session).await?;
                    let done = self.received().position.0;
                    observer(Progress::Bytes { done, total: None });
                }
            }
        }
    }

    async fn message(
        &mut self,
        session: &mut Session,
        config: &ReceiveConfig,
        message: &Bytes,
    ) -> Result<(), PhysicalError> {
        match message.split_first() {
            Some((b'w', rest)) if rest.len() >= 24 => {
                let start = Lsn(number(&rest[..8]));
                self.bytes(session, config, start, &rest[24..]).await
            }
            Some((b'k', rest)) => {
                if rest.last() == Some(&1) {
                    self.tell(session).await?;
                }
                Ok(())
            }
            _ => Err(PhysicalError::Stream { reason: "a message of an unknown kind".to_owned() }),
        }
    }

    async fn bytes(
        &mut self,
        session: &mut Session,
        config: &ReceiveConfig,
        start: Lsn,
        mut bytes: &[u8],
    ) -> Result<(), PhysicalError> {
        let expected = Lsn(self.segment.start(self.segment_bytes).0 + self.content.len() as u64);
        if start != expected {
            let reason = format!("the server went on at {start} and not at {expected}");
            return Err(PhysicalError::Stream { reason });
        }
        while !bytes.is_empty() {
            let room = self.segment_bytes as usize - self.content.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.content.extend_from_slice(now);
            bytes = later;
            self.waiting_since.get_or_insert_with(Instant::now);
            if self.content.len() == self.segment_bytes as usize {
                self.whole(config).await?;
                self.tell(session).await?;
            }
        }
        if self.content.len() - self.stored >= PIECE_BYTES {
            self.store(session).await?;
        }
        Ok(())
    }

    /// Stores a whole segment; its pieces are of no use then.
    async fn whole(&mut self, config: &ReceiveConfig) -> Result<(), PhysicalError> {
        let content = Bytes::from(std::mem::replace(
            &mut self.content,
            Vec::with_capacity(self.segment_bytes as usize),
        ));
        self.cluster.put_wal(WalName::Segment(self.segment), content, config.compression).await?;
        if self.stored > 0 {
            self.tail.forget(self.segment).await?;
        }
        self.segment = self.segment.next(self.segment_bytes);
        (self.stored, self.waiting_since) = (0, None);
        self.segments += 1;
        Ok(())
    }

    /// Stores the bytes that are not stored yet, and tells the server.
    async fn store(&mut self, session: &mut Session) -> Result<(), PhysicalError> {
        if self.content.len() > self.stored {
            let offset = u32::try_from(self.stored).unwrap_or(u32::MAX);
            self.tail.put(self.segment, offset, &self.content[self.stored..]).await?;
            self.stored = self.content.len();
        }
        self.waiting_since = None;
        self.tell(session).await
    }

    /// Tells the server up to where everything is durable.
    async fn tell(&mut self, session: &mut Session) -> Result<(), PhysicalError> {
        let position = self.received().position.0;
        let now = chrono::Utc::now().timestamp_micros() - EPOCH_MICROSECONDS;
        let mut message = vec![b'r'];
        // Written, flushed, and applied, which is nothing: the log is not replayed here.
        for number in [position, position, 0] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message.extend_from_slice(&now.to_be_bytes());
        message.push(0);
        session.copy(&message).await?;
        self.told = Instant::now();
        Ok(())
    }

    fn received(&self) -> Received {
        let position = Lsn(self.segment.start(self.segment_bytes).0 + self.stored as u64);
        Received { timeline: self.segment.timeline, position, segments: self.segments }
    }

    /// The server has ended the timeline: it says which one comes next, and its history is stored.
    async fn next_timeline(
        &mut self,
        session: &mut Session,
        config: &ReceiveConfig,
    ) -> Result<(), PhysicalError> {
        self.store_quietly().await?;
        session.copy_done().await?;
        let sets = session.finish().await?;
        let row = sets.first().and_then(|rows| rows.first());
        let field = |at: usize| row.and_then(|row| row.get(at)).and_then(Option::as_deref);
        let next = field(0).and_then(|text| text.parse::<u32>().ok());
        let at = field(1).and_then(|text| text.parse::<Lsn>().ok());
        let Some((timeline, at)) = next.zip(at) else {
            return Err(PhysicalError::Stream { reason: "a timeline ended and none follows".to_owned() });
        };
        let rows = session.rows(&format!("TIMELINE_HISTORY {timeline}")).await?;
        let content = rows.first().and_then(|row| row.get(1).cloned().flatten()).unwrap_or_default();
        History::parse(timeline, &content)?;
        let name = WalName::History(timeline);
        self.cluster.put_wal(name, Bytes::from(content), config.compression).await?;
        self.segment = Segment::containing(timeline, at, self.segment_bytes);
        self.content.clear();
        (self.stored, self.waiting_since) = (0, None);
        Ok(())
    }

    async fn store_quietly(&mut self) -> Result<(), PhysicalError> {
        if self.content.len() > self.stored {
            let offset = u32::try_from(self.stored).unwrap_or(u32::MAX);
            self.tail.put(self.segment, offset, &self.content[self.stored..]).await?;
            self.stored = self.content.len();
        }
        Ok(())
    }
}

/// Behind the last whole segment of the timeline, where there is one; else where the server is.
async fn begin_at(
    cluster: &Cluster,
    timeline: u32,
    position: Lsn,
    segment_bytes: u32,
) -> Result<Segment, PhysicalError> {
    let now = Segment::containing(timeline, position, segment_bytes);
    let stored = match super::segments(cluster, timeline).await {
        Ok(segments) => segments,
        // These credentials may only put: what was stored before is stored again, and found the same.
        Err(crate::BackupError::Misuse(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(stored.last().map_or(now, |last| last.next(segment_bytes).min(now)))
}

async fn make_slot(session: &mut Session, slot: &str) -> Result<(), PhysicalError> {
    let fits = !slot.is_empty() && slot.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    if !fits {
        return Err(WalError::Slot(slot.to_owned()).into());
    }
    match session.rows(&format!("CREATE_REPLICATION_SLOT \"{slot}\" PHYSICAL RESERVE_WAL")).await {
        Err(SessionError::Server(said)) if said.code == "42710" => Ok(()),
        made => Ok(made.map(drop)?),
    }
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

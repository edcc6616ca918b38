//! Reads what the scripts have written: records, identifiers and the feed.

use redis::Value;

use super::failure::{self, unexpected};
use crate::generation::Generation;
use crate::position::{Floor, History, Position};
use crate::record::{EpochRecord, FeedId, Run, SlotRecord, TierTime};
use crate::second_tier::{Change, Member};
use crate::tag::Slot;
use crate::tier_error::TierError;

/// Answers, taken one after the other.
pub(super) struct Answers(std::vec::IntoIter<Value>);

/// The bytes of a record, taken from the front.
struct Bytes<'a>(&'a [u8]);

/// What the feed holds after some place.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) changes: Vec<Change>,
    /// The last entry.
    pub(super) last: Option<FeedId>,
    /// It is another feed, which begins here.
    pub(super) begins: bool,
    /// What the clock said, and up to when the relay had caught up, before that.
    pub(super) now: TierTime,
    pub(super) relayed: Option<TierTime>,
}

impl Answers {
    pub(super) fn new(answers: Vec<Value>) -> Self {
        Answers(answers.into_iter())
    }

    pub(super) fn take(&mut self, to: &str) -> Result<Value, TierError> {
        self.0.next().ok_or_else(|| unexpected(to)).and_then(failure::checked)
    }

    pub(super) fn list(&mut self, to: &str) -> Result<Answers, TierError> {
        match self.take(to)? {
            Value::Array(values) => Ok(Answers::new(values)),
            _ => Err(unexpected(to)),
        }
    }

    /// The bytes of a value that may be absent.
    pub(super) fn bytes(&mut self, to: &str) -> Result<Option<Vec<u8>>, TierError> {
        bytes(self.take(to)?, to)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_slice().is_empty()
    }

    /// A value that may be absent, read from its bytes.
    pub(super) fn read<T>(
        &mut self,
        to: &str,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, TierError> {
        let Some(bytes) = self.bytes(to)? else { return Ok(None) };
        read(&bytes).map(Some).ok_or_else(|| unexpected(to))
    }

    pub(super) fn number(&mut self, to: &str) -> Result<i64, TierError> {
        match self.take(to)? {
            Value::Int(number) => Ok(number),
            _ => Err(unexpected(to)),
        }
    }

    pub(super) fn text(&mut self, to: &str) -> Result<String, TierError> {
        match self.take(to)? {
            Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Value::VerbatimString { text, .. } => Ok(text),
            _ => Err(unexpected(to)),
        }
    }

    /// The answer to TIME.
    pub(super) fn time(&mut self) -> Result<TierTime, TierError> {
        let mut parts = self.list("TIME")?;
        let mut part = || parts.read("TIME", decimal)?.ok_or_else(|| unexpected("TIME"));
        let (seconds, micros) = (part()?, part()?);
        Ok(TierTime(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
    }

    /// The answer to XREAD of one stream; nothing where nothing came in time.
    pub(super) fn part(&mut self) -> Result<Part, TierError> {
        let mut part = Part::default();
        let streams = match self.take("XREAD")? {
            Value::Nil => return Ok(part),
            Value::Array(streams) => streams,
            _ => return Err(unexpected("XREAD")),
        };
        let mut stream = Answers::new(streams).list("XREAD")?;
        stream.take("XREAD")?;
        for entry in stream.list("XREAD")?.0 {
            let mut entry = Answers::new(vec![entry]).list("XREAD")?;
            let id = entry.text("XREAD")?;
            part.last = Some(feed_id(&id).ok_or_else(|| unexpected("XREAD"))?);
            let mut fields = entry.list("XREAD")?;
            let field = fields.text("XREAD")?;
            let value = fields.bytes("XREAD")?.unwrap_or_default();
            part.add(&field, &value).ok_or_else(|| unexpected("XREAD"))?;
        }
        Ok(part)
    }
}

impl Part {
    fn add(&mut self, field: &str, value: &[u8]) -> Option<()> {
        let mut bytes = Bytes(value);
        match field {
            "s" => {
                while !bytes.0.is_empty() {
                    let slot = Slot::new(bytes.u32()?)?;
                    self.changes.push(match Generation::from_bits(bytes.u64()?) {
                        Some(generation) => Change::Settled(slot, generation),
                        None => Change::InDoubt(slot),
                    });
                }
            }
            "e" => self.changes.push(Change::Epoch(epoch(value)?)),
            "b" => self.begins = true,
            _ => return None,
        }
        Some(())
    }
}

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn id(&mut self) -> Option<FeedId> {
        Some(FeedId(self.u64()?, self.u64()?))
    }

    fn generation(&mut self) -> Option<Generation> {
        Generation::from_bits(self.u64()?)
    }

    fn history(&mut self) -> Option<History> {
        Some(History { system: self.u64()?, timeline: self.u32()? })
    }
}

pub(super) fn slot(bytes: &[u8]) -> Option<SlotRecord> {
    let mut bytes = Bytes(bytes);
    let (generation, changed) = (bytes.generation()?, bytes.id()?);
    let floor = match bytes.flag()? {
        true => Floor::At(Position::new(bytes.history()?, bytes.u64()?)),
        false => Floor::Unknown,
    };
    let mut doubt = None;
    while !bytes.0.is_empty() {
        let _writer = bytes.u64()?;
        doubt = doubt.max(Some(TierTime(bytes.u64()?)));
    }
    Some(SlotRecord { generation, floor, doubt, changed })
}

pub(super) fn epoch(bytes: &[u8]) -> Option<EpochRecord> {
    let mut bytes = Bytes(bytes);
    let (generation, changed, run) = (bytes.generation()?, bytes.id()?, Run(bytes.u64()?));
    let history = match bytes.flag()? {
        true => Some(bytes.history()?),
        false => None,
    };
    Some(EpochRecord { generation, history, run, changed })
}

/// What the records have beside the slots.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) tail: FeedId,
    pub(super) relayed: Option<TierTime>,
    pub(super) epoch: Option<EpochRecord>,
}

pub(super) fn head(bytes: &[u8]) -> Option<Head> {
    let (relays, epochs) = (bytes.get(16..24)?, bytes.get(24..)?);
    let relayed = Some(TierTime(Bytes(relays).u64()?)).filter(|at| at.0 > 0);
    let epoch = match epochs.first_chunk()? {
        [0, 0, 0, 0, 0, 0, 0, 0] => None,
        _ => Some(epoch(epochs)?),
    };
    Some(Head { tail: id(bytes)?, relayed, epoch })
}

pub(super) fn id(bytes: &[u8]) -> Option<FeedId> {
    Bytes(bytes).id()
}

fn decimal(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// The members, each with what it has applied and until when it is one.
pub(super) fn members(bytes: &[u8]) -> Option<Vec<(Member, FeedId, TierTime)>> {
    let mut bytes = Bytes(bytes);
    let mut members = Vec::new();
    while !bytes.0.is_empty() {
        members.push((Member(bytes.u64()?), bytes.id()?, TierTime(bytes.u64()?)));
    }
    Some(members)
}

pub(super) fn bytes(value: Value, to: &str) -> Result<Option<Vec<u8>>, TierError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => Ok(Some(bytes)),
        _ => Err(unexpected(to)),
    }
}

fn feed_id(text: &str) -> Option<FeedId> {
    let (ms, seq) = text.split_once('-')?;
    Some(FeedId(ms.parse().ok()?, seq.parse().ok()?))
}

pub(super) fn of_id(id: FeedId) -> Vec<u8> {
    [id.0.to_be_bytes(), id.1.to_be_bytes()].concat()
}

pub(super) fn of_history(history: History) -> Vec<u8> {
    [&history.system.to_be_bytes()[..], &history.timeline.to_be_bytes()].concat()
}

pub(super) fn of_position(position: Position) -> Vec<u8> {
    [of_history(position.history), position.lsn().0.to_be_bytes().to_vec()].concat()
}

//! A read: what it asks in one round trip, and what the answer tells.

use redis::{Cmd, Pipeline};

use super::connection::Connection;
use super::names::{HEAD, Names};
use super::reply::{self, Answers};
use crate::key::EntryKey;
use crate::second_tier::Snapshot;
use crate::tag::Slot;
use crate::tier_error::TierError;

/// Entries, and the records of slots.
pub(super) fn question(names: &Names, entries: &[EntryKey], slots: &[Slot]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(4);
    if !entries.is_empty() {
        let entry_names = entries.iter().map(|key| names.entry(key));
        pipeline.add_command(command("MGET", None, entries.len(), entry_names));
    }
    ask_for_records(&mut pipeline, names, slots.iter().copied());
    pipeline
}

/// The records of slots, the head, the server's clock, and whether it is still the primary.
pub(super) fn ask_for_records(
    pipeline: &mut Pipeline,
    names: &Names,
    slots: impl ExactSizeIterator<Item = Slot>,
) {
    let count = slots.len();
    let mut records = command("HMGET", Some(&names.records), count + 1, slots.map(Slot::number));
    records.arg(HEAD);
    pipeline.add_command(records);
    pipeline.add_command(command::<u32>("TIME", None, 0, []));
    // On a replica it is an error: a primary that was demoted keeps its connections.
    pipeline.add_command(command("WAIT", None, 2, [0, 0]));
}

/// A command with room for its arguments: most of what a read costs here is memory that is asked for.
fn command<T: redis::ToRedisArgs>(
    name: &str,
    key: Option<&[u8]>,
    count: usize,
    arguments: impl IntoIterator<Item = T>,
) -> Cmd {
    const LONGEST_USUAL: usize = 64;
    let size = name.len() + key.map_or(0, <[u8]>::len) + count * LONGEST_USUAL;
    let mut command = Cmd::with_capacity(count + 2, size);
    command.arg(name);
    if let Some(key) = key {
        command.arg(key);
    }
    for argument in arguments {
        command.arg(argument);
    }
    command
}

/// The answers to [`question`].
pub(super) fn answer(
    entries: usize,
    slots: usize,
    answers: &mut Answers,
    connection: &Connection,
) -> Result<Snapshot, TierError> {
    let bytes = match entries {
        0 => Vec::new(),
        _ => {
            let mut bytes = answers.list("MGET")?;
            (0..entries).map(|_| bytes.bytes("MGET")).collect::<Result<_, _>>()?
        }
    };
    snapshot(bytes, slots, answers, connection)
}

/// The answers to [`ask_for_records`].
pub(super) fn snapshot(
    entries: Vec<Option<Vec<u8>>>,
    slots: usize,
    answers: &mut Answers,
    connection: &Connection,
) -> Result<Snapshot, TierError> {
    let mut records = answers.list("HMGET")?;
    let slots = (0..slots).map(|_| records.read("HMGET", reply::slot)).collect::<Result<_, _>>()?;
    let head = records.read("HMGET", reply::head)?.unwrap_or_default();
    let now = answers.time()?;
    answers.take("WAIT")?;
    let (tail, relayed, epoch) = (head.tail, head.relayed, head.epoch);
    Ok(Snapshot { entries, slots, epoch, run: connection.run, now, tail, relayed })
}

//! A read: what it asks in one round trip, and what the answer tells.
//!
//! Most of what a hit costs here is the number of values that are taken apart, so it asks for few: one entry,
//! the records in one answer, and the server's clock now and then.

use std::time::Instant;

use redis::{Cmd, Pipeline, ToRedisArgs};

use super::connection::Connection;
use super::failure::unexpected;
use super::names::{HEAD, Names};
use super::reply::{self, Answers};
use crate::key::EntryKey;
use crate::record::TierTime;
use crate::second_tier::Snapshot;
use crate::tag::Slot;
use crate::tier_error::TierError;

/// What a read asks for.
pub(super) struct Question<'a> {
    entries: &'a [EntryKey],
    slots: &'a [Slot],
    asks_time: bool,
    asked: Instant,
}

impl<'a> Question<'a> {
    /// Who reads no entry wants to know the time exactly.
    pub(super) fn new(entries: &'a [EntryKey], slots: &'a [Slot], connection: &Connection) -> Self {
        let asks_time = entries.is_empty() || connection.clock.is_old();
        Question { entries, slots, asks_time, asked: Instant::now() }
    }

    pub(super) fn pipeline(&self, names: &Names) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(4);
        ask_for_records(&mut pipeline, names, self.slots.iter().copied());
        if self.asks_time {
            pipeline.add_command(Cmd::new().arg("TIME").take());
        }
        // A primary that was demoted keeps its connections, and on a replica the last command is an error.
        match self.entries {
            // A write that writes nothing: a server that takes no writes, and so no marks, serves no hits.
            [key] => pipeline.add_command(command("GETEX", &names.entry(key), [0_u32; 0])),
            keys => {
                if let [first, others @ ..] = keys {
                    let others = others.iter().map(|key| names.entry(key));
                    pipeline.add_command(command("MGET", &names.entry(first), others));
                }
                ask_whether_primary(&mut pipeline)
            }
        };
        pipeline
    }

    pub(super) fn answer(
        &self,
        answers: &mut Answers,
        connection: &Connection,
    ) -> Result<Snapshot, TierError> {
        let records = Records::take(self.slots.len(), answers)?;
        let told = if self.asks_time { Some(answers.time()?) } else { None };
        let entries = match self.entries {
            [] => Vec::new(),
            [_] => vec![answers.bytes("GETEX")?],
            keys => {
                let mut bytes = answers.list("MGET")?;
                keys.iter().map(|_| bytes.bytes("MGET")).collect::<Result<_, _>>()?
            }
        };
        if self.entries.len() != 1 {
            answers.take("WAIT")?;
        }
        if let Some(said) = told {
            connection.clock.set(self.asked, said);
        }
        let now = told.or_else(|| connection.clock.now()).ok_or_else(|| unexpected("TIME"))?;
        Ok(records.snapshot(entries, now, connection))
    }
}

/// After a script, in one round trip with it: the records of slots, and the time.
pub(super) fn ask_after_script(
    pipeline: &mut Pipeline,
    names: &Names,
    slots: impl ExactSizeIterator<Item = Slot>,
) {
    ask_for_records(pipeline, names, slots);
    pipeline.add_command(Cmd::new().arg("TIME").take());
    ask_whether_primary(pipeline);
}

/// The answers to [`ask_after_script`].
pub(super) fn answer_after_script(
    slots: usize,
    answers: &mut Answers,
    connection: &Connection,
) -> Result<Snapshot, TierError> {
    let records = Records::take(slots, answers)?;
    let now = answers.time()?;
    answers.take("WAIT")?;
    Ok(records.snapshot(Vec::new(), now, connection))
}

fn ask_for_records(pipeline: &mut Pipeline, names: &Names, slots: impl ExactSizeIterator<Item = Slot>) {
    let mut records = command("HMGET", &names.records, slots.map(Slot::number));
    records.arg(HEAD);
    pipeline.add_command(records);
}

fn ask_whether_primary(pipeline: &mut Pipeline) -> &mut Pipeline {
    pipeline.add_command(Cmd::new().arg("WAIT").arg(0).arg(0).take())
}

/// A command with room for its arguments.
fn command<T: ToRedisArgs>(
    name: &str,
    key: &[u8],
    arguments: impl IntoIterator<Item = T, IntoIter: ExactSizeIterator>,
) -> Cmd {
    const USUAL: usize = 8;
    let arguments = arguments.into_iter();
    let size = name.len() + key.len() + arguments.len() * USUAL;
    let mut command = Cmd::with_capacity(arguments.len() + 3, size);
    command.arg(name).arg(key);
    for argument in arguments {
        command.arg(argument);
    }
    command
}

struct Records {
    slots: Vec<Option<crate::record::SlotRecord>>,
    head: reply::Head,
}

impl Records {
    fn take(slots: usize, answers: &mut Answers) -> Result<Self, TierError> {
        let mut records = answers.list("HMGET")?;
        let slots = (0..slots).map(|_| records.read("HMGET", reply::slot)).collect::<Result<_, _>>()?;
        let head = records.read("HMGET", reply::head)?.unwrap_or_default();
        Ok(Records { slots, head })
    }

    fn snapshot(self, entries: Vec<Option<Vec<u8>>>, now: TierTime, connection: &Connection) -> Snapshot {
        let Records { slots, head: reply::Head { tail, relayed, epoch } } = self;
        Snapshot { entries, slots, epoch, run: connection.run, now, tail, relayed }
    }
}

//! The second tier on Redis 7 or later, or on Valkey.
//!
//! A read is one pipeline on a connection that all callers share; what changes a record is a script, so it is
//! atomic. The run of the server is learned when a connection opens and holds for all that it answers.

mod address;
mod clock;
mod config;
mod connection;
mod failure;
mod feed;
mod hearing;
mod link;
mod names;
mod read;
mod reply;
mod scripts;
mod server;
#[cfg(feature = "redis-tls")]
mod tls;

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Pipeline;

use self::address::Address;
pub use self::address::RedisConfigError;
pub use self::config::RedisConfig;
use self::connection::{Connection, Opener};
use self::failure::unexpected;
use self::link::Link;
use self::names::Names;
use self::read::Question;
use self::reply::Answers;
use self::scripts::{Script, Scripts};
use self::server::Info;
use crate::config::CacheConfig;
use crate::generation::Generation;
use crate::key::EntryKey;
use crate::position::Position;
use crate::random::Random;
use crate::record::{EpochRecord, FeedId, TierTime};
use crate::second_tier::{
    Answer, Cursor, Feed, Fresh, Holder, Lease, Member, NewEpoch, SecondTier, Snapshot, Store, Usage, Writer,
};
use crate::tag::Slot;
use crate::tier_error::TierError;

/// A second tier on one Redis or Valkey: alone, with replicas, or one shard of a cluster.
///
/// It takes two connections: one that all callers share, and one that waits for changes. What it holds
/// without an end of life is bounded: a record for each [`Slot`] and the last 8,192 parts of the feed, at
/// most about 20 MB.
pub struct RedisTier {
    names: Names,
    scripts: Scripts,
    link: Link,
    opener: Arc<Opener>,
    /// Connections that wait for changes, while none does.
    waiting: Mutex<Vec<Connection>>,
    random: Random,
}

/// What is wrong with a `REDIS_URL`, before anybody connects.
pub(crate) fn check_url(url: &str) -> Result<(), RedisConfigError> {
    let is_tls = Address::parse(url)?.tls;
    if is_tls && cfg!(not(feature = "redis-tls")) {
        return Err(RedisConfigError::NoTls);
    }
    Ok(())
}

/// What one script changes, so that a server never stops for long: a few milliseconds.
const SLOTS_AT_ONCE: usize = 512;

/// Longer than any entry or lease is kept, and short enough for the server to add to its clock.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl RedisTier {
    /// A tier that opens its connections when they are needed: a server that is down is no error here.
    ///
    /// # Errors
    /// Where the configuration is none. No message shows a part of the URL.
    pub fn new(config: &RedisConfig) -> Result<Self, RedisConfigError> {
        if config.installation.is_empty() {
            return Err(RedisConfigError::Installation);
        }
        let names = Names::of(&config.installation);
        let opener = Arc::new(Opener::new(config, names.clone())?);
        Ok(RedisTier {
            names,
            scripts: Scripts::new(),
            link: Link::new(Arc::clone(&opener)),
            opener,
            waiting: Mutex::default(),
            random: Random::from_entropy(),
        })
    }

    /// The tier that a cache's configuration names; none where it names none.
    ///
    /// # Errors
    /// As for [`RedisTier::new`].
    pub fn of(config: &CacheConfig) -> Result<Option<Self>, RedisConfigError> {
        let Some(url) = &config.second_tier else { return Ok(None) };
        let config = RedisConfig {
            url: url.secret().to_owned(),
            installation: config.installation.clone(),
            ..RedisConfig::default()
        };
        RedisTier::new(&config).map(Some)
    }

    /// One round trip on the shared connection; what its answers say against the connection ends it.
    async fn ask<T>(
        &self,
        pipeline: &Pipeline,
        read: impl FnOnce(&mut Answers, &Connection) -> Result<T, TierError>,
    ) -> Result<T, TierError> {
        let connection = self.link.get().await?;
        let mut answers = connection.ask(pipeline).await?;
        read(&mut answers, &connection).map_err(|error| connection.noticed(error))
    }

    /// The same for a pipeline that calls scripts: with their text, where the server does not know one of
    /// them yet.
    ///
    /// The scripts that it knew have run then, and run again: each may.
    async fn run<T>(
        &self,
        pipeline: impl Fn(bool, &Connection) -> Pipeline,
        read: impl Fn(&mut Answers, &Connection) -> Result<T, TierError>,
    ) -> Result<T, TierError> {
        let connection = self.link.get().await?;
        let mut answers = connection.ask(&pipeline(false, &connection)).await?;
        match read(&mut answers, &connection) {
            Err(error) if failure::is_unknown_script(&error) => {
                let mut answers = connection.ask(&pipeline(true, &connection)).await?;
                read(&mut answers, &connection)
            }
            result => result,
        }
        .map_err(|error| connection.noticed(error))
    }

    /// A call of a script on the records.
    fn on_records<'a>(
        &'a self,
        script: &'a Script,
        arguments: Vec<Vec<u8>>,
    ) -> impl Fn(bool, &Connection) -> Pipeline + 'a {
        move |with_text, _| {
            let mut pipeline = redis::pipe();
            pipeline.add_command(script.call(with_text, &self.keys(), &arguments));
            pipeline
        }
    }

    fn keys(&self) -> [&[u8]; 2] {
        [&self.names.records, &self.names.feed]
    }

    /// The first argument of each script on the records: where a new feed begins.
    fn birth(&self) -> Vec<u8> {
        // Numbers of Lua are exact up to 2^53.
        decimal(self.random.next_u64() >> 16)
    }

    /// Changes slots, a part of them at a time; `head` are the script's arguments before them.
    async fn change<T>(
        &self,
        script: &Script,
        head: &[Vec<u8>],
        slots: &[T],
        argument: impl Fn(&mut Vec<Vec<u8>>, &T),
    ) -> Result<Cursor, TierError> {
        let read = |answers: &mut Answers, connection: &Connection| {
            let id = answers.read("a script", reply::id)?.ok_or_else(|| unexpected("a script"))?;
            Ok(Cursor { run: connection.run, id })
        };
        let mut parts = slots.chunks(SLOTS_AT_ONCE);
        let mut part = parts.next().unwrap_or_default();
        loop {
            let mut arguments = vec![self.birth()];
            arguments.extend_from_slice(head);
            part.iter().for_each(|slot| argument(&mut arguments, slot));
            let place = self.run(self.on_records(script, arguments), read).await?;
            match parts.next() {
                Some(next) => part = next,
                None => return Ok(place),
            }
        }
    }

    /// Opens a part of the slots, and reads all of `wanted` in the same round trip.
    async fn open_part(
        &self,
        part: &[(Slot, Generation)],
        epoch: Generation,
        wanted: &Fresh,
    ) -> Result<Snapshot, TierError> {
        let pipeline = |with_text, connection: &Connection| {
            let run = connection.run.0.to_be_bytes().to_vec();
            let mut arguments = vec![self.birth(), of_generation(epoch), run];
            part.iter().for_each(|slot| with_generation(&mut arguments, slot));
            let mut pipeline = redis::pipe();
            pipeline.add_command(self.scripts.open.call(with_text, &self.keys(), &arguments));
            read::ask_after_script(&mut pipeline, &self.names, wanted.slots());
            pipeline
        };
        let read = |answers: &mut Answers, connection: &Connection| {
            answers.take("open")?;
            read::answer_after_script(wanted.0.len(), answers, connection)
        };
        self.run(pipeline, read).await
    }

    async fn take_lease(&self, key: &EntryKey, holder: Holder, keep: Duration) -> Result<Lease, TierError> {
        let name = self.names.lease(key);
        let arguments = [holder.0.to_be_bytes().to_vec(), decimal(millis(keep))];
        let call = |with_text, _: &Connection| {
            let mut pipeline = redis::pipe();
            pipeline.add_command(self.scripts.lease.call(with_text, &[&name], &arguments));
            pipeline
        };
        let left = self.run(call, |answers, _| answers.number("a lease")).await?;
        Ok(u64::try_from(left).map_or(Lease::Taken, |left| Lease::Held(Duration::from_millis(left))))
    }

    fn give_back(&self, pipeline: &mut Pipeline, with_text: bool, key: &EntryKey, holder: Holder) {
        let arguments = [holder.0.to_be_bytes().to_vec()];
        pipeline.add_command(self.scripts.release.call(with_text, &[&self.names.lease(key)], &arguments));
    }

    fn stored(&self, with_text: bool, store: &Store) -> Pipeline {
        let mut pipeline = redis::pipe();
        let keep = millis(store.keep);
        pipeline.cmd("SET").arg(self.names.entry(&store.key)).arg(&store.bytes).arg("PX").arg(keep);
        if let Some((slots, position)) = &store.learned {
            let mut arguments = vec![self.birth(), reply::of_position(*position)];
            slots.iter().for_each(|slot| with_generation(&mut arguments, slot));
            pipeline.add_command(self.scripts.learn.call(with_text, &self.keys(), &arguments));
        }
        if let Some(holder) = store.release {
            self.give_back(&mut pipeline, with_text, &store.key, holder);
        }
        pipeline
    }
}

impl SecondTier for RedisTier {
    fn read<'a>(&'a self, entries: &'a [EntryKey], slots: &'a [Slot]) -> Answer<'a, Snapshot> {
        Box::pin(async move {
            let connection = self.link.get().await?;
            let question = Question::new(entries, slots, &connection);
            let mut answers = connection.ask(&question.pipeline(&self.names)).await?;
            question.answer(&mut answers, &connection).map_err(|error| connection.noticed(error))
        })
    }

    fn open<'a>(&'a self, fresh: &'a Fresh, epoch: Generation) -> Answer<'a, Snapshot> {
        Box::pin(async move {
            let none = Fresh::default();
            let (first, last) = fresh.0.split_at(fresh.0.len().saturating_sub(SLOTS_AT_ONCE));
            for part in first.chunks(SLOTS_AT_ONCE) {
                self.open_part(part, epoch, &none).await?;
            }
            self.open_part(last, epoch, fresh).await
        })
    }

    fn store<'a>(&'a self, store: &'a Store) -> Answer<'a, ()> {
        Box::pin(async move {
            let read = |answers: &mut Answers, _: &Connection| {
                let set = answers.take("SET").map(drop);
                if store.learned.is_some() {
                    answers.take("learn")?;
                }
                if store.release.is_some() {
                    answers.take("release")?;
                }
                set
            };
            self.run(|with_text, _| self.stored(with_text, store), read).await
        })
    }

    fn lease<'a>(&'a self, key: &'a EntryKey, holder: Holder, keep: Duration) -> Answer<'a, Lease> {
        Box::pin(self.take_lease(key, holder, keep))
    }

    fn release<'a>(&'a self, key: &'a EntryKey, holder: Holder) -> Answer<'a, ()> {
        let pipeline = move |with_text, _: &Connection| {
            let mut pipeline = redis::pipe();
            self.give_back(&mut pipeline, with_text, key, holder);
            pipeline
        };
        Box::pin(self.run(pipeline, |answers, _| answers.take("release").map(drop)))
    }

    fn mark<'a>(&'a self, writer: Writer, fresh: &'a Fresh, keep: Duration) -> Answer<'a, Cursor> {
        Box::pin(async move {
            let head = [of_writer(writer), decimal(millis(keep))];
            self.change(&self.scripts.mark, &head, &fresh.0, with_generation).await
        })
    }

    fn bump<'a>(
        &'a self,
        writer: Option<Writer>,
        fresh: &'a Fresh,
        position: Option<Position>,
    ) -> Answer<'a, Cursor> {
        Box::pin(async move {
            let position = position.map(reply::of_position).unwrap_or_default();
            let head = [writer.map(of_writer).unwrap_or_default(), position];
            self.change(&self.scripts.bump, &head, &fresh.0, with_generation).await
        })
    }

    fn abort<'a>(&'a self, writer: Writer, slots: &'a [Slot]) -> Answer<'a, Cursor> {
        let number = |arguments: &mut Vec<Vec<u8>>, slot: &Slot| arguments.push(of_slot(*slot));
        Box::pin(async move { self.change(&self.scripts.abort, &[of_writer(writer)], slots, number).await })
    }

    fn epoch<'a>(&'a self, fresh: Generation, when: NewEpoch) -> Answer<'a, EpochRecord> {
        let (when, history) = match when {
            NewEpoch::Always => ("always", Vec::new()),
            NewEpoch::IfOfAnotherRun => ("run", Vec::new()),
            NewEpoch::IfHistoryIs(history) => ("history", reply::of_history(history)),
        };
        let pipeline = move |with_text, connection: &Connection| {
            let run = connection.run.0.to_be_bytes().to_vec();
            let arguments = [self.birth(), of_generation(fresh), run, when.into(), history.clone()];
            let mut pipeline = redis::pipe();
            pipeline.add_command(self.scripts.epoch.call(with_text, &self.keys(), &arguments));
            pipeline
        };
        let read = |answers: &mut Answers, _: &Connection| {
            answers.read("epoch", reply::epoch)?.ok_or_else(|| unexpected("epoch"))
        };
        Box::pin(self.run(pipeline, read))
    }

    fn feed<'a>(
        &'a self,
        after: Option<Cursor>,
        wait: Duration,
        member: Option<(Member, Duration)>,
    ) -> Answer<'a, Feed> {
        Box::pin(async move {
            match after {
                Some(after) => self.feed_after(after, wait, member).await,
                None => self.feed_start(false).await,
            }
        })
    }

    fn members(&self) -> Answer<'_, Vec<(Member, FeedId)>> {
        Box::pin(self.list_members())
    }

    fn relayed(&self, as_of: TierTime) -> Answer<'_, ()> {
        Box::pin(async move {
            let arguments = vec![self.birth(), decimal(as_of.0)];
            let pipeline = self.on_records(&self.scripts.relayed, arguments);
            self.run(pipeline, |answers, _| answers.take("relayed").map(drop)).await
        })
    }

    fn usage(&self) -> Answer<'_, Usage> {
        Box::pin(async move {
            let mut pipeline = redis::pipe();
            pipeline.cmd("INFO").arg("memory").arg("stats");
            self.ask(&pipeline, |answers, _| Ok(Info::parse(&answers.text("INFO")?).usage())).await
        })
    }
}

fn with_generation(arguments: &mut Vec<Vec<u8>>, (slot, generation): &(Slot, Generation)) {
    arguments.push(of_slot(*slot));
    arguments.push(of_generation(*generation));
}

fn of_slot(slot: Slot) -> Vec<u8> {
    decimal(u64::from(slot.number()))
}

fn of_writer(writer: Writer) -> Vec<u8> {
    writer.0.to_be_bytes().to_vec()
}

fn of_generation(generation: Generation) -> Vec<u8> {
    generation.bits().to_be_bytes().to_vec()
}

fn decimal(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// At least one: a server takes no end of life that is now.
fn millis(keep: Duration) -> u64 {
    u64::try_from(keep.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

impl fmt::Debug for RedisTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("opener", &self.opener)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

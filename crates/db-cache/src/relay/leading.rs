//! What the leading relay does: it looks, bumps, and only then lets go of the log.

use std::collections::HashSet;
use std::time::Duration;

use db_core::{Error, Lsn};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use tokio::time::Instant;

use super::catalog::{self, Here, Looked};
use super::decoding::{Decoded, decode};
use super::message::{Message, receipt};
use super::verdict::{Accident, SlotSeen, Verdict, Way, choose, judge};
use super::visible::Seen;
use super::{Relay, RelayError};
use crate::generation::Generation;
use crate::position::Position;
use crate::second_tier::{Fresh, NewEpoch};

/// How much log may lie behind before the slot is advanced though nothing was said to the relay.
const IDLE_LOG: u64 = 1 << 20;

/// How many times as long as a look took the relay rests: looking costs at most a tenth of a core.
const REST: u32 = 9;

/// One transaction, as the log has it.
struct Transaction {
    xid: u32,
    end: Lsn,
    /// None for what cannot be read.
    messages: Vec<Option<Message>>,
}

/// What one leader knows.
pub(super) struct Leading<'a> {
    relay: &'a Relay,
    conn: &'a mut AsyncPgConnection,
    here: Here,
    /// The names that its slot may have, and the one that it has.
    names: [String; 2],
    slot: String,
    /// Up to where the slot may be read, as the state's row says.
    acknowledged: Lsn,
    /// What was bumped already and lies behind a commit that is not visible yet.
    ahead: HashSet<Lsn>,
}

impl<'a> Leading<'a> {
    /// Makes sure that nothing was missed, or that nothing is kept that could have been.
    pub(super) async fn begin(relay: &'a Relay, conn: &'a mut AsyncPgConnection) -> Result<Self, RelayError> {
        let here = catalog::here(conn).await?;
        let name = &relay.config.name;
        let (names, slot) = ([name.clone(), format!("{name}_{}", here.database)], name.clone());
        let mut leading =
            Leading { relay, conn, here, names, slot, acknowledged: Lsn(0), ahead: HashSet::new() };
        leading.take_over().await?;
        leading.relay.shared.lock().way = Some(here.way);
        if here.way == Way::Slot {
            if here.most_retained.is_none() {
                relay.say_once(
                    "the cache's slot may hold back log without limit while no service runs: set max_slot_wal_keep_size",
                );
            }
            // From before the server could decode.
            while !leading.empty_outbox().await? {}
        }
        Ok(leading)
    }

    /// Looks for ever.
    pub(super) async fn go_on(&mut self) -> Result<(), RelayError> {
        loop {
            let started = Instant::now();
            // What is committed while this look is under way may be missed by it.
            let began = self.relay.tier.read(&[], &[]).await?.now;
            let is_caught_up = match self.here.way {
                Way::Slot => self.read_slot().await?,
                Way::Outbox => self.empty_outbox().await?,
            };
            {
                let mut status = self.relay.shared.lock();
                (status.is_caught_up, status.looks) = (is_caught_up, status.looks + 1);
            }
            if is_caught_up {
                self.relay.tier.relayed(began).await?;
            }
            let rest = started.elapsed().saturating_mul(REST).min(self.relay.config.longest_rest);
            let rest = if is_caught_up { rest.max(self.relay.config.interval) } else { rest.max(SOON) };
            tokio::time::sleep(rest).await;
        }
    }

    async fn take_over(&mut self) -> Result<(), RelayError> {
        let config = &self.relay.config;
        let looked = catalog::look(self.conn, &self.names).await?;
        let left = catalog::left(self.conn, config).await?;
        let (Some(chosen), is_shadowed) = choose(&self.names, &looked.slots) else {
            self.relay.renew(self.here.history, Accident::Shadowed).await?;
            return Err(RelayError::Blocked(Accident::Shadowed));
        };
        self.slot = chosen;
        let seen = looked.slots.iter().find(|slot| slot.name == self.slot);
        let accident = match judge(self.here.way, self.here.history, seen, left.as_ref()) {
            Verdict::GoOn => {
                self.acknowledged = left.and_then(|left| left.acknowledged).unwrap_or_default();
                return Ok(());
            }
            Verdict::Make(accident) => {
                if seen.is_some() {
                    catalog::drop_slot(self.conn, &self.slot).await?;
                }
                // The slot first: what it does not tell of was committed, and visible, before the epoch that
                // follows.
                catalog::make_slot(self.conn, &self.slot, self.here).await?;
                if is_shadowed { Accident::Shadowed } else { accident }
            }
            Verdict::Adopt(accident) => accident,
        };
        self.relay.renew(self.here.history, accident).await?;
        let confirmed = match self.here.way {
            Way::Slot => {
                let looked = catalog::look(self.conn, &self.names).await?;
                self.seen(&looked).map(|slot| slot.confirmed)
            }
            Way::Outbox => None,
        };
        catalog::leave(self.conn, config, self.here, confirmed).await?;
        self.acknowledged = confirmed.unwrap_or_default();
        Ok(())
    }

    /// Bumps what the slot tells. Answers whether nothing is left that was committed before.
    async fn read_slot(&mut self) -> Result<bool, RelayError> {
        let (relay, config) = (self.relay, &self.relay.config);
        let looked = catalog::look(self.conn, &self.names).await?;
        relay.shared.lock().retained_bytes = looked.retained;
        match self.seen(&looked) {
            Some(slot) if slot.is_ours && slot.lost.is_none() && slot.confirmed <= self.acknowledged => {}
            Some(_) | None => {
                self.take_over().await?;
                return Ok(false);
            }
        }
        let (changes, is_all) = catalog::peek(self.conn, config, &self.slot, looked.flushed).await?;
        let transactions = self.transactions(&changes);
        // Later than the look into the log: what is not visible now may be bumped in the next round.
        let seen: Seen = catalog::snapshot(self.conn).await?.parse().map_err(|()| no_snapshot())?;
        let first_hidden = transactions.iter().position(|transaction| !seen.shows(transaction.xid));
        for (place, transaction) in transactions.iter().enumerate() {
            if !seen.shows(transaction.xid) || self.ahead.contains(&transaction.end) {
                continue;
            }
            self.bump(&transaction.messages, transaction.end).await?;
            if first_hidden.is_some_and(|hidden| place > hidden) {
                self.ahead.insert(transaction.end);
            }
        }
        let done = match first_hidden {
            Some(hidden) => transactions[..hidden].last().map(|transaction| transaction.end),
            None if is_all => Some(looked.flushed),
            None => transactions.last().map(|transaction| transaction.end),
        };
        if let Some(done) = done
            && (!transactions.is_empty() || done.bytes_since(self.acknowledged) > IDLE_LOG)
        {
            self.acknowledge(done).await?;
        }
        Ok(is_all && first_hidden.is_none())
    }

    fn seen<'s>(&self, looked: &'s Looked) -> Option<&'s SlotSeen> {
        looked.slots.iter().find(|slot| slot.name == self.slot)
    }

    /// Lets go of the log: the state's row says so first, so that the next leader knows that it was a relay.
    async fn acknowledge(&mut self, done: Lsn) -> Result<(), RelayError> {
        if done <= self.acknowledged {
            return Ok(());
        }
        catalog::leave(self.conn, &self.relay.config, self.here, Some(done)).await?;
        self.acknowledged = done;
        catalog::advance(self.conn, &self.slot, done).await?;
        self.ahead.retain(|end| *end > done);
        Ok(())
    }

    /// Bumps what the outbox holds, and then takes it out. A row that is there is visible.
    async fn empty_outbox(&mut self) -> Result<bool, RelayError> {
        self.conn.batch_execute("BEGIN").await.map_err(Error::from)?;
        let (bodies, is_all) = catalog::take_out(self.conn, &self.relay.config).await?;
        if !bodies.is_empty() {
            let written = catalog::written(self.conn).await?;
            let messages: Vec<_> = bodies.iter().map(|body| self.relay.read(body)).collect();
            self.bump(&messages, written).await?;
        }
        self.conn.batch_execute("COMMIT").await.map_err(Error::from)?;
        Ok(is_all)
    }

    async fn bump(&self, messages: &[Option<Message>], at: Lsn) -> Result<(), RelayError> {
        let position = Position::new(self.here.history, at.0);
        for message in messages {
            self.relay.shared.lock().messages += 1;
            let Some(message) = message else {
                self.relay.renew(self.here.history, Accident::Unreadable).await?;
                continue;
            };
            if let Some(writer) = message.writer {
                let told = self.relay.tier.read(&[receipt(writer)], &[]).await?;
                if told.entries.iter().any(Option::is_some) {
                    self.relay.shared.lock().confirmed += 1;
                    continue;
                }
            }
            let fresh = |slot: &_| (*slot, Generation::fresh(&self.relay.random));
            let fresh = Fresh(message.slots.iter().map(fresh).collect());
            self.relay.tier.bump(message.writer, &fresh, Some(position)).await?;
        }
        Ok(())
    }

    /// The transactions that say something to the relay, in the order of their commits.
    fn transactions(&self, changes: &[Vec<u8>]) -> Vec<Transaction> {
        let mut all = Vec::new();
        let (mut xid, mut messages) = (0, Vec::new());
        for change in changes {
            match decode(change) {
                Some(Decoded::Begin(begun)) => (xid, messages) = (begun, Vec::new()),
                Some(Decoded::Message { prefix, content }) if prefix == self.relay.config.name => {
                    messages.push(self.relay.read(&String::from_utf8_lossy(&content)));
                }
                Some(Decoded::Commit(end)) if !messages.is_empty() => {
                    all.push(Transaction { xid, end, messages: std::mem::take(&mut messages) });
                }
                Some(Decoded::Message { .. } | Decoded::Commit(_) | Decoded::Other) | None => {}
            }
        }
        all
    }
}

/// How soon the relay looks again where something is left to do.
const SOON: Duration = Duration::from_millis(5);

fn no_snapshot() -> RelayError {
    RelayError::Database(Error::Client("the server's snapshot cannot be read".into()))
}

impl Relay {
    /// Gives the whole cache a fresh epoch of this history, and says why.
    async fn renew(&self, history: crate::position::History, accident: Accident) -> Result<(), RelayError> {
        let fresh = Generation::fresh(&self.random);
        let epoch = self.tier.epoch(fresh, NewEpoch::IfHistoryIs(history)).await?;
        if epoch.generation != fresh {
            // It is of this history, and commits may have been missed all the same.
            self.tier.epoch(Generation::fresh(&self.random), NewEpoch::Always).await?;
        }
        self.note(accident);
        Ok(())
    }
}

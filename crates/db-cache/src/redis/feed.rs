//! Reading the feed: what has changed since, or the word that something may be missing.
//!
//! A reader has missed nothing as long as the entry that it read last is still in the stream after it has
//! read on: a feed is cut at its beginning, and no two feeds begin at the same place.

use std::sync::PoisonError;
use std::time::Duration;

use redis::Pipeline;
use tokio::time::timeout;

use super::connection::Connection;
use super::failure::unexpected;
use super::names::{HEAD, MEMBERS};
use super::reply::{self, Answers, Part};
use super::{RedisTier, decimal, millis};
use crate::record::FeedId;
use crate::second_tier::{Cursor, Feed, Member};
use crate::tier_error::{TierError, TierFailure};

/// As many entries of the stream as one answer holds.
const PART: usize = 1_000;

/// What the answer to a read that waits may take longer than the wait.
const GRACE: Duration = Duration::from_secs(1);

/// Connections that are kept for the next reader.
const KEPT: usize = 2;

/// What a read of the stream came to.
enum Found {
    Lost,
    Part(Part),
}

impl RedisTier {
    pub(super) async fn feed_after(
        &self,
        after: Cursor,
        wait: Duration,
        member: Option<(Member, Duration)>,
    ) -> Result<Feed, TierError> {
        let mut found = self.changes_by_now(after, member).await?;
        if matches!(&found, Found::Part(part) if part.last.is_none()) && !wait.is_zero() {
            found = self.wait_for_changes(after, wait).await?;
        }
        match found {
            Found::Lost => self.feed_start(true).await,
            Found::Part(part) => {
                let cursor = Cursor { id: part.last.unwrap_or(after.id), ..after };
                let Part { changes, now, relayed, .. } = part;
                Ok(Feed { changes, cursor, lost: false, epoch: None, now, relayed })
            }
        }
    }

    /// Where the feed ends, and the epoch.
    pub(super) async fn feed_start(&self, lost: bool) -> Result<Feed, TierError> {
        let read = |answers: &mut Answers, connection: &Connection| {
            let head = answers.read("start", reply::head)?.ok_or_else(|| unexpected("start"))?;
            let now = answers.time()?;
            let cursor = Cursor { run: connection.run, id: head.tail };
            Ok(Feed { changes: Vec::new(), cursor, lost, epoch: head.epoch, now, relayed: head.relayed })
        };
        let start = self.on_records(&self.scripts.start, vec![self.birth()]);
        let pipeline = |with_text, connection: &Connection| {
            let mut pipeline = start(with_text, connection);
            pipeline.cmd("TIME");
            pipeline
        };
        self.run(pipeline, read).await
    }

    pub(super) async fn list_members(&self) -> Result<Vec<(Member, FeedId)>, TierError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("HGET").arg(&self.names.records).arg(MEMBERS);
        pipeline.cmd("TIME");
        let read = |answers: &mut Answers, _: &Connection| {
            let members = answers.read("HGET", reply::members)?.unwrap_or_default();
            let now = answers.time()?;
            let alive = members.into_iter().filter(|(.., until)| *until > now);
            Ok(alive.map(|(member, applied, _)| (member, applied)).collect())
        };
        self.ask(&pipeline, read).await
    }

    async fn changes_by_now(
        &self,
        after: Cursor,
        member: Option<(Member, Duration)>,
    ) -> Result<Found, TierError> {
        let pipeline = |with_text, _: &Connection| {
            let mut pipeline = redis::pipe();
            if let Some((member, keep)) = member {
                let arguments =
                    [member.0.to_be_bytes().to_vec(), reply::of_id(after.id), decimal(millis(keep))];
                pipeline.add_command(self.scripts.member.call(with_text, &[&self.names.records], &arguments));
            }
            self.ask_for_changes(&mut pipeline, after, None);
            pipeline
        };
        let read = |answers: &mut Answers, connection: &Connection| {
            if member.is_some() {
                answers.take("member")?;
            }
            found(after, answers, connection)
        };
        self.run(pipeline, read).await
    }

    /// On a connection of its own, which is given up where the caller gives up: what waits blocks all behind
    /// it.
    async fn wait_for_changes(&self, after: Cursor, wait: Duration) -> Result<Found, TierError> {
        let kept = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match kept.filter(Connection::is_alive) {
            Some(connection) => connection,
            None => self.opener.open(None).await?,
        };
        let mut pipeline = redis::pipe();
        self.ask_for_changes(&mut pipeline, after, Some(wait));
        let limit = Duration::from_millis(millis(wait)) + GRACE;
        let Ok(answers) = timeout(limit, connection.ask(&pipeline)).await else {
            return Err(TierError::new(
                TierFailure::TimedOut,
                format!("no answer about the feed within {limit:?}"),
            ));
        };
        let found = found(after, &mut answers?, &connection)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < KEPT {
            waiting.push(connection);
        }
        Ok(found)
    }

    fn ask_for_changes(&self, pipeline: &mut Pipeline, after: Cursor, wait: Option<Duration>) {
        let id = format!("{}-{}", after.id.0, after.id.1);
        // Before the changes: what the relay had bumped by then is among them.
        pipeline.cmd("HGET").arg(&self.names.records).arg(HEAD);
        pipeline.cmd("TIME");
        pipeline.cmd("XREAD").arg("COUNT").arg(PART);
        if let Some(wait) = wait {
            pipeline.arg("BLOCK").arg(millis(wait));
        }
        pipeline.arg("STREAMS").arg(&self.names.feed).arg(&id);
        pipeline.cmd("XRANGE").arg(&self.names.feed).arg(&id).arg(&id);
        pipeline.cmd("INFO").arg("replication");
    }
}

fn found(after: Cursor, answers: &mut Answers, connection: &Connection) -> Result<Found, TierError> {
    let head = answers.read("HGET", reply::head)?.unwrap_or_default();
    let now = answers.time()?;
    let part = Part { now, relayed: head.relayed, ..answers.part()? };
    let is_there = !answers.list("XRANGE")?.is_empty();
    connection.check_history(&answers.text("INFO")?)?;
    let is_same_feed = after.run == connection.run && is_there && !part.begins;
    Ok(if is_same_feed { Found::Part(part) } else { Found::Lost })
}

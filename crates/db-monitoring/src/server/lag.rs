//! How far a standby is behind, by log positions and one clock: that of whoever looks.
//!
//! A server's own figures mislead: `replay_lag` keeps its last value while replay stands still, `now() -
//! pg_last_xact_replay_timestamp()` grows on an idle primary and compares the clocks of two machines. So
//! the collector remembers when the log was how far, each second, and a standby is as late as the first
//! byte that it lacks.

use std::collections::VecDeque;

use serde::Serialize;

use crate::server::{ReplicationPosition, Sender, WalReceiver};

/// So many positions are remembered: an hour, one a second.
const MOST_POSITIONS: usize = 3_600;
/// A sender that has nothing to send says so at least this often, in seconds: half of
/// `wal_sender_timeout`'s default.
const SIGN_OF_LIFE: f64 = 31.0;

/// What a standby does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LagState {
    /// It has everything.
    CaughtUp,
    /// It replays, and is not there yet.
    Behind,
    /// Somebody paused its replay.
    Paused,
    /// It gets no log: what it lacks cannot be known.
    NoReceiver,
}

/// How far a standby is behind. Behind a standby that passes the log on, that is counted from what the
/// latter heard of the primary's log.
///
/// ```
/// use db_monitoring::server::{LagState, Positions, ReplicationPosition, Sender};
///
/// let mut positions = Positions::default();
/// positions.note(100.0, 5_000); // the time of whoever looks, in seconds, and the end of the log
/// positions.note(101.0, 9_000);
/// let mut sender = Sender::default();
/// sender.replayed = Some(5_000);
/// let lag = positions.of_sender(103.0, &sender);
/// assert_eq!((lag.bytes, lag.seconds, lag.state), (Some(4_000), Some(2.0), LagState::Behind));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lag {
    /// The standby, as it calls itself to its sender; empty for the server that was asked.
    pub standby: String,
    /// The process that sends to it; none for the server that was asked.
    pub pid: Option<i64>,
    /// What it does.
    pub state: LagState,
    /// How much log it lacks; none where that is not known.
    pub bytes: Option<i64>,
    /// How late it is; none where that is not known.
    pub seconds: Option<f64>,
    /// Whether it is at least so late: nobody looked earlier, or nothing new is heard.
    pub at_least: bool,
}

/// How far the standbys of a server are, and that server itself if it is one.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ReplicationLag {
    /// The server's own lag; none on a primary.
    pub own: Option<Lag>,
    /// Those that get the log from here.
    pub standbys: Vec<Lag>,
}

impl ReplicationLag {
    /// The greatest lag in seconds.
    pub fn worst(&self) -> Option<f64> {
        self.own.iter().chain(&self.standbys).filter_map(|lag| lag.seconds).reduce(f64::max)
    }
}

/// When the log was how far, as whoever looks saw it.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    seen: VecDeque<(f64, i64)>,
    /// When the standby was last known to have everything.
    caught_up: Option<f64>,
    began: Option<f64>,
}

impl Positions {
    /// The log ends at `end` now. Times are seconds of a clock that does not go back.
    pub fn note(&mut self, now: f64, end: i64) {
        self.began.get_or_insert(now);
        // A position that went back is of another history.
        if self.seen.back().is_some_and(|(_, last)| *last > end) {
            self.seen.clear();
        }
        if self.seen.back().is_none_or(|(_, last)| *last < end) {
            self.seen.push_back((now, end));
        }
        while self.seen.len() > MOST_POSITIONS {
            self.seen.pop_front();
        }
    }

    /// How late somebody is who has replayed up to `replayed`, and whether it is at least that.
    fn late(&self, now: f64, replayed: i64) -> (f64, bool) {
        match self.seen.iter().position(|(_, end)| *end > replayed) {
            None => (0.0, false),
            Some(place) => ((now - self.seen[place].0).max(0.0), place == 0),
        }
    }

    /// How far the standby of a sender is behind.
    pub fn of_sender(&self, now: f64, sender: &Sender) -> Lag {
        let end = self.seen.back().map(|(_, end)| *end);
        let standby =
            sender.application_name.clone().or_else(|| sender.client_addr.clone()).unwrap_or_default();
        let mut lag = Lag {
            standby,
            pid: Some(sender.pid),
            state: LagState::Behind,
            bytes: None,
            seconds: None,
            at_least: false,
        };
        if let (Some(end), Some(replayed)) = (end, sender.replayed) {
            lag.bytes = Some(end.saturating_sub(replayed).max(0));
            let (late, mut at_least) = self.late(now, replayed);
            // What the server measured reaches further back than we do.
            let measured = sender.replay_lag.filter(|_| at_least).unwrap_or(0.0);
            at_least &= measured <= late;
            (lag.seconds, lag.at_least) = (Some(late.max(measured)), at_least);
            if lag.bytes == Some(0) {
                (lag.state, lag.seconds, lag.at_least) = (LagState::CaughtUp, Some(0.0), false);
            }
        }
        lag
    }

    /// How far the standby itself is behind, by what its receiver heard.
    pub fn of_standby(&mut self, now: f64, at: &ReplicationPosition, receiver: Option<&WalReceiver>) -> Lag {
        self.began.get_or_insert(now);
        let alive = receiver.filter(|receiver| receiver.status.as_deref() == Some("streaming"));
        let heard = alive.and_then(|receiver| receiver.latest_end).max(at.received);
        if let Some(end) = heard {
            self.note(now, end);
        }
        let replayed = at.replayed.unwrap_or_default();
        let bytes = heard.map(|end| end.saturating_sub(replayed).max(0));
        let silent = alive.and_then(|receiver| receiver.last_message_age).filter(|age| *age > SIGN_OF_LIFE);
        let mut lag = Lag {
            standby: String::new(),
            pid: None,
            state: LagState::Behind,
            bytes,
            seconds: None,
            at_least: false,
        };
        if alive.is_none() || silent.is_some() {
            // It may lack anything since it last had everything.
            let since = self.caught_up.or(self.began).unwrap_or(now);
            lag.state = LagState::NoReceiver;
            lag.seconds = Some((now - since).max(silent.unwrap_or(0.0)));
            (lag.bytes, lag.at_least) = (None, true);
            return lag;
        }
        if bytes == Some(0) {
            self.caught_up = Some(now);
            (lag.state, lag.seconds) = (LagState::CaughtUp, Some(0.0));
            return lag;
        }
        let (late, at_least) = self.late(now, replayed);
        (lag.seconds, lag.at_least) = (Some(late), at_least);
        if at.replay_paused == Some(true) {
            lag.state = LagState::Paused;
        }
        lag
    }
}

#[cfg(test)]
#[path = "lag/tests.rs"]
mod tests;

//! Carries the bytes of one connection one way, through whatever faults are in force.
//!
//! A reader stamps each piece with the moment it is due and a writer waits for that moment, so that latency
//! delays bytes without slowing their flow. Every fault is looked at right before bytes are written: what a
//! client sends after a fault was switched on is always under that fault.

use super::exchanges::Follower;
use super::plan::{CommitCut, Direction, Mode, Plan};
use super::wire::{Answer, Client, Server, Step};
use super::{Shared, lock};
use std::sync::Mutex;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

const PIECE: usize = 16 * 1024;
/// How many pieces may be under way when latency holds them back.
const UNDER_WAY: usize = 256;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all they had to say.
    Closed,
    /// Both sides are reset.
    Reset,
    /// The client is reset; the server gets to finish what it has been sent.
    AtCommit,
    /// The server is gone and the client must not notice.
    HalfOpen,
}

/// What both directions of a connection know of its protocol.
#[derive(Debug, Default)]
pub(super) struct Talk {
    client: Client,
    server: Server,
    /// The batch that answers a COMMIT whose answer the client must not see.
    awaited: Option<u64>,
    /// The SQLSTATE that the client gets in its place.
    falsified: Option<[u8; 5]>,
    /// A COMMIT or its answer is held back, and so is all that comes after it.
    held: Option<CommitCut>,
    /// An answer that is held back has come.
    kept: bool,
    /// Writes down what passes, where that is wanted.
    follower: Option<Follower>,
}

impl Talk {
    pub(super) fn written_down_by(follower: Option<Follower>) -> Self {
        Talk { follower, ..Talk::default() }
    }
}

pub(super) struct Pump<'a> {
    pub(super) shared: &'a Shared,
    pub(super) plan: watch::Receiver<Plan>,
    pub(super) talk: &'a Mutex<Talk>,
    pub(super) direction: Direction,
    /// The number of cuts when the connection was made.
    pub(super) cuts: u64,
}

enum Piece {
    Bytes(Instant, Vec<u8>),
    End,
    Broken,
}

impl Pump<'_> {
    /// Runs until one side ends (`None`, after passing the end on) or a fault ends the connection.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Option<End> {
        let (sender, receiver) = mpsc::channel(UNDER_WAY);
        let plan = self.plan.clone();
        let read = read(from, sender, plan, self.direction, self.talk);
        tokio::pin!(read);
        let write = self.write(receiver, to);
        tokio::pin!(write);
        tokio::select! {
            end = &mut write => end,
            () = &mut read => write.await,
        }
    }

    async fn write(mut self, mut pieces: mpsc::Receiver<Piece>, mut to: WriteHalf<'_>) -> Option<End> {
        let mut left = None;
        let mut swallowed = false;
        loop {
            let piece = tokio::select! {
                piece = pieces.recv() => piece.unwrap_or(Piece::End),
                // Nothing more may ever come on a connection that lost bytes: it must notice its end by
                // itself.
                _ = self.plan.wait_for(|plan| plan.mode != Mode::Blackhole), if swallowed => return Some(End::Reset),
            };
            if let Piece::Bytes(due, _) = piece {
                tokio::time::sleep_until(due).await;
            }
            match self.gate().await {
                // Bytes were lost: no real connection goes on after that.
                Gate::Open if swallowed => return Some(End::Reset),
                Gate::Open => {}
                Gate::Swallow => {
                    swallowed = true;
                    if !matches!(piece, Piece::Bytes(..)) && self.plan.changed().await.is_err() {
                        return Some(End::Reset);
                    }
                    continue;
                }
                Gate::Cut => return Some(End::Reset),
            }
            let bytes = match piece {
                Piece::Bytes(_, bytes) => bytes,
                Piece::Broken => return Some(End::Reset),
                Piece::End => {
                    let _ = to.shutdown().await;
                    return None;
                }
            };
            let sent = match self.direction {
                Direction::ToServer => self.to_server(&bytes, &mut to, &mut left).await,
                Direction::ToClient => self.to_client(&bytes, &mut to, &mut left).await,
            };
            match sent {
                Sent::All => {}
                Sent::Gone => return None,
                Sent::Ended(end) => return Some(end),
            }
        }
    }

    /// Waits while bytes are held back.
    async fn gate(&mut self) -> Gate {
        loop {
            let plan = *self.plan.borrow_and_update();
            match plan.mode {
                _ if plan.cuts != self.cuts => return Gate::Cut,
                Mode::Blackhole => return Gate::Swallow,
                Mode::Stall => {}
                Mode::Pass | Mode::Refuse => return Gate::Open,
            }
            if self.plan.changed().await.is_err() {
                return Gate::Cut;
            }
        }
    }

    async fn to_server(&self, mut bytes: &[u8], to: &mut WriteHalf<'_>, left: &mut Count) -> Sent {
        while !bytes.is_empty() && lock(self.talk).held != Some(CommitCut::HeldBack) {
            let (Step { len, start, .. }, cut) = self.look_for_commit(bytes);
            let (now, rest) = bytes.split_at(len);
            bytes = rest;
            if cut == Some(CommitCut::HeldBack) {
                let Some(before) = start.and_then(|start| now.get(..start)) else {
                    return Sent::Ended(End::Reset);
                };
                let sent = self.send(before, to, left).await;
                self.shared.counters.commit_cut();
                return sent;
            }
            if let Some(CommitCut::Refused(_)) = cut {
                // What goes before it in the same piece has requests of its own.
                let Some(before) = start.and_then(|start| now.get(..start)) else {
                    return Sent::Ended(End::Reset);
                };
                for part in [before, b"Q\0\0\0\x0dROLLBACK\0"] {
                    match self.send(part, to, left).await {
                        Sent::All => {}
                        other => return other,
                    }
                }
                continue;
            }
            if cut == Some(CommitCut::Withheld) {
                self.shared.counters.commit_cut();
                return Sent::Ended(End::Reset);
            }
            match self.send(now, to, left).await {
                Sent::All => {}
                other => return other,
            }
            if cut == Some(CommitCut::Forwarded) {
                self.shared.counters.commit_cut();
                return Sent::Ended(End::AtCommit);
            }
        }
        Sent::All
    }

    fn look_for_commit(&self, bytes: &[u8]) -> (Step, Option<CommitCut>) {
        let mut talk = lock(self.talk);
        let step = talk.client.feed(bytes);
        let cut = step.commit.and_then(|batch| {
            self.shared.counters.commit_seen();
            let cut = self.shared.take_commit()?;
            // Set before the COMMIT leaves: the answer may be faster than this task.
            talk.falsified = match cut {
                CommitCut::Falsified(code) | CommitCut::Refused(code) => Some(code),
                _ => None,
            };
            talk.held = matches!(cut, CommitCut::HeldBack | CommitCut::Unanswered).then_some(cut);
            let awaited =
                matches!(cut, CommitCut::Answered | CommitCut::Unanswered) || talk.falsified.is_some();
            talk.awaited = awaited.then_some(batch);
            Some(cut)
        });
        (step, cut)
    }

    async fn to_client(&self, bytes: &[u8], to: &mut WriteHalf<'_>, left: &mut Count) -> Sent {
        let (answer, falsified, unanswered) = {
            let mut talk = lock(self.talk);
            let Talk { client, server, awaited, falsified, held, kept, .. } = &mut *talk;
            let answer = server.feed(client, bytes, *awaited);
            let unanswered = *held == Some(CommitCut::Unanswered);
            if unanswered && answer.complete && !std::mem::replace(kept, true) {
                self.shared.counters.commit_cut();
            }
            let falsified = falsified.filter(|_| awaited.is_some());
            if falsified.is_some() && answer.end.is_some() {
                *awaited = None;
            }
            (answer, falsified, unanswered)
        };
        if let Some(code) = falsified {
            return self.falsify(bytes, &answer, code, to, left).await;
        }
        // Before it is sent, as it is counted: whoever has the answer finds it written down.
        self.write_down(&bytes[..answer.before]);
        let sent = self.send(&bytes[..answer.before], to, left).await;
        if sent == Sent::All && answer.complete && !unanswered {
            self.shared.counters.commit_cut();
            return Sent::Ended(End::AtCommit);
        }
        sent
    }

    /// Notes which requests these bytes have answered.
    fn write_down(&self, bytes: &[u8]) {
        let Some(follower) = &mut lock(self.talk).follower else { return };
        let ended = follower.goes(bytes, std::time::Instant::now());
        if let Some(exchanges) = &mut *lock(&self.shared.exchanges) {
            exchanges.extend(ended);
        }
    }

    /// Passes on what came before the answer and what comes behind it, and says something else in its place.
    async fn falsify(
        &self,
        bytes: &[u8],
        answer: &Answer,
        code: [u8; 5],
        to: &mut WriteHalf<'_>,
        left: &mut Count,
    ) -> Sent {
        let Some(end) = answer.end else {
            let before = bytes.get(..answer.before).unwrap_or_default();
            return self.send(before, to, left).await;
        };
        self.shared.counters.commit_cut();
        let fields = [&b"SERROR\0VERROR\0C"[..], &code, b"\0Mthe server went away\0\0"].concat();
        let length = u32::try_from(fields.len() + 4).unwrap_or(u32::MAX).to_be_bytes();
        let error = [&b"E"[..], &length, &fields, b"Z\0\0\0\x05I"].concat();
        for part in [&bytes[..answer.before.min(end)], &error, &bytes[end..]] {
            match self.send(part, to, left).await {
                Sent::All => {}
                other => return other,
            }
        }
        Sent::All
    }

    /// Writes bytes at the rate and up to the count that are in force.
    async fn send(&self, mut bytes: &[u8], to: &mut WriteHalf<'_>, left: &mut Count) -> Sent {
        while !bytes.is_empty() {
            let plan = *self.plan.borrow();
            if plan.cuts != self.cuts {
                return Sent::Ended(End::Reset);
            }
            let shape = plan.shape(self.direction);
            let mut len = bytes.len();
            if let Some(limit) = shape.cut_after {
                let (set, left) = left.get_or_insert((shape.cut_after_set, limit));
                if *set != shape.cut_after_set {
                    (*set, *left) = (shape.cut_after_set, limit);
                }
                len = len.min(usize::try_from(*left).unwrap_or(usize::MAX));
                if len == 0 {
                    return Sent::Ended(End::Reset);
                }
            }
            let mut pause = Duration::ZERO;
            if let Some(rate) = shape.bytes_per_second {
                // A fiftieth of a second's worth at a time: smooth, and a new rate is soon obeyed.
                len = len.min(usize::try_from(rate / 50).unwrap_or(usize::MAX).max(1));
                pause = Duration::from_secs_f64(len as f64 / rate as f64);
            }
            let (now, rest) = bytes.split_at(len);
            bytes = rest;
            // Counted first: whoever has received bytes finds them counted.
            self.shared.counters.passed(self.direction, len as u64);
            if to.write_all(now).await.is_err() {
                return Sent::Gone;
            }
            if let (Some(_), Some((_, left))) = (shape.cut_after, left.as_mut()) {
                *left -= len as u64;
                if *left == 0 {
                    return Sent::Ended(End::Reset);
                }
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        Sent::All
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    All,
    /// The receiver is gone; the other direction finds out how, and passes on its last words.
    Gone,
    Ended(End),
}

/// Bytes that may pass until the cut, and which call to `cut_after` set them.
type Count = Option<(u64, u64)>;

enum Gate {
    Open,
    Swallow,
    Cut,
}

async fn read(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<Piece>,
    plan: watch::Receiver<Plan>,
    direction: Direction,
    talk: &Mutex<Talk>,
) {
    let mut buffer = vec![0; PIECE];
    let mut last = Instant::now();
    loop {
        let piece = match from.read(&mut buffer).await {
            Ok(0) => Piece::End,
            Err(_) => Piece::Broken,
            Ok(len) => {
                if direction == Direction::ToServer
                    && let Some(follower) = &mut lock(talk).follower
                {
                    follower.came(&buffer[..len], std::time::Instant::now());
                }
                let shape = *plan.borrow().shape(direction);
                // Jitter delays, and never reorders.
                last = last.max(Instant::now() + shape.latency + shape.jitter.mul_f64(rand::random::<f64>()));
                Piece::Bytes(last, buffer[..len].to_vec())
            }
        };
        let ended = !matches!(piece, Piece::Bytes(..));
        if pieces.send(piece).await.is_err() || ended {
            return;
        }
    }
}

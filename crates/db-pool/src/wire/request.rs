//! One request of the client, from its first byte to the server's ReadyForQuery.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_core::{BindHashes, Caller, SqlState};

use super::frames::text;
use super::{Known, Leftover};

/// The longest tag of a command that matters, with the zero behind it: INSERT and the greatest count.
pub(crate) const LONGEST_TAG: usize = 32;

/// What a request does, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// It closes a prepared statement, or nothing at all: nobody waits for it.
    Close,
    /// It prepares a statement.
    Prepare,
    /// It runs something.
    Run,
}

/// What the user of a connection has asked and the server has not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Foreign {
    Nothing,
    Something,
    /// A COMMIT, which may wait for a synchronous standby: a cancel would end that wait, and the transaction
    /// stays committed.
    Commit,
}

/// A statement that a client has named or sent, and how it went so far.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) text: Box<str>,
    pub(crate) leftover: Leftover,
    /// A function that it calls and of which nothing is known.
    pub(crate) unknown: Option<Box<str>>,
    uses: AtomicU64,
    busy_nanos: AtomicU64,
    /// When it last ended, in nanoseconds since `born`.
    last_nanos: AtomicU64,
    born: Instant,
}

impl Statement {
    pub(crate) fn new(text: &str, cut: bool, known: &Known) -> Arc<Self> {
        Arc::new(Statement::of(text, cut, known))
    }

    fn of(text: &str, cut: bool, known: &Known) -> Self {
        let (leftover, unknown) = if cut { (Leftover::ANYTHING, None) } else { Leftover::read(text, known) };
        Statement {
            leftover,
            unknown,
            text: text.into(),
            uses: AtomicU64::new(0),
            busy_nanos: AtomicU64::new(0),
            last_nanos: AtomicU64::new(0),
            born: Instant::now(),
        }
    }

    /// A statement that is prepared: it is one only, so that its beginning tells whether it is a COMMIT.
    pub(crate) fn prepared(text: &str, cut: bool, known: &Known) -> Arc<Self> {
        let mut statement = Statement::of(text, cut, known);
        statement.leftover.commits = Leftover::read(text, known).0.commits;
        Arc::new(statement)
    }

    // It belongs to one connection, whose own task alone counts: others only read.
    fn count(&self, elapsed: Duration, now: Instant) {
        self.uses.store(self.uses() + 1, Ordering::Relaxed);
        let busy = AtomicU64::load(&self.busy_nanos, Ordering::Relaxed);
        self.busy_nanos.store(busy.saturating_add(nanos(elapsed)), Ordering::Relaxed);
        self.last_nanos.store(nanos(now.duration_since(self.born)), Ordering::Relaxed);
    }

    pub(crate) fn uses(&self) -> u64 {
        AtomicU64::load(&self.uses, Ordering::Relaxed)
    }

    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(AtomicU64::load(&self.busy_nanos, Ordering::Relaxed))
    }

    pub(crate) fn last_used(&self) -> Instant {
        self.born + Duration::from_nanos(AtomicU64::load(&self.last_nanos, Ordering::Relaxed))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A request that is under way.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) statement: Option<Arc<Statement>>,
    /// The statements that it names, in case it fails.
    pub(crate) names: Vec<Box<str>>,
    pub(crate) sent: Instant,
    /// When the last of it was sent, where that took a while.
    pub(crate) sent_wholly: Option<Instant>,
    pub(crate) caller: Option<Arc<Caller>>,
    pub(crate) first_row: Option<Instant>,
    pub(crate) rows: u64,
    /// Rows that its statements wrote; none until one said so.
    pub(crate) written: Option<u64>,
    /// Of these, messages of a COPY that has not ended.
    pub(crate) copied: u64,
    pub(crate) bytes: u64,
    pub(crate) failed: bool,
    pub(crate) code: Option<SqlState>,
    /// Whether it is a simple query, whose statements are not prepared by the client library.
    pub(crate) is_simple: bool,
    /// Whether the server has come to run a statement, beyond parsing and binding it.
    pub(crate) at_work: bool,
    /// Hashes of the parameters that were bound last, where somebody wants them.
    pub(crate) binds: Option<BindHashes>,
    /// The span that times it; none until that was asked for.
    pub(crate) span: Option<tracing::Span>,
}

impl Request {
    pub(crate) fn new(caller: Option<Arc<Caller>>, sent: Option<Instant>) -> Self {
        Request {
            // It is made when the long message ends that began then.
            sent_wholly: sent.map(|_| Instant::now()),
            kind: Kind::Close,
            statement: None,
            names: Vec::new(),
            sent: sent.unwrap_or_else(Instant::now),
            caller,
            first_row: None,
            rows: 0,
            written: None,
            copied: 0,
            bytes: 0,
            failed: false,
            code: None,
            is_simple: false,
            at_work: false,
            binds: None,
            span: None,
        }
    }

    /// A COPY that sent rows has ended, if this is its tag: it tells how many there were, where their
    /// messages may be one more.
    pub(crate) fn copied_out(&mut self, tag: &[u8]) {
        let copied = std::mem::take(&mut self.copied);
        let told = tag.strip_prefix(b"COPY ").and_then(|rest| text(rest)?.0.parse::<u64>().ok());
        if let Some(told) = told.filter(|_| copied > 0) {
            self.rows = self.rows.saturating_sub(copied).saturating_add(told);
        }
    }

    /// Since when an answer can be waited for. What was long in being written is long on its way: the network
    /// has yet to take what the kernel has taken, at the pace at which it took the rest.
    pub(crate) fn awaited_since(&self) -> Instant {
        let wholly = self.sent_wholly.unwrap_or(self.sent);
        wholly.checked_add(wholly.saturating_duration_since(self.sent)).unwrap_or(wholly)
    }

    /// Whether it asks for nothing but an answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.is_simple && self.statement.as_ref().is_some_and(|statement| statement.text.is_empty())
    }

    /// Takes in what the server said at the end of a statement: `INSERT 0 5`, `UPDATE 5`.
    pub(crate) fn completed(&mut self, tag: &[u8]) {
        let writes = [&b"INSERT "[..], b"UPDATE ", b"DELETE ", b"MERGE "];
        if !writes.iter().any(|verb| tag.starts_with(verb)) {
            return;
        }
        let digits =
            tag.split(|byte| *byte == 0).next().and_then(|tag| tag.rsplit(|byte| *byte == b' ').next());
        let count = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        self.written = count.map(|count| self.written.unwrap_or(0).saturating_add(count)).or(self.written);
    }

    pub(crate) fn does(&mut self, kind: Kind) {
        self.kind = self.kind.max(kind);
    }
}

/// A request that was answered.
pub(crate) type Finished = Request;

impl Finished {
    /// Whether observers hear of it: what ran, and what could not even be prepared.
    pub(crate) fn is_query(&self) -> bool {
        self.kind == Kind::Run || (self.kind == Kind::Prepare && self.failed)
    }

    pub(crate) fn text(&self) -> &str {
        self.statement.as_deref().map_or("", |statement| &statement.text)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.code == Some(SqlState::QUERY_CANCELED)
    }

    /// Counts it among the uses of its statement.
    pub(crate) fn count(&self, elapsed: Duration, now: Instant) {
        if let (Kind::Run, Some(statement)) = (self.kind, &self.statement) {
            statement.count(elapsed, now);
        }
    }
}

//! The session as the messages show it.
//!
//! Source: the PostgreSQL manual, "Message Flow": each Sync, each simple Query and each FunctionCall is
//! answered by exactly one ReadyForQuery, in order; messages between two of these belong to the request that
//! is answered next.

mod facts;
mod label;
mod opening;
mod statements;
mod unanswered;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use db_core::{Caller, Opened, Opening, Role, ServerId, SqlState, TransactionStatus};

use super::catalog::Version;
use super::frames::{Frame, Frames, text};
use super::parameters::Parameters;
use super::request::{Finished, Kind, LONGEST_TAG, Request, Statement};
use super::server_error::{ServerError, leading_text};
use super::staleness::Staleness;
use super::{Known, Leftover, binds};

/// The longest text of a statement, and the longest error, that are read; what is longer is read up to here.
const LONGEST_TEXT: usize = 64 * 1024;
const LONGEST_ERROR: usize = 256 * 1024;
/// The command tag of a transaction that committed, also of COMMIT AND CHAIN; where it was rolled back the
/// tag is ROLLBACK.
const COMMITTED: &[u8] = b"COMMIT\0";

/// What a cancel request names (BackendKeyData).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct BackendKey {
    pub(crate) pid: i32,
    pub(crate) secret: i32,
}

/// Who has the connection.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) caller: Arc<Caller>,
    pub(crate) since: Instant,
    /// Whether it was reported as held for too long.
    pub(crate) reported: bool,
}

/// What one connection's messages have shown.
#[derive(Default)]
pub(crate) struct Session {
    pub(crate) status: TransactionStatus,
    /// The code that failed the transaction which is open, or was open last on this checkout.
    pub(crate) failed_with: Option<SqlState>,
    /// How often the server said that it committed.
    commits: u64,
    /// How often the server gave up waiting for a synchronous standby.
    waits_given_up: u64,
    /// How many statements were sent to be run, and how many to be prepared.
    runs: u64,
    prepares: u64,
    /// What is to go before the next request.
    opening: Option<Opening>,
    begin: Opened,
    /// So many requests that were sent before BEGIN have not ended.
    before_begin: usize,
    /// The row that answered the question behind BEGIN.
    opened: Option<Arc<[Option<String>]>>,
    /// The code of the server's FATAL error.
    last_words: Option<SqlState>,
    pub(crate) staleness: Staleness,
    /// The server that it leads to, where that was asked.
    pub(crate) server: Option<ServerId>,
    pub(crate) leftover: Leftover,
    /// The first statement since the last reset that calls a function of which nothing is known.
    calls_unknown: Option<Arc<Statement>>,
    /// What is known of functions.
    pub(crate) known: Known,
    pub(crate) lease: Option<Lease>,
    /// For whom what is sent now is sent: also what was queued when the lease ended.
    pub(crate) caller: Option<Arc<Caller>>,
    key: Option<BackendKey>,
    /// Whether login is over.
    logged_in: bool,
    /// Whether what the client library sets is over, too: what comes before is the baseline.
    ready: bool,
    /// Whether anything ran since it was checked out.
    ran: bool,
    pub(super) hash_binds: bool,
    pub(super) requests: VecDeque<Request>,
    /// Whether someone waits until there are none.
    awaited: bool,
    building: Option<Request>,
    /// When the message began that is being written.
    pub(super) writing_since: Option<Instant>,
    /// Whether of a message only a part was written.
    pub(super) partway: bool,
    // A tree: the names are short and few, and a hash of one costs more than to find it.
    prepared: BTreeMap<Box<str>, Arc<Statement>>,
    bound: Option<Arc<Statement>>,
    last: Option<Arc<Statement>>,
    parameters: Parameters,
    heard: Option<Instant>,
    /// The longest message so far, in bytes: the client library's buffers have grown to it, and never shrink.
    largest: usize,
    /// The client has ended a COPY in a request whose Sync the server has ignored meanwhile.
    ends_copy: bool,
    /// What came was no PostgreSQL: nothing here can be relied on.
    broken: bool,
}

pub(crate) fn wanted_of_client(tag: u8) -> usize {
    match tag {
        b'Q' | b'P' => LONGEST_TEXT,
        b'B' | b'C' => 256,
        _ => 0,
    }
}

pub(crate) fn wanted_of_server(tag: u8) -> usize {
    match tag {
        b'E' => LONGEST_ERROR,
        b'S' => 4_096,
        b'C' => LONGEST_TAG,
        b'N' => 4_096,
        b'K' => 8,
        b'Z' => 1,
        _ => 0,
    }
}

impl Session {
    /// Requests that were written and not answered, and that do more than close a statement.
    pub(crate) fn unanswered(&self) -> usize {
        self.requests.iter().filter(|request| request.kind > Kind::Close).count()
    }

    /// The server has said something.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
    }

    /// When the server said something last.
    pub(crate) fn last_heard(&self) -> Option<Instant> {
        self.heard
    }

    /// Whether every request that was written has been answered; where not, [`Session::ends_a_wait`] will say
    /// so.
    pub(super) fn is_settled_or_awaited(&mut self) -> bool {
        self.awaited = !self.is_settled();
        !self.awaited
    }

    /// Whether every request has been answered now, and someone waits for that.
    pub(super) fn ends_a_wait(&mut self) -> bool {
        self.is_settled() && std::mem::take(&mut self.awaited)
    }

    /// Whether every request that was written has been answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.requests.is_empty()
    }

    /// Whether the next user would find it as new: nothing unanswered, no transaction, nothing left behind.
    pub(crate) fn is_clean(&self) -> bool {
        self.status == TransactionStatus::Idle
            && !self.broken
            && self.opening.is_none()
            && self.leftover.is_empty()
            && !self.parameters.differ()
            && self.requests.iter().all(|request| request.kind == Kind::Close)
    }

    pub(crate) fn largest(&self) -> usize {
        self.largest
    }

    /// What was left behind, settings that the server reported included.
    pub(crate) fn leftover(&self) -> Leftover {
        let mut leftover = self.leftover;
        leftover.state |= self.parameters.differ();
        leftover
    }

    /// A function that was called since the last reset and of which nothing is known.
    pub(crate) fn unknown_function(&self) -> Option<&str> {
        self.calls_unknown.as_ref()?.unknown.as_deref()
    }

    /// Whether what came made no sense.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    pub(crate) fn key(&self) -> Option<BackendKey> {
        self.key
    }

    pub(crate) fn role(&self) -> Option<Role> {
        self.parameters.role()
    }

    /// Whether anything ran since it was checked out.
    pub(crate) fn has_run(&self) -> bool {
        self.ran
    }

    /// From now on it belongs to whoever has the lease.
    pub(crate) fn check_out(&mut self, lease: Lease) {
        self.caller = Some(Arc::clone(&lease.caller));
        self.lease = Some(lease);
        self.failed_with = None;
        self.staleness.check_out();
        self.begin = Opened::Apart;
        self.before_begin = 0;
        self.ran = false;
    }

    /// The login and what the client library sets are over: from now on the session has a baseline.
    pub(crate) fn begin(&mut self) {
        self.ready = true;
        self.leftover = Leftover::default();
    }

    /// Whether it has a baseline.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// It was reset, and of the prepared statements these are gone, or all.
    pub(crate) fn settle(&mut self, dropped: &[Box<str>], all: bool) {
        self.leftover = Leftover::default();
        self.calls_unknown = None;
        self.ran = false;
        self.prepared.retain(|name, _| !all && !dropped.contains(name));
    }

    pub(super) fn check(&mut self, frames: &Frames) {
        self.broken |= frames.is_broken();
    }

    pub(super) fn changed_role(&mut self) -> Option<Role> {
        self.parameters.take_new_role()
    }

    /// The link is gone: nothing that is under way will be answered.
    pub(super) fn end(&mut self) -> Vec<Finished> {
        let mut cut_off: Vec<Finished> = self.requests.drain(..).collect();
        cut_off.iter_mut().for_each(|request| request.failed = true);
        cut_off
    }

    pub(super) fn client_said(&mut self, frame: Frame<'_>) {
        self.largest = self.largest.max(frame.len / usize::try_from(frame.count).unwrap_or(1).max(1));
        match frame.tag {
            b'Q' => {
                let statement = Statement::new(leading_text(frame.body), frame.is_cut(), &self.known);
                // After the lease this is the pool's own, and what comes behind it.
                self.caller.take_if(|_| self.lease.is_none() && statement.text.is_empty());
                let mut request = self.take_building();
                request.does(Kind::Run);
                self.runs += 1;
                (request.is_simple, request.at_work) = (true, true);
                self.runs(&statement);
                request.statement = Some(statement);
                self.requests.push_back(request);
            }
            b'P' => {
                let Some((name, rest)) = text(frame.body) else { return self.lose_track() };
                let statement = Statement::prepared(leading_text(rest), frame.is_cut(), &self.known);
                self.staleness.parsed(rest);
                self.prepares += 1;
                let request = self.building();
                request.does(Kind::Prepare);
                request.statement = Some(Arc::clone(&statement));
                request.names.push(name.into());
                self.prepared.insert(name.into(), statement);
            }
            b'B' => {
                let names = text(frame.body).and_then(|(_, rest)| text(rest));
                let binds = names.filter(|_| self.hash_binds).map(|(_, values)| binds::hashes(values));
                let bound = names.and_then(|(name, _)| self.prepared.get(name));
                if bound.map(Arc::as_ptr) != self.bound.as_ref().map(Arc::as_ptr) {
                    self.bound = bound.cloned();
                }
                let request = self.building();
                request.does(Kind::Prepare);
                request.binds = binds;
            }
            b'E' => {
                self.runs += 1;
                let bound = self.bound.clone();
                match &bound {
                    Some(statement) => self.runs(statement),
                    None => self.leftover.add(Leftover::ANYTHING),
                }
                let request = self.building();
                request.does(Kind::Run);
                request.statement = bound.or_else(|| request.statement.take());
            }
            b'C' => {
                if let [b'S', name @ ..] = frame.body
                    && let Some((name, _)) = text(name)
                {
                    self.prepared.remove(name);
                }
            }
            // While data is copied in, the server ignores the Sync that came with the statement: this one is
            // answered.
            b'S' if std::mem::take(&mut self.ends_copy) => self.building = None,
            b'S' => {
                let request = self.take_building();
                self.requests.push_back(request);
            }
            b'c' | b'f' => self.ends_copy = self.requests.front().is_some_and(|request| !request.is_simple),
            b'F' => {
                let mut request = self.take_building();
                request.does(Kind::Run);
                self.runs += 1;
                self.leftover.add(Leftover::ANYTHING);
                self.requests.push_back(request);
            }
            _ => {}
        }
    }

    /// Reads a message of the server; the request that it ends.
    pub(super) fn server_said(&mut self, frame: Frame<'_>) -> Option<Finished> {
        self.largest = self.largest.max(frame.len / usize::try_from(frame.count).unwrap_or(1).max(1));
        match frame.tag {
            b'D' | b'd' => {
                if let Some(request) = self.requests.front_mut() {
                    request.rows += frame.count;
                    request.bytes += frame.len as u64;
                    request.first_row = request.first_row.or(self.heard);
                    request.copied += if frame.tag == b'd' { frame.count } else { 0 };
                }
            }
            b'E' => self.failed(ServerError::read(frame.body)),
            b'2' => self.is_at_work(true),
            b'C' => {
                self.commits += u64::from(frame.body == COMMITTED);
                self.requests.iter_mut().take(1).for_each(|request| request.completed(frame.body));
                self.requests.front_mut().into_iter().for_each(|request| request.copied_out(frame.body));
                self.is_at_work(false);
            }
            b'I' | b's' => self.is_at_work(false),
            // It goes before the answer to COMMIT, which says nothing of it.
            b'N' => self.waits_given_up += u64::from(ServerError::read(frame.body).gives_up_standby()),
            b'S' => {
                if let Some((name, rest)) = text(frame.body)
                    && let Some((value, _)) = text(rest)
                {
                    self.reported(name, value);
                }
            }
            b'K' => {
                if let Some((pid, rest)) = frame.body.split_first_chunk()
                    && let Some((secret, _)) = rest.split_first_chunk()
                {
                    let (pid, secret) = (i32::from_be_bytes(*pid), i32::from_be_bytes(*secret));
                    self.key = Some(BackendKey { pid, secret });
                }
            }
            b'Z' => return self.ready_for_query(frame.body),
            _ => {}
        }
        None
    }

    /// Whether the server runs a statement of the request that is answered next: it was bound, and has not
    /// ended.
    fn is_at_work(&mut self, at_work: bool) {
        if let Some(request) = self.requests.front_mut()
            && !request.is_simple
        {
            request.at_work = at_work;
        }
    }

    fn ready_for_query(&mut self, body: &[u8]) -> Option<Finished> {
        let before = self.status;
        let is_old = self.was_before_begin() && self.begin == Opened::Begun;
        self.status = match body {
            _ if is_old => before,
            b"I" => TransactionStatus::Idle,
            b"T" => TransactionStatus::Open,
            b"E" => TransactionStatus::Failed,
            _ => {
                self.lose_track();
                return None;
            }
        };
        let Some(request) = self.requests.pop_front() else {
            // The end of the login; at any other time an answer to nothing.
            self.broken |= self.logged_in;
            self.logged_in = true;
            return None;
        };
        match self.status {
            // Begun, or rolled back to a savepoint: an error that was dealt with is no evidence any more.
            TransactionStatus::Open if before != TransactionStatus::Open => self.failed_with = None,
            TransactionStatus::Failed => self.failed_with = self.failed_with.or(request.code),
            _ => {}
        }
        if request.kind == Kind::Run && !request.failed && before != TransactionStatus::Failed {
            self.staleness.succeeded();
        }
        if request.failed {
            for name in &request.names {
                self.prepared.remove(name);
            }
        }
        Some(request)
    }

    fn failed(&mut self, error: ServerError<'_>) {
        // One of its statements could not be prepared, and will not come.
        self.send_apart();
        if error.is_fatal {
            self.last_words = self.last_words.or(error.code);
        }
        let at_work = self.requests.front().is_none_or(|request| request.at_work);
        let Some(code) = error.code else { return self.fails(None) };
        error.fields.note(code);
        if self.status == TransactionStatus::Open {
            self.failed_with.get_or_insert(code);
        }
        // An error that only follows from the one before says nothing new.
        if code != SqlState::IN_FAILED_SQL_TRANSACTION {
            self.staleness.succeeded();
            let statement = self.requests.front().and_then(|request| request.statement.as_ref());
            self.leftover.prepared |= !at_work && self.staleness.failed(&error, statement);
        }
        self.fails(Some(code));
    }

    /// The request that is answered next has failed.
    fn fails(&mut self, code: Option<SqlState>) {
        if let Some(request) = self.requests.front_mut() {
            request.failed = true;
            request.code = request.code.or(code);
        }
    }

    fn reported(&mut self, name: &str, value: &str) {
        if name == "server_version" {
            self.known.version = Version::reported(value).unwrap_or_default();
        }
        if !self.parameters.reported(name, value, self.ready) {
            self.lose_track();
        }
    }

    fn runs(&mut self, statement: &Arc<Statement>) {
        self.leftover.add(statement.leftover);
        if statement.unknown.is_some() && self.calls_unknown.is_none() {
            self.calls_unknown = Some(Arc::clone(statement));
        }
        self.ran = true;
        if self.last.as_ref().is_none_or(|last| !Arc::ptr_eq(last, statement)) {
            self.last = Some(Arc::clone(statement));
        }
    }

    fn building(&mut self) -> &mut Request {
        let (caller, since) = (&self.caller, &mut self.writing_since);
        self.building.get_or_insert_with(|| Request::new(caller.clone(), since.take()))
    }

    fn take_building(&mut self) -> Request {
        let since = self.writing_since.take();
        self.building.take().unwrap_or_else(|| Request::new(self.caller.clone(), since))
    }

    /// A message could not be read: whoever asks must not rely on anything here.
    fn lose_track(&mut self) {
        self.broken = true;
    }
}

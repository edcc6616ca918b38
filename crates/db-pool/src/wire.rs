//! What the bytes of one connection have shown: exact error codes, the transaction's state, what is
//! unanswered.
//!
//! The [`Tap`] feeds it from the connection's own task; the pool asks it when a connection comes back. The
//! server's word counts, not the client library's: a `BEGIN` sent as text opens a transaction here too. What
//! it cannot see is a request that the client library has queued and not yet written: whoever must know sends
//! one of their own behind it.

mod binds;
mod buffered;
mod calls;
mod catalog;
mod fingerprint;
mod frames;
mod labelled;
mod labels;
mod leftover;
mod link;
mod notice;
mod opener;
mod parameters;
mod request;
mod server_error;
mod session;
mod spans;
mod splitter;
mod staleness;
mod tap;
#[cfg(test)]
mod tests;
mod tokens;
mod unnamed;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use db_core::{Endpoint, Facts, LinkEvent, Opened, Opening, QueryEvent};
use tokio::sync::Notify;

pub(crate) use calls::Known;
pub(crate) use fingerprint::fingerprint;
pub(crate) use leftover::Leftover;
pub(crate) use link::{HandOver, Link};
use notice::Notice;
use request::Finished;
pub(crate) use request::Foreign;
pub(crate) use server_error::Stale;
pub(crate) use session::{BackendKey, Lease, Session};
pub(crate) use staleness::Staleness;
pub(crate) use tap::Tap;

use crate::observers::Observers;
use frames::Frames;

/// What is known of one connection from its bytes.
pub(crate) struct Wire {
    endpoint: Endpoint,
    observers: Observers,
    session: Mutex<Session>,
    settled: Notify,
    lost: AtomicBool,
    /// Whether a transaction's BEGIN is to go out with the next request.
    opens: AtomicBool,
    /// Whether the bytes are read at all.
    tapped: bool,
    /// Whether statements may carry a label for the server's log.
    labelled: bool,
}

impl Wire {
    pub(crate) fn new(endpoint: Endpoint, observers: Observers, tapped: bool) -> Arc<Self> {
        let mut session = Session::default();
        session.hash_binds = observers.want_binds();
        let labelled = tapped && observers.want_trace_links();
        Arc::new(Wire {
            endpoint,
            observers,
            session: Mutex::new(session),
            settled: Notify::new(),
            lost: AtomicBool::new(false),
            opens: AtomicBool::new(false),
            tapped,
            labelled,
        })
    }

    pub(crate) fn is_tapped(&self) -> bool {
        self.tapped
    }

    pub(crate) fn is_labelled(&self) -> bool {
        self.labelled
    }

    /// What is known of the connection.
    pub(crate) fn facts(&self) -> Facts {
        let session = self.session();
        if self.tapped { session.facts() } else { Facts { server: session.server, ..Facts::UNKNOWN } }
    }

    /// Has BEGIN go out with the next request; false where that cannot be: the bytes pass, or another layer
    /// writes to a BEGIN what this one would keep from it.
    pub(crate) fn begin_with(&self, opening: &Opening) -> bool {
        let mut session = self.session();
        if !self.tapped || self.labelled || !session.may_begin() || self.is_lost() {
            return false;
        }
        session.open_with(opening.clone());
        self.opens.store(true, Ordering::Release);
        true
    }

    /// Whether BEGIN is to go out with the next request.
    pub(crate) fn has_opening(&self) -> bool {
        self.opens.load(Ordering::Acquire)
    }

    /// All that was queued has been written: what has not begun by now never does.
    pub(crate) fn forget_opening(&self) {
        let mut session = self.session();
        drop(session.send_opening());
        session.set_opened(Opened::Apart);
        self.opens.store(false, Ordering::Release);
    }

    pub(crate) fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the link is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Waits until every request that was written has been answered, or the link is gone.
    pub(crate) async fn settled(&self) {
        loop {
            let mut settled = std::pin::pin!(self.settled.notified());
            settled.as_mut().enable();
            if self.is_lost() || self.session().is_settled_or_awaited() {
                return;
            }
            settled.await;
        }
    }

    /// The link has ended; `in_order` where we ended it.
    pub(crate) fn ended(&self, in_order: bool) {
        self.lost.store(true, Ordering::Release);
        let (finished, now) = (self.session().end(), Instant::now());
        finished.iter().for_each(|request| self.report(request, now));
        if !in_order {
            self.observers.tell(|observer| observer.on_link(&LinkEvent::Lost { endpoint: &self.endpoint }));
        }
        self.settled.notify_waiters();
    }

    fn sent(&self, frames: &mut Frames, bytes: &[u8]) {
        let spans = self.observers.want_spans();
        let mut session = self.session();
        if !frames.is_partway() {
            session.writing_since = None;
        }
        frames.feed(bytes, session::wanted_of_client, |frame| session.client_said(frame));
        // A long one is written in pieces, and its time begins with the first.
        if frames.is_partway() {
            session.writing_since.get_or_insert_with(Instant::now);
        }
        session.partway = frames.is_partway();
        session.check(frames);
        drop(session);
        if spans {
            self.open_spans();
        }
    }

    fn received(&self, frames: &mut Frames, bytes: &[u8]) {
        let now = Instant::now();
        let mut session = self.session();
        session.heard(now);
        // Seldom more than one: the others alone need room that is allocated.
        let (mut finished, mut more) = (None, Vec::new());
        let mut notices: Vec<Notice> = Vec::new();
        let wanted = !self.observers.is_empty() && session.is_ready();
        frames.feed(bytes, session::wanted_of_server, |frame| {
            if frame.tag == b'N' && wanted {
                notices.extend(Notice::read(frame.body));
            }
            let Some(request) = session.server_said(frame) else { return };
            match &finished {
                None => finished = Some(request),
                Some(_) => more.push(request),
            }
        });
        session.check(frames);
        let (role, awaited) = (session.changed_role(), session.ends_a_wait());
        if !session.is_ready() {
            // What the pool and the client library ask at opening is no statement of the service's.
            (finished, more) = (None, Vec::new());
        }
        drop(session);
        for Notice { severity, message } in &notices {
            self.observers.tell(|observer| observer.on_notice(&self.endpoint, severity, message));
        }
        finished.iter().chain(&more).for_each(|request| self.report(request, now));
        if let Some(role) = role {
            self.observers.tell(|observer| {
                observer.on_link(&LinkEvent::RoleChanged { endpoint: &self.endpoint, role })
            });
        }
        if awaited {
            self.settled.notify_waiters();
        }
    }

    /// Reads the key for cancels, and nothing else; whether login is over.
    fn greeted(&self, frames: &mut Frames, bytes: &[u8]) -> bool {
        let (mut session, mut over) = (self.session(), false);
        let wanted = |tag| if tag == b'K' { session::wanted_of_server(tag) } else { 0 };
        frames.feed(bytes, wanted, |frame| match frame.tag {
            b'K' => drop(session.server_said(frame)),
            b'Z' => over = true,
            _ => {}
        });
        over
    }

    fn report(&self, request: &Finished, now: Instant) {
        let elapsed = now.duration_since(request.sent);
        request.count(elapsed, now);
        if self.observers.is_empty() || !request.is_query() {
            return;
        }
        let mut event = QueryEvent::new(&self.endpoint, request.text(), request.sent, elapsed);
        event.caller = request.caller.as_deref();
        event.first_row = request.first_row.map(|at| at.duration_since(request.sent));
        event.rows = Some(request.rows);
        event.written = request.written;
        event.bytes = Some(request.bytes);
        event.failed = request.failed;
        event.sqlstate = request.code;
        event.cancelled = request.is_cancelled();
        event.binds = request.binds;
        event.span = request.span.as_ref();
        self.observers.tell(|observer| observer.on_query(&event));
    }
}

//! The bytes of a stream on which a transaction begins: cut into messages on the way to the [`Opener`], and
//! joined behind it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::Wire;
use super::super::buffered::{Incoming, Outgoing};
use super::super::frames::{Frames, message};
use super::super::splitter::Splitter;
use super::{Opener, Stage};

/// So many bytes of a client may wait for the answer to its BEGIN; it writes more when they have gone.
pub(super) const MOST_HELD: usize = 256 * 1024;

/// What is on its way in both directions.
#[derive(Default)]
pub(super) struct Buffers {
    pub(super) out: Outgoing,
    pub(super) come: Incoming,
    from_server: Splitter,
    /// Whether something was written that is not flushed, besides what the client writes and flushes.
    is_unflushed: bool,
    /// Whether the server's next byte is the first of a message.
    is_aligned: bool,
    /// Whether that message, of which a part has come, is a ReadyForQuery: it ends one of the requests that
    /// are not answered.
    is_ready_under_way: bool,
}

impl Buffers {
    /// Looks from here on at what comes; how many ReadyForQuery will come before the next request's, of so
    /// many requests.
    pub(super) fn awaited(&mut self, unanswered: usize) -> usize {
        self.is_aligned = false;
        unanswered.saturating_sub(usize::from(self.is_ready_under_way))
    }

    pub(super) fn are_empty(&self) -> bool {
        self.out.bytes.is_empty() && self.come.is_empty() && !self.is_unflushed
    }
}

impl Opener {
    /// Takes what the client writes; `client` and `server` know where their messages begin.
    pub(in crate::wire) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        wire: &Wire,
        (client, server): (&Frames, &Frames),
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.stream.out.poll_into(stream, cx))?;
        if self.is_full() {
            // The server's next answer wakes it: the same task reads. It must have got what it is to answer.
            return match Pin::new(stream).poll_flush(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            };
        }
        if !self.is_active() {
            let before = client.remainder(bytes);
            if before == bytes.len() {
                return Pin::new(stream).poll_write(cx, bytes);
            }
            self.stream.out.bytes.extend_from_slice(&bytes[..before]);
        } else if wire.has_opening() && !self.stream.come.is_empty() {
            // How many answers are yet to come is known once these are read.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let waiting = requests_in(&self.held);
        let mut session = wire.session();
        let before = self.stream.out.bytes.len();
        self.stream.is_ready_under_way = server.under_way() == Some(b'Z');
        let ahead = session.requests.len().saturating_sub(waiting);
        self.client_said(&mut session, &bytes[before..], ahead);
        if !session.is_opening() {
            wire.opens.store(false, Ordering::Release);
        }
        drop(session);
        self.wake_reader(cx);
        self.stream.out.poll_taken(stream, cx, bytes.len())
    }

    /// Reads what the client is to get.
    pub(in crate::wire) fn poll_read<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        wire: &Wire,
        server: &Frames,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.stream.come.hand(buf) {
            // What could not be written or flushed is when the stream takes more: that wakes this task.
            if let Poll::Ready(Err(error)) = self.poll_out(stream, cx) {
                return Poll::Ready(Err(error));
            }
            if !self.is_active() {
                return Pin::new(stream).poll_read(cx, buf);
            }
            let mut came = Vec::new();
            if !ready!(self.stream.come.poll_more(stream, cx, |bytes, _| came.extend_from_slice(bytes)))? {
                break;
            }
            self.take_in(wire, server, &came, cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what of a batch is held, where it will not be whole: whoever waits for it gets its answer.
    pub(in crate::wire) fn poll_let_go<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        wire: &Wire,
        server: &Frames,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut session = wire.session();
        if self.batch_is_off(&session) && self.stream.come.is_empty() {
            self.stream.is_ready_under_way = server.under_way() == Some(b'Z');
            let ahead = session.requests.len().saturating_sub(requests_in(&self.held));
            self.go_on(&mut session, ahead, false);
            wire.opens.store(session.is_opening(), Ordering::Release);
            drop(session);
            return self.poll_out(stream, cx);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is on its way to the server, and flushes it where the client will not.
    pub(in crate::wire) fn poll_out<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.is_unflushed |= !self.stream.out.bytes.is_empty();
        ready!(self.stream.out.poll_into(stream, cx))?;
        if self.stream.is_unflushed {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.stream.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn take_in(&mut self, wire: &Wire, server: &Frames, mut bytes: &[u8], cx: &mut Context<'_>) {
        if !self.stream.is_aligned {
            let (before, rest) = bytes.split_at(server.remainder(bytes));
            self.stream.come.unread().extend_from_slice(before);
            // Where nothing follows, the message may go on.
            self.stream.is_aligned = !rest.is_empty();
            bytes = rest;
        }
        if !matches!(self.stage, Stage::Sent { .. } | Stage::AsOne(_)) {
            return self.stream.come.unread().extend_from_slice(bytes);
        }
        let (was_held, mut session) = (self.held.len(), wire.session());
        let mut splitter = std::mem::take(&mut self.stream.from_server);
        let mut passing = Vec::new();
        splitter.feed(
            bytes,
            &mut passing,
            |tag| tag != b'd',
            |tag, body, passing| {
                self.stream.come.unread().append(passing);
                self.server_said(&mut session, tag, body);
            },
        );
        self.stream.come.unread().append(&mut passing);
        if matches!(self.stage, Stage::Sent { .. } | Stage::AsOne(_)) {
            self.stream.from_server = splitter;
        } else {
            // The rest of a message that has begun passes as it is.
            splitter.give_up(self.stream.come.unread());
        }
        drop(session);
        if self.held.len() != was_held {
            // What was held goes out now, and there is room for more.
            cx.waker().wake_by_ref();
        }
    }

    /// An answer of our own is there to be read.
    fn wake_reader(&self, cx: &Context<'_>) {
        if !self.stream.come.is_empty() {
            cx.waker().wake_by_ref();
        }
    }
}

/// How many requests end in these messages.
pub(super) fn requests_in(mut messages: &[u8]) -> usize {
    let mut count = 0;
    while let Some((tag, _, after)) = message(messages) {
        count += usize::from(matches!(tag, b'S' | b'Q' | b'F'));
        messages = after;
    }
    count
}

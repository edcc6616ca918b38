//! The stream below the tap: the server's, on which sampled statements carry their caller's label and their
//! answers do not.
//!
//! What has no label passes as it is, and of what comes only the lengths of messages are looked at.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Wire;
use super::buffered::{Incoming, Outgoing};
use super::labels::Labels;

/// The longest answer that may be to a label.
const LONGEST: usize = 1_024;

/// The stream of a server.
pub(super) enum Below<S> {
    AsItIs(S),
    Labelled(Box<Labelled<S>>),
}

/// A stream on which statements carry labels.
pub(super) struct Labelled<S> {
    inner: S,
    wire: Arc<Wire>,
    labels: Labels,
    cut: Cut,
    out: Outgoing,
    come: Incoming,
}

impl<S> Below<S> {
    pub(super) fn new(inner: S, wire: &Arc<Wire>) -> Self {
        if !wire.is_labelled() {
            return Below::AsItIs(inner);
        }
        Below::Labelled(Box::new(Labelled {
            inner,
            wire: Arc::clone(wire),
            labels: Labels::default(),
            cut: Cut::default(),
            out: Outgoing::default(),
            come: Incoming::default(),
        }))
    }
}

impl<S: AsyncWrite + Unpin> Labelled<S> {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.out.poll_into(&mut self.inner, cx))?;
        let wire = Arc::clone(&self.wire);
        let session = wire.session();
        // What came and was not read is not known of there.
        let standing = session.to_label().filter(|_| self.come.is_empty());
        let Some(standing) = standing else {
            drop(session);
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        };
        let Labelled { labels, out, .. } = self;
        labels.client_said(&standing, |name| session.text_of(name), bytes, &mut out.bytes);
        drop(session);
        self.out.poll_taken(&mut self.inner, cx, bytes.len())
    }
}

impl<S: AsyncRead + Unpin> Labelled<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Labelled { inner, labels, cut, come, .. } = self;
        while !come.hand(buf) {
            if !labels.is_waiting() && !cut.holds_back() {
                let before = buf.filled().len();
                ready!(Pin::new(inner).poll_read(cx, buf))?;
                cut.pass(buf.filled().get(before..).unwrap_or_default());
                return Poll::Ready(Ok(()));
            }
            if !ready!(come.poll_more(inner, cx, |came, come| cut.feed(came, labels, come)))? {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Below<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Below::AsItIs(stream) => Pin::new(stream).poll_read(cx, buf),
            Below::Labelled(stream) => stream.poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Below<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Below::AsItIs(stream) => Pin::new(stream).poll_write(cx, buf),
            Below::Labelled(stream) => stream.poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Below::AsItIs(stream) => Pin::new(stream).poll_flush(cx),
            Below::Labelled(stream) => {
                ready!(stream.out.poll_into(&mut stream.inner, cx))?;
                Pin::new(&mut stream.inner).poll_flush(cx)
            }
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Below::AsItIs(stream) => Pin::new(stream).poll_shutdown(cx),
            Below::Labelled(stream) => {
                ready!(stream.out.poll_into(&mut stream.inner, cx))?;
                Pin::new(&mut stream.inner).poll_shutdown(cx)
            }
        }
    }
}

/// Where the server's messages begin and end, whatever the pieces in which they arrive.
#[derive(Default)]
struct Cut {
    tag: u8,
    /// Of the message that has begun, what came and does not pass by itself: its header, and all of an
    /// answer.
    held: Vec<u8>,
    /// Whether what is held was passed on all the same.
    passed: bool,
    /// So much of the message is yet to come, and passes.
    missing: usize,
    /// What came is no PostgreSQL: it is passed on.
    broken: bool,
}

impl Cut {
    fn holds_back(&self) -> bool {
        !self.held.is_empty() && !self.passed
    }

    /// Bytes pass as they are.
    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.broken {
            let passing = self.missing.min(bytes.len());
            self.missing -= passing;
            bytes = &bytes[passing..];
            let header = (5 - self.held.len()).min(bytes.len());
            if self.missing > 0 || header == 0 {
                return;
            }
            self.held.extend_from_slice(&bytes[..header]);
            bytes = &bytes[header..];
            self.passed = true;
            if self.held.len() == 5 {
                self.begins_to_pass();
            }
        }
    }

    /// Writes what of these bytes the client gets.
    fn feed(&mut self, mut bytes: &[u8], labels: &mut Labels, out: &mut Vec<u8>) {
        while !bytes.is_empty() {
            if self.broken {
                return out.extend_from_slice(bytes);
            }
            if self.missing > 0 {
                let (now, rest) = bytes.split_at(self.missing.min(bytes.len()));
                out.extend_from_slice(now);
                self.missing -= now.len();
                bytes = rest;
                if self.missing == 0 {
                    labels.passed(self.tag);
                }
                continue;
            }
            let whole = self.length().map_or(5, |length| length.saturating_add(1));
            let (now, rest) = bytes.split_at(whole.saturating_sub(self.held.len()).min(bytes.len()));
            self.held.extend_from_slice(now);
            bytes = rest;
            if self.passed {
                out.extend_from_slice(now);
            }
            let Some(length) = self.length() else { continue };
            let tag = self.held[0];
            if self.passed || !(4..LONGEST).contains(&length) || !labels.is_of_interest(tag) {
                if !self.passed {
                    out.extend_from_slice(&self.held);
                }
                self.begins_to_pass();
                if self.missing == 0 && !self.broken {
                    labels.passed(tag);
                }
            } else if self.held.len() > length {
                if labels.is_for_client(tag, &self.held[5..]) {
                    out.extend_from_slice(&self.held);
                }
                self.held.clear();
            }
        }
    }

    /// The header is whole: the rest of the message passes.
    fn begins_to_pass(&mut self) {
        let length = self.length().and_then(|length| length.checked_sub(4));
        self.broken = length.is_none();
        (self.tag, self.missing) =
            (self.held.first().copied().unwrap_or_default(), length.unwrap_or_default());
        self.held.clear();
        self.passed = false;
    }

    /// The length that the header says, once it is there.
    fn length(&self) -> Option<usize> {
        Some(u32::from_be_bytes(*self.held.get(1..5)?.first_chunk()?) as usize)
    }
}

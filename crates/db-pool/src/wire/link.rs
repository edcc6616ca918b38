//! The stream that the client library writes to: the tap, and before it, where statements may have no names, what takes
//! these away.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::Tap;
use super::buffered::{Incoming, Outgoing, empty};
use super::unnamed::Unnamed;

/// The stream that the client library writes to.
pub(crate) enum Link<S> {
    AsItIs(Tap<S>),
    Rewritten(Box<Rewritten<Tap<S>>>),
}

/// A stream on which statements have no names.
pub(crate) struct Rewritten<S> {
    inner: S,
    unnamed: Unnamed,
    from_client: Splitter,
    from_server: Splitter,
    out: Outgoing,
    come: Incoming,
}

impl<S> Link<S> {
    pub(crate) fn new(tap: Tap<S>, named: bool) -> Self {
        if named {
            return Link::AsItIs(tap);
        }
        Link::Rewritten(Box::new(Rewritten {
            inner: tap,
            unnamed: Unnamed::default(),
            from_client: Splitter { typed: false, ..Splitter::default() },
            from_server: Splitter::default(),
            out: Outgoing::default(),
            come: Incoming::default(),
        }))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewritten<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Rewritten { inner, unnamed, from_server, come, .. } = this;
        while !come.hand(buf) {
            let more = come.poll_more(inner, cx, |came, come| {
                let of_interest = Unnamed::is_of_interest_to_server;
                from_server.feed(came, come, of_interest, |tag, body, out| {
                    unnamed.server_said(tag, body, out);
                });
            });
            if !ready!(more)? {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewritten<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.out.poll_into(&mut this.inner, cx))?;
        let (unnamed, of_interest) = (&mut this.unnamed, Unnamed::is_of_interest_to_client);
        this.from_client.feed(buf, &mut this.out.bytes, of_interest, |tag, body, out| {
            unnamed.client_said(tag, body, out);
        });
        this.out.poll_taken(&mut this.inner, cx, buf.len())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.out.poll_into(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.out.poll_into(&mut this.inner, cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Link<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::AsItIs(stream) => Pin::new(stream).poll_read(cx, buf),
            Link::Rewritten(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Link::AsItIs(stream) => Pin::new(stream).poll_write(cx, buf),
            Link::Rewritten(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::AsItIs(stream) => Pin::new(stream).poll_flush(cx),
            Link::Rewritten(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Link::AsItIs(stream) => Pin::new(stream).poll_shutdown(cx),
            Link::Rewritten(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Link<S> {
    fn channel_binding(&self) -> ChannelBinding {
        match self {
            Link::AsItIs(tap) => tap.channel_binding(),
            Link::Rewritten(stream) => stream.inner.channel_binding(),
        }
    }
}

/// Hands a stream that is already open, and encrypted where it is to be, to tokio-postgres as if it had opened it.
///
/// tokio-postgres takes the channel binding of a stream only where it believes to have encrypted it.
pub(crate) struct HandOver;

impl<S: AsyncRead + AsyncWrite + Unpin> TlsConnect<Link<S>> for HandOver {
    type Stream = Link<S>;
    type Error = io::Error;
    type Future = Ready<io::Result<Link<S>>>;

    fn connect(self, stream: Link<S>) -> Self::Future {
        ready(Ok(stream))
    }
}

/// Cuts one direction into messages: those of interest as a whole, the others as they come.
struct Splitter {
    /// Whether the next message has a type byte; a client's first has none.
    typed: bool,
    /// Of a message that is cut in two: its header, and of one of interest its body.
    partial: Vec<u8>,
    /// So much of a message without interest is yet to come.
    passing: usize,
    /// What came is no PostgreSQL: it is passed on.
    broken: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Splitter { typed: true, partial: Vec::new(), passing: 0, broken: false }
    }
}

impl Splitter {
    fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        of_interest: impl Fn(u8) -> bool,
        mut each: impl FnMut(u8, &[u8], &mut Vec<u8>),
    ) {
        while !bytes.is_empty() {
            if self.broken {
                return out.extend_from_slice(bytes);
            }
            if self.passing > 0 {
                let (now, rest) = bytes.split_at(self.passing.min(bytes.len()));
                out.extend_from_slice(now);
                self.passing -= now.len();
                bytes = rest;
                continue;
            }
            let header = if self.typed { 5 } else { 4 };
            let wanted = match self.length(header) {
                None => header,
                Some(length) => header - 4 + length,
            };
            let (now, rest) = bytes.split_at((wanted - self.partial.len()).min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = rest;
            let Some(length) = self.length(header) else { continue };
            let tag = if self.typed { self.partial[0] } else { 0 };
            let whole = header - 4 + length;
            if length < 4 {
                self.broken = true;
                out.append(&mut self.partial);
            } else if !self.typed || !of_interest(tag) {
                self.passing = whole - self.partial.len();
                out.append(&mut self.partial);
                self.typed = true;
            } else if self.partial.len() == whole {
                each(tag, &self.partial[header..], out);
                empty(&mut self.partial);
            }
        }
    }

    /// The length that the header says, once it is there.
    fn length(&self, header: usize) -> Option<usize> {
        let length = self.partial.get(header - 4..header)?.first_chunk()?;
        Some(u32::from_be_bytes(*length) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_are_nothing_is_lost_and_what_is_of_interest_comes_whole(
            bodies in prop::collection::vec((prop::sample::select(&b"PQd"[..]), prop::collection::vec(any::<u8>(), 0..30)), 0..10),
            sizes in prop::collection::vec(1_usize..12, 1..40),
        ) {
            let startup = [&9_u32.to_be_bytes()[..], b"hello"].concat();
            let bytes: Vec<u8> = startup.iter().copied()
                .chain(bodies.iter().flat_map(|(tag, body)| message(*tag, body))).collect();
            let mut splitter = Splitter { typed: false, ..Splitter::default() };
            let (mut out, mut seen) = (Vec::new(), Vec::new());
            let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                splitter.feed(piece, &mut out, |tag| tag != b'd', |tag, body, out| {
                    seen.push((tag, body.to_vec()));
                    out.extend_from_slice(&message(tag, body));
                });
                rest = after;
            }
            prop_assert_eq!(out, bytes);
            prop_assert_eq!(seen, bodies.into_iter().filter(|(tag, _)| *tag != b'd').collect::<Vec<_>>());
        }

        #[test]
        fn nothing_makes_it_panic_or_wait(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut out = Vec::new();
            Splitter::default().feed(&bytes, &mut out, |_| false, |_, _, _| {});
            prop_assert!(out.len() + 4 >= bytes.len());
        }
    }
}

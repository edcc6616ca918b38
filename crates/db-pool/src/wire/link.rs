//! The stream that the client library writes to: the tap, and before it, where statements may have no names,
//! what takes these away.

use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};

use super::Tap;
use super::buffered::{Incoming, Outgoing};
use super::splitter::Splitter;
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
            from_client: Splitter::of_client(),
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

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Link<S> {
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

/// Hands a stream that is already open, and encrypted where it is to be, to tokio-postgres as if it had
/// opened it.
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

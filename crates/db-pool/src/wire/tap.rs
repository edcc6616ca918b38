//! A stream that passes every byte through unchanged and shows it to a [`Wire`] as it goes by.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

use super::Wire;
use super::frames::Frames;
use super::labelled::Below;
use super::opener::Opener;

/// A stream under a connection, and the eyes on it.
pub(crate) struct Tap<S> {
    inner: Below<S>,
    wire: Arc<Wire>,
    client: Frames,
    server: Frames,
    channel_binding: Option<Vec<u8>>,
    /// What begins transactions, once there was one.
    opener: Option<Box<Opener>>,
    /// Whether login is over, where nothing is read beyond it.
    greeted: bool,
}

impl<S> Tap<S> {
    /// `channel_binding` is `tls-server-end-point` (RFC 5929) of the encrypted stream that `inner` is.
    pub(crate) fn new(inner: S, wire: Arc<Wire>, channel_binding: Option<Vec<u8>>) -> Self {
        Tap {
            inner: Below::new(inner, &wire),
            wire,
            client: Frames::of_client(),
            server: Frames::of_server(),
            channel_binding,
            opener: None,
            greeted: false,
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        match this.opener.as_mut().filter(|opener| opener.is_active()) {
            None => ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?,
            Some(opener) => ready!(opener.poll_read(&mut this.inner, &this.wire, &this.server, cx, buf))?,
        }
        let came = buf.filled().get(before..).unwrap_or_default();
        if this.wire.is_tapped() {
            this.wire.received(&mut this.server, came);
            if let Some(opener) = this.opener.as_mut().filter(|_| this.wire.has_opening()) {
                // What cannot be written now is by the next write.
                if let Poll::Ready(Err(error)) =
                    opener.poll_let_go(&mut this.inner, &this.wire, &this.server, cx)
                {
                    return Poll::Ready(Err(error));
                }
            }
        } else if !this.greeted {
            this.greeted = this.wire.greeted(&mut this.server, came);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let is_active = this.opener.as_ref().is_some_and(|opener| opener.is_active());
        let written = if is_active || this.wire.has_opening() {
            let opener = this.opener.get_or_insert_default();
            ready!(opener.poll_write(&mut this.inner, &this.wire, (&this.client, &this.server), cx, buf))?
        } else {
            ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?
        };
        if this.wire.is_tapped() {
            this.wire.sent(&mut this.client, buf.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(opener) = &mut this.opener {
            ready!(opener.poll_out(&mut this.inner, cx))?;
        }
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(opener) = &mut this.opener {
            ready!(opener.poll_out(&mut this.inner, cx))?;
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Tap<S> {
    fn channel_binding(&self) -> ChannelBinding {
        match &self.channel_binding {
            Some(hash) => ChannelBinding::tls_server_end_point(hash.clone()),
            None => ChannelBinding::none(),
        }
    }
}

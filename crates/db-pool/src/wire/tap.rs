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

/// A stream under a connection, and the eyes on it.
pub(crate) struct Tap<S> {
    inner: Below<S>,
    wire: Arc<Wire>,
    client: Frames,
    server: Frames,
    channel_binding: Option<Vec<u8>>,
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
            greeted: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let came = buf.filled().get(before..).unwrap_or_default();
        if this.wire.is_tapped() {
            this.wire.received(&mut this.server, came);
        } else if !this.greeted {
            this.greeted = this.wire.greeted(&mut this.server, came);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, buf))?;
        if this.wire.is_tapped() {
            this.wire.sent(&mut this.client, buf.get(..written).unwrap_or_default());
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
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

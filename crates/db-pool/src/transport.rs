//! A byte stream to a server: TCP, encrypted or not, or a Unix socket.

pub(crate) mod dial;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
#[cfg(feature = "tls")]
use tokio_rustls::client::TlsStream;

/// A byte stream to a server.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
}

impl Transport {
    /// What ties a login to this very encrypted stream: the hash of the server's certificate
    /// (`tls-server-end-point`).
    ///
    /// `None` on a stream that is not encrypted, and for a certificate whose signature has no hash of its
    /// own.
    pub(crate) fn channel_binding(&self) -> Option<Vec<u8>> {
        match self {
            Transport::Tcp(_) | Transport::Unix(_) => None,
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => {
                let certificate = stream.get_ref().1.peer_certificates()?.first()?;
                crate::tls::binding::server_end_point(certificate)
            }
        }
    }
}

/// Does the same with the stream, whichever it is.
macro_rules! each {
    ($transport:expr, $stream:ident => $do:expr) => {
        match $transport {
            Transport::Tcp($stream) => $do,
            Transport::Unix($stream) => $do,
            #[cfg(feature = "tls")]
            Transport::Tls($stream) => $do,
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }
}

//! What a stream that is rewritten keeps of each direction: what is yet to be written, and what is yet to be
//! read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So much is read at once, and kept of a buffer that was larger.
const BUFFER: usize = 16 * 1024;

/// What is to be written, and how much of it is.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    /// Writes what is to be written.
    pub(super) fn poll_into<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.written += written,
            }
        }
        self.written = 0;
        empty(&mut self.bytes);
        Poll::Ready(Ok(()))
    }

    /// The bytes of a write, of so many, are taken. What cannot be written now is by the flush that follows,
    /// or by the next write.
    pub(super) fn poll_taken<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        taken: usize,
    ) -> Poll<io::Result<usize>> {
        match self.poll_into(stream, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }
}

/// What the client has not read, and how much of it it has.
pub(super) struct Incoming {
    bytes: Vec<u8>,
    read: usize,
    scratch: Box<[u8]>,
}

impl Default for Incoming {
    fn default() -> Self {
        Incoming { bytes: Vec::new(), read: 0, scratch: vec![0; BUFFER].into() }
    }
}

impl Incoming {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where what the client is to get is added.
    pub(super) fn unread(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Hands the client what it has not read; false where there is nothing.
    pub(super) fn hand(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            return false;
        }
        let now = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..now]);
        self.read += now;
        if self.read == self.bytes.len() {
            self.read = 0;
            empty(&mut self.bytes);
        }
        true
    }

    /// Reads more, of which `take` adds what the client gets; false at the end of the stream.
    pub(super) fn poll_more<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        cx: &mut Context<'_>,
        take: impl FnOnce(&[u8], &mut Vec<u8>),
    ) -> Poll<io::Result<bool>> {
        let mut came = ReadBuf::new(&mut self.scratch);
        ready!(Pin::new(stream).poll_read(cx, &mut came))?;
        if came.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        take(came.filled(), &mut self.bytes);
        Poll::Ready(Ok(true))
    }
}

/// Leaves a buffer without what was in it, and no larger than needed as a rule.
pub(super) fn empty(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(BUFFER);
}

//! Buffers of one chunk that are used again, so that memory does not depend on how an allocator keeps what is
//! freed.
//!
//! An allocator keeps what threads free for these threads, and so may hold several times what is in use at
//! once. How many buffers there are is bounded by who takes them: a writer, a reader and a verification have
//! a fixed number of chunks under way. A new buffer has room for the largest chunk, packed or not; what is
//! not written is not in memory.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::chunk::CHUNK_BYTES;

/// A packed chunk that did not shrink, with its codec, length and tag.
const BUFFER_BYTES: usize = CHUNK_BYTES + CHUNK_BYTES / 256 + 64;

/// An object of a segment of 16 MiB that did not shrink.
const OBJECT_BYTES: usize = (16 << 20) + (128 << 10);

/// The buffers that nobody uses now.
#[derive(Debug)]
pub(crate) struct Buffers {
    idle: Mutex<Vec<Vec<u8>>>,
    room_bytes: usize,
}

/// What is used again from one file of the log to the next. Larger buffers are apart, or all would grow to be
/// as large.
#[derive(Debug)]
pub(crate) struct LogBuffers {
    pub(crate) objects: Buffers,
    pub(crate) chunks: Buffers,
}

/// A buffer whose bytes are read by whoever wants them; then it goes back.
struct Shared {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl Buffers {
    /// An empty one.
    pub(crate) fn take(&self) -> Vec<u8> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| Vec::with_capacity(self.room_bytes))
    }

    pub(crate) fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }

    /// The bytes of a buffer, which comes back when the last of them is dropped.
    pub(crate) fn share(self: &Arc<Self>, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Shared { bytes, home: Arc::clone(self) })
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Buffers { idle: Mutex::default(), room_bytes: BUFFER_BYTES }
    }
}

impl Default for LogBuffers {
    fn default() -> Self {
        let objects = Buffers { idle: Mutex::default(), room_bytes: OBJECT_BYTES };
        LogBuffers { objects, chunks: Buffers::default() }
    }
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.bytes.deref()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_the_last_of_its_bytes() {
        let buffers = Arc::new(Buffers::default());
        let mut buffer = buffers.take();
        buffer.extend_from_slice(b"page");
        let place = buffer.as_ptr();
        let bytes = buffers.share(buffer);
        let part = bytes.slice(1..3);
        drop(bytes);
        assert_eq!(&part[..], b"ag");
        assert!(buffers.idle.lock().unwrap().is_empty());
        drop(part);
        let again = buffers.take();
        assert!(again.is_empty() && again.as_ptr() == place);
    }
}

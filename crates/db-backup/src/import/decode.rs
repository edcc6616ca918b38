//! Bytes as pgBackRest stores them, and the plain ones: decrypted, unpacked, and held against their SHA-1.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, Sender};

use super::cipher::{Decrypted, Passphrase};
use super::codec::Codec;
use crate::chunk::hex;

/// How many plain bytes go on at a time.
const PIECE_BYTES: usize = 1 << 20;

/// How a file is stored.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) passphrase: Option<Passphrase>,
    pub(super) codec: Codec,
    /// Whether headers are left out, as in bundles and blocks.
    pub(super) raw: bool,
}

/// A SHA-1 that is being made.
pub(super) struct Sha1(Context);

impl Sha1 {
    pub(super) fn new() -> Self {
        Sha1(Context::new(&SHA1_FOR_LEGACY_USE_ONLY))
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hexadecimal digits.
    pub(super) fn finish(self) -> String {
        hex(self.0.finish().as_ref())
    }
}

impl Form {
    fn plain<'a>(&self, stored: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
        match &self.passphrase {
            Some(passphrase) => {
                self.codec.plain(Decrypted::new(stored, passphrase.clone(), self.raw), self.raw)
            }
            None => self.codec.plain(stored, self.raw),
        }
    }

    /// All plain bytes, of which there are at most so many.
    pub(super) fn whole(&self, stored: &[u8], most: u64) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        self.plain(stored)?.take(most.saturating_add(1)).read_to_end(&mut plain)?;
        if plain.len() as u64 > most {
            return Err(too_long());
        }
        Ok(plain)
    }

    /// Passes the plain bytes on piece by piece; their number and SHA-1. It blocks.
    pub(super) fn pieces(
        &self,
        stored: Arriving,
        most: u64,
        to: &Sender<Vec<u8>>,
    ) -> io::Result<(u64, String)> {
        let mut plain = self.plain(stored)?.take(most.saturating_add(1));
        let (mut bytes, mut sha1) = (0, Sha1::new());
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            let read = plain.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
            if read == 0 {
                return Ok((bytes, sha1.finish()));
            }
            bytes += read as u64;
            if bytes > most {
                return Err(too_long());
            }
            sha1.add(&piece);
            // Nobody wants them any more: the other end has failed, and tells why.
            if to.blocking_send(piece).is_err() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }
}

/// Stored bytes as they arrive. Reading blocks until some are there.
pub(super) struct Arriving {
    from: Receiver<Bytes>,
    now: Bytes,
}

impl Arriving {
    pub(super) fn new(from: Receiver<Bytes>) -> Self {
        Arriving { from, now: Bytes::new() }
    }
}

impl Read for Arriving {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.from.blocking_recv() {
                Some(more) => self.now = more,
                None => return Ok(0),
            }
        }
        let many = to.len().min(self.now.len());
        self.now.copy_to_slice(&mut to[..many]);
        Ok(many)
    }
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than it should")
}

//! Sealed objects: a header, frames, and a last frame that names the others. docs/backup-format.md describes
//! each byte.
//!
//! Each object has a key of its own, derived from a data key and a random salt, so that a frame's number can
//! be its nonce. The associated data binds repository, path, number and whether the frame is the last: a
//! frame cannot be moved within an object, nor between objects, and an object cannot be cut off.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::{BackupError, Result};
use crate::keys::{KeyId, KeyRing, Protection};

/// The version of the container that this program writes.
pub(crate) const CONTAINER_FORMAT: u32 = 1;
/// How many bytes a header has.
pub(crate) const HEADER_BYTES: usize = 64;
/// How many bytes a frame has in front of its sealed ones: their number.
pub(crate) const LENGTH_BYTES: usize = 4;
/// How many bytes a tag has.
pub(crate) const TAG_BYTES: usize = 16;
/// How many bytes lie behind the last frame: where that begins.
pub(crate) const FOOTER_BYTES: usize = 8;
const MAGIC: &[u8; 8] = b"dbbackup";
const OBJECT_KEY: &str = "db-backup 2026-11-28 object key";
const MAC_KEY: &str = "db-backup 2026-11-28 mac key";

/// Seals or opens the frames of one object.
pub(crate) struct Sealer {
    cipher: Cipher,
    /// Repository and path, in front of a frame's own associated data.
    bound: Vec<u8>,
}

enum Cipher {
    Aead(Box<LessSafeKey>),
    Mac(Zeroizing<[u8; 32]>),
}

/// Which frame of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameNumber {
    pub(crate) number: u32,
    pub(crate) last: bool,
}

impl Sealer {
    /// For a new object at this path; its header comes along.
    pub(crate) fn create(ring: &KeyRing, path: &str) -> Result<(Self, [u8; HEADER_BYTES])> {
        let (id, key) = ring.current().ok_or(BackupError::WrongKey)?;
        let salt: [u8; 32] = random()?;
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(MAGIC);
        header[8..12].copy_from_slice(&CONTAINER_FORMAT.to_le_bytes());
        header[12] = u8::from(ring.protection == Protection::Encrypted);
        header[16..20].copy_from_slice(&id.0.to_le_bytes());
        header[32..].copy_from_slice(&salt);
        Ok((Sealer::new(ring, key, &header, path)?, header))
    }

    /// For an object that was read from this path.
    pub(crate) fn open(ring: &KeyRing, path: &str, header: &[u8]) -> Result<Self> {
        let header: &[u8; HEADER_BYTES] = header
            .get(..HEADER_BYTES)
            .and_then(|header| header.try_into().ok())
            .filter(|header: &&[u8; HEADER_BYTES]| header.starts_with(MAGIC))
            .ok_or_else(|| {
                BackupError::damaged(path, "it does not begin as an object of a repository does")
            })?;
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if number(8) > CONTAINER_FORMAT {
            return Err(BackupError::TooNew {
                path: path.to_owned(),
                found: number(8),
                known: CONTAINER_FORMAT,
            });
        }
        // A header that says "not encrypted" in an encrypted repository was planted.
        if (header[12] == 1) != (ring.protection == Protection::Encrypted) {
            return Err(BackupError::damaged(path, "it is not protected as the repository is"));
        }
        let key = ring.get(KeyId(number(16))).ok_or_else(|| {
            BackupError::damaged(path, "it names a data key that the repository does not have")
        })?;
        Sealer::new(ring, key, header, path)
    }

    fn new(ring: &KeyRing, data_key: &[u8; 32], header: &[u8; HEADER_BYTES], path: &str) -> Result<Self> {
        let mut material = Zeroizing::new([0; 32 + HEADER_BYTES]);
        material[..32].copy_from_slice(data_key);
        material[32..].copy_from_slice(header);
        let cipher = match ring.protection {
            Protection::Encrypted => {
                let key = Zeroizing::new(blake3::derive_key(OBJECT_KEY, &*material));
                let key = UnboundKey::new(&AES_256_GCM, &*key)
                    .map_err(|_| BackupError::Misuse("AES-256-GCM refuses a key of 32 bytes"))?;
                Cipher::Aead(Box::new(LessSafeKey::new(key)))
            }
            Protection::Authenticated => Cipher::Mac(Zeroizing::new(blake3::derive_key(MAC_KEY, &*material))),
        };
        let mut bound = ring.repository.to_vec();
        bound.extend_from_slice(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes());
        bound.extend_from_slice(path.as_bytes());
        Ok(Sealer { cipher, bound })
    }

    /// Seals a frame in place and appends its tag.
    pub(crate) fn seal(&self, frame: FrameNumber, bytes: &mut Vec<u8>) -> Result<()> {
        let bound = self.bound_to(frame);
        match &self.cipher {
            Cipher::Aead(key) => key
                .seal_in_place_append_tag(nonce(frame), Aad::from(&bound), bytes)
                .map_err(|_| BackupError::Misuse("a frame is too large to be sealed")),
            Cipher::Mac(key) => {
                let tag = mac(key, &bound, bytes);
                bytes.extend_from_slice(&tag);
                Ok(())
            }
        }
    }

    /// Opens a frame in place and returns its plain bytes; `None` where it is not what was sealed at this
    /// place.
    pub(crate) fn open_frame<'a>(&self, frame: FrameNumber, sealed: &'a mut [u8]) -> Option<&'a [u8]> {
        let bound = self.bound_to(frame);
        match &self.cipher {
            Cipher::Aead(key) => {
                key.open_in_place(nonce(frame), Aad::from(&bound), sealed).ok().map(|plain| &*plain)
            }
            Cipher::Mac(key) => {
                let (plain, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
                let expected = mac(key, &bound, plain);
                aws_lc_rs::constant_time::verify_slices_are_equal(&expected, tag).ok().map(|()| plain)
            }
        }
    }

    fn bound_to(&self, frame: FrameNumber) -> Vec<u8> {
        let mut bound = Vec::with_capacity(self.bound.len() + 5);
        bound.extend_from_slice(&self.bound);
        bound.extend_from_slice(&frame.number.to_le_bytes());
        bound.push(u8::from(frame.last));
        bound
    }
}

/// A frame's number, which no other frame under the object's key has.
fn nonce(frame: FrameNumber) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&frame.number.to_le_bytes());
    nonce[4] = u8::from(frame.last);
    Nonce::assume_unique_for_key(nonce)
}

fn mac(key: &[u8; 32], bound: &[u8], bytes: &[u8]) -> [u8; TAG_BYTES] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&(bound.len() as u64).to_le_bytes()).update(bound).update(bytes);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&hasher.finalize().as_bytes()[..TAG_BYTES]);
    tag
}

/// Random bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| BackupError::Misuse("the operating system gives no random bytes"))?;
    Ok(bytes)
}

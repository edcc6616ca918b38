//! Reads what pgBackRest encrypted: AES-256 in CBC mode, as `openssl enc -aes-256-cbc -md sha1` writes it.
//!
//! In front are `Salted__` and 8 bytes of salt, or the salt alone in the raw form that bundles have. Key and
//! initialization vector are three rounds of SHA-1 over the passphrase and the salt, each over the round
//! before too (EVP_BytesToKey with a count of 1). Nothing is authenticated: the checksums of the manifest
//! have to do.

use std::fmt;
use std::io::{self, Read};

use aws_lc_rs::cipher::{AES_256, DecryptionContext, StreamingDecryptingKey, UnboundCipherKey};
use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::iv::FixedLength;
use zeroize::Zeroizing;

const MAGIC: &[u8; 8] = b"Salted__";
const SALT_BYTES: usize = 8;
const KEY_BYTES: usize = 32;
const BLOCK_BYTES: usize = 16;
/// How many bytes are decrypted at a time.
const PIECE_BYTES: usize = 64 << 10;

/// A passphrase of pgBackRest's. It does not show.
///
/// ```
/// use db_backup::import::Passphrase;
///
/// assert_eq!(format!("{:?}", Passphrase::new("hunter2")), "Passphrase");
/// ```
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// This text.
    pub fn new(text: impl Into<String>) -> Self {
        Passphrase(Zeroizing::new(text.into()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Whether bytes begin as an encrypted file does.
pub(super) fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// The plain bytes of an encrypted stream.
pub(super) struct Decrypted<R> {
    from: R,
    passphrase: Passphrase,
    raw: bool,
    key: Option<StreamingDecryptingKey>,
    sealed: Vec<u8>,
    plain: Vec<u8>,
    /// How far `plain` was given out, and how far it is filled.
    given: usize,
    filled: usize,
    ended: bool,
}

impl<R: Read> Decrypted<R> {
    pub(super) fn new(from: R, passphrase: Passphrase, raw: bool) -> Self {
        Decrypted {
            from,
            passphrase,
            raw,
            key: None,
            sealed: vec![0; PIECE_BYTES],
            plain: vec![0; PIECE_BYTES + BLOCK_BYTES],
            given: 0,
            filled: 0,
            ended: false,
        }
    }

    fn begin(&mut self) -> io::Result<StreamingDecryptingKey> {
        let mut salt = [0; SALT_BYTES];
        if !self.raw {
            self.from.read_exact(&mut salt)?;
            if salt != *MAGIC {
                return Err(damaged("it does not begin as an encrypted file does"));
            }
        }
        self.from.read_exact(&mut salt)?;
        key(&self.passphrase, &salt)
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut key = match self.key.take() {
            Some(key) => key,
            None => self.begin()?,
        };
        let read = read_full(&mut self.from, &mut self.sealed)?;
        self.given = 0;
        if read == 0 {
            self.ended = true;
            let last = key
                .finish(&mut self.plain)
                .map_err(|_| damaged("its encryption does not end as it should"))?;
            self.filled = last.written().len();
            return Ok(());
        }
        let piece = key.update(&self.sealed[..read], &mut self.plain);
        self.filled = piece.map_err(|_| damaged("it cannot be decrypted"))?.written().len();
        self.key = Some(key);
        Ok(())
    }
}

impl<R: Read> Read for Decrypted<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.given == self.filled {
            if self.ended {
                return Ok(0);
            }
            self.fill()?;
        }
        let many = to.len().min(self.filled - self.given);
        to[..many].copy_from_slice(&self.plain[self.given..self.given + many]);
        self.given += many;
        Ok(many)
    }
}

fn key(passphrase: &Passphrase, salt: &[u8; SALT_BYTES]) -> io::Result<StreamingDecryptingKey> {
    let mut material = Zeroizing::new(Vec::with_capacity(3 * 20));
    while material.len() < KEY_BYTES + BLOCK_BYTES {
        let before = material.len().saturating_sub(20);
        let mut round = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        round.update(&material[before..]);
        round.update(passphrase.0.as_bytes());
        round.update(salt);
        material.extend_from_slice(round.finish().as_ref());
    }
    let (key, rest) = material.split_at(KEY_BYTES);
    let vector =
        FixedLength::try_from(&rest[..BLOCK_BYTES]).map_err(|_| damaged("it cannot be decrypted"))?;
    UnboundCipherKey::new(&AES_256, key)
        .and_then(|key| StreamingDecryptingKey::cbc_pkcs7(key, DecryptionContext::Iv128(vector)))
        .map_err(|_| damaged("it cannot be decrypted"))
}

/// As many bytes as there is room for, or as there are.
fn read_full(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < to.len() {
        match from.read(&mut to[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'what openssl wrote\n' | openssl enc -aes-256-cbc -md sha1 -S 0102030405060708 -pass pass:swordfish`,
    /// with its header.
    const SEALED: &str =
        "53616c7465645f5f01020304050607080a694fbb8d6fb61fd40093c298d564df4564dcc2a9d1f3e8f74d2c646484b42e";

    fn sealed() -> Vec<u8> {
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        SEALED.as_bytes().chunks(2).map(pair).collect()
    }

    fn opened(sealed: &[u8], passphrase: &str, raw: bool) -> io::Result<String> {
        let mut plain = Vec::new();
        Decrypted::new(sealed, Passphrase::new(passphrase), raw).read_to_end(&mut plain)?;
        Ok(String::from_utf8_lossy(&plain).into_owned())
    }

    #[test]
    fn what_openssl_encrypts_is_read() {
        let sealed = sealed();
        assert!(is_encrypted(&sealed));
        assert_eq!(opened(&sealed, "swordfish", false).unwrap(), "what openssl wrote\n");
        assert_eq!(opened(&sealed[8..], "swordfish", true).unwrap(), "what openssl wrote\n");
    }

    #[test]
    fn another_passphrase_and_a_cut_stream_are_noticed() {
        let sealed = sealed();
        assert_ne!(opened(&sealed, "sword", false).ok().as_deref(), Some("what openssl wrote\n"));
        assert!(opened(&sealed[..20], "swordfish", false).is_err());
        assert!(opened(&sealed[..10], "swordfish", false).is_err());
        assert!(opened(&sealed[8..], "swordfish", false).is_err(), "no header");
    }
}

//! The keys of a repository: what people hold, what the repository holds, and what wraps what.
//!
//! A repository has random **data keys**. Each is stored wrapped by one or more **key-encryption keys**: an
//! age recipient (X25519) or a passphrase (scrypt). Changing who may open a repository wraps the data key
//! anew and touches no backup.

use std::fmt;
use std::io::{Read, Write};
use std::str::FromStr;

use age::secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::chunk::{hex, unhex};
use crate::error::{BackupError, Result};

/// The work of scrypt for a passphrase, as the logarithm of its N: 32 MiB of memory and about 0.1 s.
///
/// `wal push` opens the repository for each segment, so more would slow archiving down; a generated key needs
/// no work at all, which is why `init` offers one.
const SCRYPT_LOG_N: u8 = 15;
/// The most work that a stored header may ask for, so that a planted one cannot stall a restore.
const SCRYPT_MOST_LOG_N: u8 = 20;
const WRAP_MAC: &str = "db-backup 2026-11-28 wrapped data key";
/// A shorter passphrase can be guessed.
const SHORTEST_PASSPHRASE: usize = 12;

/// What opens a repository: a generated key, or a passphrase. Nothing of it shows.
///
/// ```
/// use db_backup::Keys;
///
/// let key = Keys::generate();
/// let again = Keys::from_text(&key.secret_text())?;
/// assert_eq!(again.recipient(), key.recipient());
/// assert!(Keys::from_text("secret").is_err(), "too short for a passphrase");
/// # Ok::<(), db_backup::BackupError>(())
/// ```
#[derive(Clone)]
pub struct Keys(Secret);

#[derive(Clone)]
enum Secret {
    Identity(age::x25519::Identity),
    Passphrase(SecretString),
}

/// The key that `init` prints once: it opens the repository when the other one is lost. Keep it elsewhere, on
/// paper.
///
/// ```
/// use db_backup::{Keys, RecoveryKey};
///
/// fn print(key: &RecoveryKey) -> Result<Keys, db_backup::BackupError> {
///     Keys::from_text(&key.secret_text())
/// }
/// ```
pub struct RecoveryKey(pub(crate) Keys);

/// What a host needs that only adds to a repository: its data key and its name. It reads nothing, so
/// credentials that may only put suffice.
///
/// ```
/// use db_backup::WriterKey;
///
/// fn of_setting(text: &str) -> Result<WriterKey, db_backup::BackupError> {
///     text.parse()
/// }
/// assert!(of_setting("dbw1-00").is_err());
/// ```
#[derive(Clone)]
pub struct WriterKey {
    pub(crate) ring: KeyRing,
}

/// The name of a data key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyId(pub(crate) u32);

/// How the frames of a repository's objects are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protection {
    /// AES-256-GCM: nobody without a key reads or changes anything.
    Encrypted,
    /// A MAC alone: everybody reads, and nobody without a key changes anything unnoticed.
    Authenticated,
}

/// The open data keys of a repository.
#[derive(Clone)]
pub(crate) struct KeyRing {
    pub(crate) repository: [u8; 16],
    pub(crate) protection: Protection,
    keys: Vec<(KeyId, Zeroizing<[u8; 32]>)>,
}

impl Keys {
    /// A new random key.
    pub fn generate() -> Self {
        Keys(Secret::Identity(age::x25519::Identity::generate()))
    }

    /// The key that a text says, as in the setting `BACKUP_ENCRYPTION_KEY`: one that begins with
    /// `AGE-SECRET-KEY-` is a generated key; everything else is a passphrase.
    ///
    /// # Errors
    /// The text is a mistyped key, or a passphrase of fewer than 12 characters.
    pub fn from_text(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
            let identity = age::x25519::Identity::from_str(text);
            return identity
                .map(|identity| Keys(Secret::Identity(identity)))
                .map_err(|_| BackupError::InvalidKey("the key is mistyped: its check digits do not match"));
        }
        if text.chars().count() < SHORTEST_PASSPHRASE {
            return Err(BackupError::InvalidKey(
                "a passphrase has at least 12 characters; better take a generated key",
            ));
        }
        Ok(Keys(Secret::Passphrase(SecretString::from(text.to_owned()))))
    }

    /// The key as a text that [`from_text`](Keys::from_text) reads. It is the secret itself.
    pub fn secret_text(&self) -> Zeroizing<String> {
        Zeroizing::new(match &self.0 {
            Secret::Identity(identity) => identity.to_string().expose_secret().to_owned(),
            Secret::Passphrase(passphrase) => passphrase.expose_secret().to_owned(),
        })
    }

    /// The public half of a generated key, as in `age1…`; none for a passphrase.
    pub fn recipient(&self) -> Option<String> {
        match &self.0 {
            Secret::Identity(identity) => Some(identity.to_public().to_string()),
            Secret::Passphrase(_) => None,
        }
    }

    /// The name under which what this key wraps is stored: it says nothing of a passphrase.
    pub(crate) fn name(&self) -> String {
        match self.recipient() {
            Some(recipient) => hex(&blake3::hash(recipient.as_bytes()).as_bytes()[..8]),
            None => "passphrase".to_owned(),
        }
    }

    /// The data key for this key to open, and behind it a MAC that only this key's holder can make: who knows
    /// a public half could otherwise plant a data key of his own.
    pub(crate) fn wrap(&self, id: KeyId, data_key: &[u8; 32]) -> Result<Vec<u8>> {
        let mut plain = Zeroizing::new(data_key.to_vec());
        plain.extend_from_slice(self.mac(id, data_key).as_bytes());
        match &self.0 {
            Secret::Identity(identity) => wrap(&identity.to_public(), &plain),
            Secret::Passphrase(passphrase) => {
                let mut recipient = age::scrypt::Recipient::new(passphrase.clone());
                recipient.set_work_factor(SCRYPT_LOG_N);
                wrap(&recipient, &plain)
            }
        }
    }

    /// The data key that was wrapped; `None` where this key does not open it, or did not wrap it.
    pub(crate) fn unwrap(&self, id: KeyId, wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let plain = match &self.0 {
            Secret::Identity(identity) => unwrap(identity, wrapped),
            Secret::Passphrase(passphrase) => {
                let mut identity = age::scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(SCRYPT_MOST_LOG_N);
                unwrap(&identity, wrapped)
            }
        }?;
        let (data_key, mac) = plain.split_first_chunk::<32>()?;
        let mac: [u8; 32] = mac.try_into().ok()?;
        (self.mac(id, data_key) == mac).then(|| Zeroizing::new(*data_key))
    }

    fn mac(&self, id: KeyId, data_key: &[u8; 32]) -> blake3::Hash {
        let key = Zeroizing::new(blake3::derive_key(WRAP_MAC, self.secret_text().as_bytes()));
        blake3::Hasher::new_keyed(&key).update(&id.0.to_le_bytes()).update(data_key).finalize()
    }
}

fn wrap(recipient: &dyn age::Recipient, plain: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: std::io::Error| BackupError::io("wrapping a data key", error);
    let encryptor = age::Encryptor::with_recipients(std::iter::once(recipient))
        .map_err(|error| failed(std::io::Error::other(error)))?;
    let mut wrapped = Vec::new();
    let mut writer = encryptor.wrap_output(&mut wrapped).map_err(failed)?;
    writer.write_all(plain).and_then(|()| writer.finish()).map_err(failed)?;
    Ok(wrapped)
}

fn unwrap(identity: &dyn age::Identity, wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let decryptor = age::Decryptor::new(wrapped).ok()?;
    let reader = decryptor.decrypt(std::iter::once(identity)).ok()?;
    let mut plain = Zeroizing::new(Vec::with_capacity(128));
    reader.take(128).read_to_end(&mut plain).ok()?;
    Some(plain)
}

impl RecoveryKey {
    /// The key as a text, to be printed once.
    pub fn secret_text(&self) -> Zeroizing<String> {
        self.0.secret_text()
    }

    /// The key.
    pub fn keys(&self) -> &Keys {
        &self.0
    }
}

impl KeyRing {
    pub(crate) fn new(
        repository: [u8; 16],
        protection: Protection,
        keys: Vec<(KeyId, Zeroizing<[u8; 32]>)>,
    ) -> Self {
        KeyRing { repository, protection, keys }
    }

    /// The key that new objects are sealed with: the newest.
    pub(crate) fn current(&self) -> Option<(KeyId, &[u8; 32])> {
        self.keys.iter().max_by_key(|(id, _)| *id).map(|(id, key)| (*id, &**key))
    }

    pub(crate) fn get(&self, id: KeyId) -> Option<&[u8; 32]> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, key)| &**key)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (KeyId, &[u8; 32])> {
        self.keys.iter().map(|(id, key)| (*id, &**key))
    }
}

impl WriterKey {
    /// The key as a text for the setting `BACKUP_WRITER_KEY`. It is a secret: it seals, and opens what it
    /// sealed.
    pub fn secret_text(&self) -> Zeroizing<String> {
        let (id, key) = self.ring.current().unwrap_or((KeyId(0), &[0; 32]));
        let protection = match self.ring.protection {
            Protection::Encrypted => 'e',
            Protection::Authenticated => 'a',
        };
        let body = format!("{protection}{:08x}{}{}", id.0, hex(&self.ring.repository), hex(key));
        Zeroizing::new(format!("dbw1-{body}{}", check_digits(&body)))
    }
}

impl FromStr for WriterKey {
    type Err = BackupError;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || BackupError::InvalidKey("no writer's key, or a mistyped one");
        let body = text.trim().strip_prefix("dbw1-").filter(|body| body.is_ascii()).ok_or_else(invalid)?;
        let (body, check) = body.split_at_checked(body.len().saturating_sub(8)).ok_or_else(invalid)?;
        if check_digits(body) != check || body.len() != 1 + 8 + 32 + 64 {
            return Err(invalid());
        }
        let protection = match &body[..1] {
            "e" => Protection::Encrypted,
            "a" => Protection::Authenticated,
            _ => return Err(invalid()),
        };
        let id = u32::from_str_radix(&body[1..9], 16).map(KeyId).map_err(|_| invalid())?;
        let repository = unhex(&body[9..41]).ok_or_else(invalid)?;
        let key = unhex(&body[41..]).map(Zeroizing::new).ok_or_else(invalid)?;
        Ok(WriterKey { ring: KeyRing::new(repository, protection, vec![(id, key)]) })
    }
}

fn check_digits(body: &str) -> String {
    hex(&blake3::hash(body.as_bytes()).as_bytes()[..4])
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Secret::Identity(_) => "Keys(generated)",
            Secret::Passphrase(_) => "Keys(passphrase)",
        })
    }
}

impl fmt::Debug for RecoveryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryKey")
    }
}

impl fmt::Debug for WriterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriterKey")
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

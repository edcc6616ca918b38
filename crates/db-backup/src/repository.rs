//! A repository: the store, its name, and the open data keys.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::chunk::{hex, unhex};
use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::inside::Inside;
use crate::keys::{KeyId, KeyRing, Keys, Protection, RecoveryKey, WriterKey};
use crate::seal::random;
use crate::store::{Put, Store};

/// The version of the layout that this program writes.
const REPOSITORY_FORMAT: u32 = 1;
const FORMAT: &str = "format.json";
const FORMAT_MAC: &str = "db-backup 2026-11-28 format";

/// A repository of backups, opened.
///
/// ```
/// use db_backup::{Keys, Protection, Repository, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let store = Store::local(directory.path())?;
/// let keys = Keys::generate();
/// let (_, recovery) = Repository::init(store.clone(), &keys, Protection::Encrypted).await?;
/// // Print recovery.secret_text() once, and keep it on paper.
///
/// let repository = Repository::open(store, &keys).await?;
/// assert!(repository.clusters().await?.is_empty());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Repository {
    pub(crate) inside: Arc<Inside>,
}

/// What `format.json` says. Nothing of it is secret, and its MAC keeps it from being changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Format {
    format: u32,
    repository: String,
    protection: String,
    created: DateTime<Utc>,
    program: String,
}

#[derive(Serialize, Deserialize)]
struct Authenticated {
    #[serde(flatten)]
    format: Format,
    key: u32,
    mac: String,
}

impl Repository {
    /// Makes a repository in an empty store, after finding out whether the store is fit for one.
    ///
    /// The recovery key is made here and printed by the caller, once: it is nowhere else. Before this
    /// returns, the repository was opened with both keys.
    ///
    /// # Errors
    /// There is a repository already, the store is unfit, or an operation of it failed.
    pub async fn init(store: Store, keys: &Keys, protection: Protection) -> Result<(Self, RecoveryKey)> {
        store.probe().await?;
        let exists = || BackupError::RepositoryExists { store: store.to_string() };
        if store.head(FORMAT).await?.is_some() {
            return Err(exists());
        }
        let recovery = RecoveryKey(Keys::generate());
        let data_key = Zeroizing::new(random::<32>()?);
        let id = KeyId(u32::from_le_bytes(random()?) >> 8);
        let ring = KeyRing::new(random()?, protection, vec![(id, data_key.clone())]);
        for key in [keys, recovery.keys()] {
            let path = wrapped_path(id, &key.name());
            store.put_if_absent(&path, Bytes::from(key.wrap(id, &data_key)?)).await?;
        }
        let format = Format {
            format: REPOSITORY_FORMAT,
            repository: hex(&ring.repository),
            protection: protection.as_str().to_owned(),
            created: Utc::now(),
            program: concat!("db-backup ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mac = format.mac(id, &data_key)?;
        let text = serde_json::to_vec_pretty(&Authenticated { format, key: id.0, mac })
            .map_err(|error| BackupError::io("writing format.json", error.into()))?;
        if store.put_if_absent(FORMAT, Bytes::from(text)).await? == Put::Exists {
            return Err(exists());
        }
        // What cannot be opened again must not be filled.
        Repository::open(store.clone(), recovery.keys()).await?;
        Ok((Repository::open(store, keys).await?, recovery))
    }

    /// Opens a repository: reads `format.json` and what wraps its data keys.
    ///
    /// # Errors
    /// There is none, the key is another one, what is there was changed, or an operation of the store failed.
    pub async fn open(store: Store, keys: &Keys) -> Result<Self> {
        // What was flipped on the way looks like another key, or like damage: it is read anew before it is
        // believed.
        for _ in 0..2 {
            match Repository::open_once(store.clone(), keys).await {
                Err(BackupError::WrongKey | BackupError::Damaged { .. } | BackupError::TooNew { .. }) => {}
                opened => return opened,
            }
        }
        Repository::open_once(store, keys).await
    }

    async fn open_once(store: Store, keys: &Keys) -> Result<Self> {
        let text = store.get(FORMAT).await?;
        let text = text.ok_or_else(|| BackupError::NoRepository { store: store.to_string() })?;
        let damaged = |what: &str| BackupError::damaged(FORMAT, what);
        let told: Authenticated =
            serde_json::from_slice(&text).map_err(|_| damaged("it is not what a repository begins with"))?;
        if told.format.format > REPOSITORY_FORMAT {
            let found = told.format.format;
            return Err(BackupError::TooNew { path: FORMAT.to_owned(), found, known: REPOSITORY_FORMAT });
        }
        let opened = open_keys(&store, keys).await?;
        let (id, key) =
            opened.iter().find(|(id, _)| id.0 == told.key).ok_or_else(|| damaged("it names another key"))?;
        if told.format.mac(*id, key)? != told.mac {
            return Err(damaged("it was changed"));
        }
        let repository = unhex(&told.format.repository).ok_or_else(|| damaged("it names no repository"))?;
        let protection =
            Protection::named(&told.format.protection).ok_or_else(|| damaged("its protection"))?;
        let ring = KeyRing::new(repository, protection, opened);
        Ok(Repository { inside: Arc::new(Inside { store, ring, writes_only: false }) })
    }

    /// Opens a repository to add to it only. Nothing is read, now or later, so credentials that may only put
    /// suffice.
    pub fn open_to_write(store: Store, key: &WriterKey) -> Self {
        Repository { inside: Arc::new(Inside { store, ring: key.ring.clone(), writes_only: true }) }
    }

    /// What a host needs that only adds.
    pub fn writer_key(&self) -> WriterKey {
        WriterKey { ring: self.inside.ring.clone() }
    }

    /// The backups and the write-ahead log of the cluster with this system identifier.
    pub fn cluster(&self, system_identifier: u64) -> Cluster {
        Cluster::new(Arc::clone(&self.inside), system_identifier)
    }

    /// The system identifiers of the clusters that have anything here.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn clusters(&self) -> Result<Vec<u64>> {
        let names = self.inside.store.directories("clusters").await?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// How its objects are protected.
    pub fn protection(&self) -> Protection {
        self.inside.ring.protection
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inside.store
    }

    /// Lets another key open the repository: its data keys are wrapped anew, and no backup is touched.
    ///
    /// # Errors
    /// The repository was opened to write only, or an operation of the store failed.
    pub async fn allow(&self, keys: &Keys) -> Result<()> {
        for (id, key) in self.inside.ring.all() {
            let wrapped = Bytes::from(keys.wrap(id, key)?);
            self.inside.store.put_if_absent(&wrapped_path(id, &keys.name()), wrapped).await?;
        }
        Ok(())
    }

    /// Opens with `keys` from now on, and no longer with `old`. Only what wraps the data keys is rewritten.
    ///
    /// The new wraps are opened before the old ones are removed. A passphrase takes the place of a passphrase
    /// at once, because both have one name.
    ///
    /// # Errors
    /// Those of [`allow`](Repository::allow).
    pub async fn rotate(&self, old: &Keys, keys: &Keys) -> Result<()> {
        let replaces = old.name() == keys.name();
        if replaces {
            // A name is taken only once, so the old wrap moves out of the way first; the recovery key still
            // opens.
            self.forget(&old.name()).await?;
        }
        self.allow(keys).await?;
        Repository::open(self.inside.store.clone(), keys).await?;
        if !replaces {
            self.forget(&old.name()).await?;
        }
        Ok(())
    }

    async fn forget(&self, name: &str) -> Result<()> {
        for (id, _) in self.inside.ring.all() {
            self.inside.store.delete(&wrapped_path(id, name)).await?;
        }
        Ok(())
    }
}

async fn open_keys(store: &Store, keys: &Keys) -> Result<Vec<(KeyId, Zeroizing<[u8; 32]>)>> {
    let name = format!("{}.age", keys.name());
    let mut opened = Vec::new();
    for object in store.list("keys").await? {
        let Some((id, _)) = object.path.strip_prefix("keys/").and_then(|path| path.split_once('/')) else {
            continue;
        };
        let Ok(id) = u32::from_str_radix(id, 16).map(KeyId) else { continue };
        if !object.path.ends_with(&name) {
            continue;
        }
        let wrapped = store.require(&object.path).await?;
        if let Some(key) = keys.unwrap(id, &wrapped) {
            opened.push((id, key));
        }
    }
    if opened.is_empty() { Err(BackupError::WrongKey) } else { Ok(opened) }
}

fn wrapped_path(id: KeyId, name: &str) -> String {
    format!("keys/{:08x}/{name}.age", id.0)
}

impl Format {
    fn mac(&self, id: KeyId, data_key: &[u8; 32]) -> Result<String> {
        let text =
            serde_json::to_vec(self).map_err(|error| BackupError::io("reading format.json", error.into()))?;
        let mut hasher = blake3::Hasher::new_keyed(&blake3::derive_key(FORMAT_MAC, data_key));
        hasher.update(&id.0.to_le_bytes()).update(&text);
        Ok(hasher.finalize().to_hex().to_string())
    }
}

impl Protection {
    fn as_str(self) -> &'static str {
        match self {
            Protection::Encrypted => "encrypted",
            Protection::Authenticated => "authenticated",
        }
    }

    fn named(text: &str) -> Option<Self> {
        [Protection::Encrypted, Protection::Authenticated].into_iter().find(|known| known.as_str() == text)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({})", self.inside.store)
    }
}

//! A place for objects: put if absent, get, list and delete, each with retries and a deadline.
//!
//! An object is written whole, by one request, and only where there is none. So there are no half uploads to
//! sweep, a put whose answer was lost can be sent again, and the object is either there or not.

mod attempt;
mod body;
mod fault;
mod open;
mod probe;
mod staged;

use std::fmt;
use std::ops::Range;
use std::path::Path as Directory;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

pub use self::probe::Unsuitability;

use self::fault::Fault;
use crate::error::{BackupError, Result};

/// How often an object is read before it is believed to be another one of the same length.
const READS_BEFORE_BELIEVED: usize = 3;

/// A place for objects, by their paths.
///
/// ```
/// use db_backup::Store;
///
/// # let directory = tempfile::tempdir()?;
/// let store = Store::local(directory.path())?;
/// assert!(store.to_string().starts_with("file://"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<dyn ObjectStore>,
    prefix: Path,
    name: Arc<str>,
    limits: Limits,
    /// How long its bucket locks what is written.
    object_lock: TimeDelta,
    /// Where it is, if it is a directory of this host.
    local: Option<Arc<Directory>>,
}

/// How long the store is asked.
///
/// ```
/// use std::time::Duration;
/// use db_backup::Limits;
///
/// let limits = Limits { deadline: Duration::from_secs(20), ..Limits::default() };
/// assert!(limits.attempt < limits.deadline * 10);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long one request may take, its body included.
    pub attempt: Duration,
    /// How long an operation may take with all its retries.
    pub deadline: Duration,
    /// The pause before the first retry; each further one is twice as long, up to a tenth of the deadline.
    pub pause: Duration,
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// The object is there now, with these bytes.
    Created,
    /// There was one already, with other bytes or with bytes that these credentials may not read.
    Exists,
}

/// What a list says of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Its path, without the store's prefix.
    pub path: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub written: DateTime<Utc>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attempt: Duration::from_secs(60),
            deadline: Duration::from_secs(300),
            pause: Duration::from_millis(100),
        }
    }
}

impl Store {
    /// Any store of `object_store`. `prefix` is the directory of the repository in it, and `name` is how
    /// messages call it.
    ///
    /// # Errors
    /// The prefix is no path.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: &str, name: impl Into<String>) -> Result<Self> {
        let prefix = Path::parse(prefix.trim_matches('/'))
            .map_err(|_| BackupError::Misuse("the prefix of the repository is no path"))?;
        Ok(Store {
            inner,
            prefix,
            name: name.into().into(),
            limits: Limits::default(),
            object_lock: TimeDelta::zero(),
            local: None,
        })
    }

    /// A directory of this host, which is made where there is none. What is written is on the disk before a
    /// put returns.
    ///
    /// # Errors
    /// The directory cannot be made or opened.
    pub fn local(directory: impl AsRef<Directory>) -> Result<Self> {
        open::local(directory.as_ref())
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same where the bucket locks each object for so long after it was written (its default retention).
    /// Expiry then keeps what is locked, instead of asking in vain.
    pub fn with_object_lock(mut self, lasts: TimeDelta) -> Self {
        self.object_lock = lasts;
        self
    }

    /// Until when the bucket locks an object that was written then; `None` where it locks none.
    pub fn locked_until(&self, written: DateTime<Utc>) -> Option<DateTime<Utc>> {
        (self.object_lock > TimeDelta::zero()).then(|| written + self.object_lock)
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Writes an object where there is none at this path.
    ///
    /// A put whose answer was lost is sent again, and is then refused because of itself. So what is there is
    /// read and compared, where the credentials allow it.
    ///
    /// # Errors
    /// The store refuses, has no room, or did not answer within the deadline.
    pub async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<Put> {
        let at = self.at(path);
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = || self.inner.put_opts(&at, PutPayload::from_bytes(bytes.clone()), options.clone());
        match self.attempt("write", path, put).await {
            Ok(_) => Ok(Put::Created),
            Err(Fault::Exists) => self.is_there_already(path, &bytes).await,
            Err(fault) => Err(fault.into_error(path)),
        }
    }

    /// Whether what is there is what was to be written. A bit that flips on the way must not make it
    /// another's.
    async fn is_there_already(&self, path: &str, bytes: &Bytes) -> Result<Put> {
        for _ in 0..READS_BEFORE_BELIEVED {
            match self.get(path).await {
                Ok(Some(there)) if there == bytes => return Ok(Put::Created),
                Ok(Some(there)) if there.len() == bytes.len() => {}
                Ok(_) | Err(BackupError::Denied { .. }) => return Ok(Put::Exists),
                Err(error) => return Err(error),
            }
        }
        Ok(Put::Exists)
    }

    /// The object's bytes; `None` where there is none.
    ///
    /// # Errors
    /// The store refuses, or did not answer within the deadline.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>> {
        Ok(self.get_in(path, Vec::new()).await?.map(Bytes::from))
    }

    /// The same in a buffer that is used again.
    pub(crate) async fn get_in(&self, path: &str, buffer: Vec<u8>) -> Result<Option<Vec<u8>>> {
        let at = self.at(path);
        // An attempt that is given up keeps the buffer: the next one makes its own.
        let buffer = Mutex::new(buffer);
        let take = || std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
        let get = || async { body::read(self.inner.get(&at).await?, take()).await };
        match self.attempt("read", path, get).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(path)),
        }
    }

    /// The object's bytes.
    ///
    /// # Errors
    /// [`BackupError::Missing`], and those of [`get`](Store::get).
    pub async fn require(&self, path: &str) -> Result<Bytes> {
        self.get(path).await?.ok_or_else(|| BackupError::missing(path))
    }

    /// A part of the object's bytes, as many as the range has.
    ///
    /// # Errors
    /// [`BackupError::Missing`], [`BackupError::Damaged`] where the object is too short, and those of
    /// [`get`](Store::get).
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.read_part(path, range, Vec::new()).await.map(|(bytes, _)| bytes.into())
    }

    /// The same in a buffer that is used again, and how many bytes the whole object has. The range must not
    /// be empty.
    pub(crate) async fn read_part(
        &self,
        path: &str,
        range: Range<u64>,
        buffer: Vec<u8>,
    ) -> Result<(Vec<u8>, u64)> {
        let at = self.at(path);
        // An attempt that is given up keeps the buffer: the next one makes its own.
        let buffer = Mutex::new(buffer);
        let take = || std::mem::take(&mut *buffer.lock().unwrap_or_else(PoisonError::into_inner));
        let get = || async {
            let options = GetOptions::new().with_range(Some(range.clone()));
            let read = match self.inner.get_opts(&at, options).await {
                Ok(found) if found.meta.size < range.end => return Ok(None),
                Ok(found) => {
                    let whole = found.meta.size;
                    body::read(found, take()).await.map(|bytes| (bytes, whole))
                }
                Err(error) => Err(error),
            };
            match read {
                Err(object_store::Error::Generic { store, source }) => {
                    // Stores say in different ways that an object is too short, so its size is looked at.
                    let meta = self.inner.head(&at).await?;
                    if meta.size < range.end {
                        return Ok(None);
                    }
                    Err(object_store::Error::Generic { store, source })
                }
                Ok((bytes, _)) if bytes.len() as u64 != range.end - range.start => Err(fault::cut_off()),
                other => other.map(Some),
            }
        };
        match self.attempt("read", path, get).await {
            Ok(Some(read)) => Ok(read),
            Ok(None) => Err(BackupError::damaged(path, "it is shorter than it was")),
            Err(fault) => Err(fault.into_error(path)),
        }
    }

    /// What a list would say of this object; `None` where there is none.
    ///
    /// # Errors
    /// The store refuses, or did not answer within the deadline.
    pub async fn head(&self, path: &str) -> Result<Option<Object>> {
        let at = self.at(path);
        match self.attempt("look at", path, || self.inner.head(&at)).await {
            Ok(meta) => {
                Ok(Some(Object { path: path.to_owned(), bytes: meta.size, written: meta.last_modified }))
            }
            Err(Fault::Missing) => Ok(None),
            Err(fault) => Err(fault.into_error(path)),
        }
    }

    /// The objects below a directory, by their paths in order.
    ///
    /// # Errors
    /// The store refuses, or did not answer within the deadline.
    pub async fn list(&self, directory: &str) -> Result<Vec<Object>> {
        let at = self.at(directory);
        let list = || self.inner.list(Some(&at)).try_collect::<Vec<_>>();
        let found = match self.attempt("list", directory, list).await {
            Ok(found) => found,
            Err(Fault::Missing) => Vec::new(),
            Err(fault) => return Err(fault.into_error(directory)),
        };
        let mut objects: Vec<Object> = found
            .into_iter()
            .filter_map(|meta| {
                let path = self.without_prefix(&meta.location)?;
                Some(Object { path, bytes: meta.size, written: meta.last_modified })
            })
            .collect();
        objects.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(objects)
    }

    /// The names of what lies directly below a directory and has something below itself.
    ///
    /// # Errors
    /// The store refuses, or did not answer within the deadline.
    pub async fn directories(&self, directory: &str) -> Result<Vec<String>> {
        let at = self.at(directory);
        let found = match self.attempt("list", directory, || self.inner.list_with_delimiter(Some(&at))).await
        {
            Ok(found) => found.common_prefixes,
            Err(Fault::Missing) => Vec::new(),
            Err(fault) => return Err(fault.into_error(directory)),
        };
        let mut names: Vec<String> =
            found.iter().filter_map(|path| path.filename().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object. That it is not there is no error: a delete whose answer was lost is sent again.
    ///
    /// # Errors
    /// The store refuses, or did not answer within the deadline.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let at = self.at(path);
        match self.attempt("delete", path, || self.inner.delete(&at)).await {
            Err(Fault::Missing) => Ok(()),
            deleted => deleted.map_err(|fault| fault.into_error(path)),
        }
    }

    /// Removes an object that is of no use any more and does no harm: one that the store keeps, it keeps.
    pub(crate) async fn discard(&self, path: &str) -> Result<()> {
        match self.delete(path).await {
            Err(BackupError::Retained { .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Removes the files of puts to a local store that ended before they were done, written before `limit`.
    /// No list shows them. How many there were.
    pub(crate) fn remove_staged_before(&self, limit: SystemTime) -> u64 {
        self.local.as_deref().map_or(0, |directory| staged::remove_before(directory, limit))
    }

    /// Removes a directory of backups that has nothing in it any more; only a local store has any.
    pub(crate) fn remove_empty_directory(&self, directory: &str) {
        let Some(local) = &self.local else { return };
        for below in [local.join(directory).join("packs"), local.join(directory)] {
            if let Err(error) = std::fs::remove_dir(&below) {
                tracing::debug!(directory = %below.display(), %error, "an empty directory stays");
            }
        }
    }

    fn at(&self, path: &str) -> Path {
        // A name that another program gave is taken as it is, where it can be.
        let path = Path::parse(path).unwrap_or_else(|_| Path::from(path));
        self.prefix.parts().chain(path.parts()).collect()
    }

    fn without_prefix(&self, location: &Path) -> Option<String> {
        let parts: Vec<_> = location.prefix_match(&self.prefix)?.collect();
        Some(parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("/"))
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.prefix.as_ref().is_empty() {
            return f.write_str(&self.name);
        }
        write!(f, "{}/{}", self.name, self.prefix)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({self})")
    }
}

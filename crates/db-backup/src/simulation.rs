//! A store with faults, for tests of what stands on one: errors before and after an effect, hangs, cut and
//! flipped answers, throttling, late lists, ignored conditions, credentials that may only put or that run
//! out.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store that does to a share of the operations what stores do on bad days.
///
/// ```
/// use std::sync::Arc;
/// use db_backup::simulation::{FaultStore, Faults};
/// use db_backup::Store;
/// use object_store::memory::InMemory;
///
/// let faulty = FaultStore::new(Arc::new(InMemory::new()), 1, Faults { before: 100, ..Faults::NONE });
/// let store = Store::new(Arc::new(faulty), "", "memory")?;
/// # Ok::<(), db_backup::BackupError>(())
/// ```
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    random: Arc<AtomicU64>,
    counts: Arc<Counts>,
}

/// How often each fault happens, in so many of a thousand operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// An error, and nothing was done.
    pub before: u16,
    /// An error, although it was done.
    pub after: u16,
    /// No answer, ever.
    pub hangs: u16,
    /// The answer is cut off.
    pub cut: u16,
    /// One bit of the answer is wrong.
    pub flips: u16,
    /// One bit of what is written is wrong.
    pub flips_written: u16,
    /// The list leaves out what was written last.
    pub late_lists: u16,
    /// The store is busy.
    pub throttles: u16,
    /// Whether a put writes over what is there although it was told not to.
    pub overwrites: bool,
    /// Whether a put looks first and writes then, so that several can win.
    pub races: bool,
    /// Whether only puts are allowed.
    pub put_only: bool,
    /// After so many operations the credentials have run out, as S3 says it; 0 for never.
    pub run_out_after: u64,
}

/// How often something was asked of a [`FaultStore`].
#[derive(Debug, Default)]
pub struct Counts {
    faults: AtomicU64,
    other_than_put: AtomicU64,
    all: AtomicU64,
}

impl Faults {
    /// A good day.
    pub const NONE: Faults = Faults {
        before: 0,
        after: 0,
        hangs: 0,
        cut: 0,
        flips: 0,
        flips_written: 0,
        late_lists: 0,
        throttles: 0,
        overwrites: false,
        races: false,
        put_only: false,
        run_out_after: 0,
    };
}

impl Counts {
    /// How many operations had a fault.
    pub fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    /// How many operations were asked for that are no puts.
    pub fn other_than_put(&self) -> u64 {
        self.other_than_put.load(Ordering::Relaxed)
    }
}

impl FaultStore {
    /// Puts faults in front of a store; the seed decides which operations have them.
    pub fn new(inner: Arc<dyn ObjectStore>, seed: u64, faults: Faults) -> Self {
        let random = Arc::new(AtomicU64::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        FaultStore { inner, faults, random, counts: Arc::default() }
    }

    /// What was asked of it.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// SplitMix64 by Steele, Lea and Flood.
    fn next(&self) -> u64 {
        let state = self.random.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn happens(&self, of_a_thousand: u16) -> bool {
        let happens = of_a_thousand > 0 && self.next() % 1_000 < u64::from(of_a_thousand);
        self.counts.faults.fetch_add(u64::from(happens), Ordering::Relaxed);
        happens
    }

    /// What happens before anything is done.
    async fn ahead(&self) -> Result<()> {
        if self.happens(self.faults.hangs) {
            std::future::pending::<()>().await;
        }
        if self.happens(self.faults.throttles) {
            return Err(failure("503 SlowDown"));
        }
        if self.happens(self.faults.before) {
            return Err(failure("the connection was lost before the request was sent"));
        }
        Ok(())
    }

    /// What happens after it was done.
    fn behind<T>(&self, done: T) -> Result<T> {
        if self.happens(self.faults.after) {
            return Err(failure("the connection was lost before the answer came"));
        }
        Ok(done)
    }

    /// Whether the credentials are still good.
    fn admitted(&self) -> Result<()> {
        let before = self.counts.all.fetch_add(1, Ordering::Relaxed);
        let (after, said) = (self.faults.run_out_after, "400 Bad Request: <Code>ExpiredToken</Code>");
        if after == 0 || before < after { Ok(()) } else { Err(failure(said)) }
    }

    fn may(&self, location: Option<&Path>) -> Result<()> {
        self.admitted()?;
        self.counts.other_than_put.fetch_add(1, Ordering::Relaxed);
        if !self.faults.put_only {
            return Ok(());
        }
        let path = location.map(ToString::to_string).unwrap_or_default();
        Err(Error::PermissionDenied { path, source: "these credentials may only put".into() })
    }

    fn flipped(&self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        let length = bytes.len().max(1) as u64;
        let at = usize::try_from(self.next() % length).unwrap_or(0);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << (self.next() % 8);
        }
        bytes.into()
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        self.admitted()?;
        self.ahead().await?;
        let mut bytes = Bytes::from(payload);
        if self.happens(self.faults.flips_written) {
            bytes = self.flipped(bytes);
        }
        if self.faults.races && opts.mode == PutMode::Create {
            let there = self.inner.get_opts(location, GetOptions::new().with_head(true)).await;
            if there.is_ok() {
                let path = location.to_string();
                return Err(Error::AlreadyExists { path, source: "looked and found".into() });
            }
            tokio::task::yield_now().await;
            opts.mode = PutMode::Overwrite;
        }
        if self.faults.overwrites {
            opts.mode = PutMode::Overwrite;
        }
        let done = self.inner.put_opts(location, PutPayload::from_bytes(bytes), opts).await?;
        self.behind(done)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.may(Some(location))?;
        self.ahead().await?;
        let head = options.head;
        let found = self.inner.get_opts(location, options).await?;
        if head {
            return self.behind(found);
        }
        let (meta, range, attributes) = (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let extensions = found.extensions.clone();
        let mut bytes = found.bytes().await?;
        if self.happens(self.faults.cut) {
            bytes.truncate(bytes.len() / 2);
        }
        if self.happens(self.faults.flips) {
            bytes = self.flipped(bytes);
        }
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        self.behind(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.may(Some(location))?;
        self.ahead().await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if let Err(denied) = self.may(None) {
            return stream::iter([Err(denied)]).boxed();
        }
        let refused = (self.happens(self.faults.before)).then(|| failure("the connection was lost"));
        if let Some(error) = refused {
            return stream::iter([Err(error)]).boxed();
        }
        let lost = self.happens(self.faults.after);
        let deleted = self.inner.delete_stream(locations);
        match lost {
            false => deleted,
            true => deleted.map(|_| Err(failure("the connection was lost before the answer came"))).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if let Err(denied) = self.may(prefix) {
            return stream::iter([Err(denied)]).boxed();
        }
        if self.happens(self.faults.before) {
            return stream::iter([Err(failure("the connection was lost"))]).boxed();
        }
        let listed = self.inner.list(prefix);
        if !self.happens(self.faults.late_lists) {
            return listed;
        }
        let late = async move {
            let mut found: Vec<ObjectMeta> = listed.try_collect().await?;
            found.sort_by_key(|meta| meta.last_modified);
            found.pop();
            Ok::<_, Error>(stream::iter(found.into_iter().map(Ok)))
        };
        stream::once(late).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.may(prefix)?;
        self.ahead().await?;
        let done = self.inner.list_with_delimiter(prefix).await?;
        self.behind(done)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.may(Some(from))?;
        self.inner.copy_opts(from, to, options).await
    }
}

fn failure(what: &'static str) -> Error {
    Error::Generic { store: "FaultStore", source: what.into() }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({:?}, {:?})", self.inner, self.faults)
    }
}

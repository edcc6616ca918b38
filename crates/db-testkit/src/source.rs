//! A place where connections come from, made of closures: for tests of whatever wraps or uses one.

use std::fmt;
use std::ops::DerefMut;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Acquire, Endpoint, Error, EvictAll, Facts, Opening, Report, Result, Site};
use diesel_async::{AsyncConnection, AsyncPgConnection};

type Answer<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Begins<C> = dyn Fn(&mut C, &Opening) -> bool + Send + Sync;
type Told<C> = dyn Fn(&mut C, Report) + Send + Sync;

/// A place where connections come from, made of closures.
///
/// It says what a test lets it say: [`Facts::UNKNOWN`] and no endpoint until told otherwise, and what it is
/// told in [`Acquire::report`] goes nowhere. Cheap to clone; clones are one source.
///
/// ```
/// use db_core::{Acquire, Error};
/// use db_testkit::Source;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let source: Source = Source::new(async |_| Err(Error::NotFound)).at("db", 5432);
/// assert!(source.acquire().await.is_err());
/// # });
/// # Ok::<_, std::io::Error>(())
/// ```
pub struct Source<C = Box<AsyncPgConnection>> {
    made: Arc<Made<C>>,
}

struct Made<C> {
    acquire: Box<dyn Fn(Site) -> Answer<Result<C>> + Send + Sync>,
    idle: Box<dyn Fn() -> Option<C> + Send + Sync>,
    endpoint: Option<Endpoint>,
    facts: Box<dyn Fn(&C) -> Facts + Send + Sync>,
    report: Box<Told<C>>,
    begin_with: Box<Begins<C>>,
    server_down: Box<dyn Fn() -> Answer<()> + Send + Sync>,
    evict_all: Box<dyn Fn() + Send + Sync>,
    evictions: AtomicU64,
}

impl Source {
    /// Opens a connection for each acquire.
    pub fn opening(url: impl Into<String>) -> Self {
        let url: Arc<str> = url.into().into();
        Source::new(move |_| {
            let url = Arc::clone(&url);
            async move {
                let opened = AsyncPgConnection::establish(&url).await;
                opened.map(Box::new).map_err(|error| Error::ConnectionLost { reason: error.to_string() })
            }
        })
    }
}

impl<C: Send + 'static> Source<C> {
    /// Answers each acquire as `acquire` does, which is given the place in the code that asks.
    pub fn new<F>(acquire: impl Fn(Site) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<C>> + Send + 'static,
    {
        Source {
            made: Arc::new(Made {
                acquire: Box::new(move |site| Box::pin(acquire(site))),
                idle: Box::new(|| None),
                endpoint: None,
                facts: Box::new(|_| Facts::UNKNOWN),
                report: Box::new(|_, _| {}),
                begin_with: Box::new(|_, _| false),
                server_down: Box::new(|| Box::pin(std::future::pending())),
                evict_all: Box::new(|| {}),
                evictions: AtomicU64::new(0),
            }),
        }
    }

    /// The same source, which says that it leads there. Call it before the source is cloned.
    #[must_use]
    pub fn at(self, host: &str, port: u16) -> Self {
        self.change(|made| made.endpoint = Some(Endpoint::new(host, port)))
    }

    /// The same source, whose idle connections these are, as long as there are some. Call it before the
    /// source is cloned.
    #[must_use]
    pub fn with_idle(self, idle: impl Fn() -> Option<C> + Send + Sync + 'static) -> Self {
        self.change(|made| made.idle = Box::new(idle))
    }

    /// The same source, which knows this of a connection. Call it before the source is cloned.
    #[must_use]
    pub fn knowing(self, facts: impl Fn(&C) -> Facts + Send + Sync + 'static) -> Self {
        self.change(|made| made.facts = Box::new(facts))
    }

    /// The same source, which does this with what it is told. Call it before the source is cloned.
    #[must_use]
    pub fn told(self, report: impl Fn(&mut C, Report) + Send + Sync + 'static) -> Self {
        self.change(|made| made.report = Box::new(report))
    }

    /// The same source, which does this to have a BEGIN go out with the next request; none of them does until
    /// told otherwise. Call it before the source is cloned.
    #[must_use]
    pub fn beginning(self, begin_with: impl Fn(&mut C, &Opening) -> bool + Send + Sync + 'static) -> Self {
        self.change(|made| made.begin_with = Box::new(begin_with))
    }

    /// The same source, whose server is down when this resolves. Call it before the source is cloned.
    #[must_use]
    pub fn down<F>(self, server_down: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.change(|made| made.server_down = Box::new(move || Box::pin(server_down())))
    }

    /// The same source, which does this to close all of its connections. Call it before the source is cloned.
    #[must_use]
    pub fn evicting(self, evict_all: impl Fn() + Send + Sync + 'static) -> Self {
        self.change(|made| made.evict_all = Box::new(evict_all))
    }

    /// How often all of its connections were to be closed.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.made.evictions.load(Ordering::Relaxed)
    }

    fn change(mut self, change: impl FnOnce(&mut Made<C>)) -> Self {
        match Arc::get_mut(&mut self.made) {
            Some(made) => change(made),
            None => panic!("a source is changed before it is cloned"),
        }
        self
    }
}

impl<C> Clone for Source<C> {
    fn clone(&self) -> Self {
        Source { made: Arc::clone(&self.made) }
    }
}

impl<C: DerefMut<Target = AsyncPgConnection> + Send + 'static> Acquire for Source<C> {
    type Conn = C;

    fn acquire_at(&self, site: Site) -> impl Future<Output = Result<C>> + Send {
        (self.made.acquire)(site)
    }

    fn acquire_now(&self, _: Site) -> Option<C> {
        (self.made.idle)()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        self.made.endpoint.as_ref()
    }

    fn facts(&self, conn: &C) -> Facts {
        (self.made.facts)(conn)
    }

    fn report(&self, conn: &mut C, what: Report) {
        (self.made.report)(conn, what);
    }

    fn begin_with(&self, conn: &mut C, opening: &Opening) -> bool {
        (self.made.begin_with)(conn, opening)
    }

    fn server_down(&self, _: &C) -> impl Future<Output = ()> + Send + use<C> {
        (self.made.server_down)()
    }
}

impl<C> EvictAll for Source<C> {
    fn evict_all(&self) {
        self.made.evictions.fetch_add(1, Ordering::Relaxed);
        (self.made.evict_all)();
    }
}

impl<C> fmt::Debug for Source<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("endpoint", &self.made.endpoint).finish_non_exhaustive()
    }
}

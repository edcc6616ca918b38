//! What the dashboard's page of migrations and partitions says, and the marks of migrations on its charts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use db_monitoring::dashboard::Source;
use db_monitoring::panel::Panel;

use crate::Config;

/// So long a look at the database is shown again: the page asks every few seconds.
const SHOWN_AGAIN: Duration = Duration::from_secs(30);

/// The same source, with what is known of migrations and partitions: for pages that are no service's own, as
/// those of `dbctl serve`. A service's are there by [`Db::dashboard`](crate::Db::dashboard).
///
/// ```no_run
/// # fn pages(config: &db_platform::Config) -> db_platform::Result<()> {
/// use db_platform::monitoring::dashboard::Source;
///
/// let source = db_platform::with_upkeep(Source::named("shop"), config)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Where `PARTITION_POLICY` names a file that cannot be read.
pub fn with_upkeep(source: Source, config: &Config) -> crate::Result<Source> {
    #[cfg(feature = "migrations")]
    let source = {
        let direct = db_pool::Connector::new(config.direct_url.clone(), config.connect.clone());
        migrations::shown(source, direct, config.ledger_schema.as_deref().map(Arc::from))
    };
    #[cfg(feature = "maintenance")]
    let source = partitions::shown(source, &crate::partition_upkeep::upkeep_of(config)?);
    Ok(source)
}

/// What was seen last, and when it was looked for.
struct Last<T> {
    known: Mutex<(Option<Instant>, T)>,
}

impl<T: Clone + Default> Last<T> {
    fn new() -> Self {
        Last { known: Mutex::new((None, T::default())) }
    }

    fn get(&self) -> T {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Whether it is time for a look; if so, the caller looks, and nobody else meanwhile.
    fn is_due(&self) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = known.0.is_none_or(|at| at.elapsed() >= SHOWN_AGAIN);
        if is_due {
            known.0 = Some(Instant::now());
        }
        is_due
    }

    fn set(&self, value: T) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).1 = value;
    }
}

#[cfg(feature = "migrations")]
pub(crate) mod migrations {
    use db_core::Connect as _;
    use db_migrations::History;
    use db_pool::Connector;

    use super::*;

    /// So many are listed and marked.
    const MOST: usize = 50;

    type Known = Option<Result<Arc<History>, String>>;

    /// Reads what is applied, on a connection of its own.
    struct Record {
        direct: Connector,
        ledger_schema: Option<Arc<str>>,
        last: Last<Known>,
    }

    impl Record {
        async fn look(&self) {
            let looked = async {
                let primary =
                    crate::servers::primary_of(&self.direct).await.map_err(|error| error.to_string())?;
                let mut conn = self.direct.connect(&primary).await.map_err(|error| error.to_string())?;
                let read = History::read(&mut conn, self.ledger_schema.as_deref(), MOST).await;
                read.map(Arc::new).map_err(|error| error.to_string())
            };
            self.last.set(Some(looked.await));
        }

        /// When what was applied, as charts mark it.
        fn marks(self: &Arc<Self>) -> Vec<(f64, String)> {
            if self.last.is_due()
                && let Ok(runtime) = tokio::runtime::Handle::try_current()
            {
                let record = Arc::clone(self);
                runtime.spawn(async move { record.look().await });
            }
            let Some(Ok(history)) = self.last.get() else { return Vec::new() };
            history.marks()
        }
    }

    pub(crate) fn shown(source: Source, direct: Connector, ledger_schema: Option<Arc<str>>) -> Source {
        let record = Arc::new(Record { direct, ledger_schema, last: Last::new() });
        let marked = Arc::clone(&record);
        source.marks(move || marked.marks()).feed("migrations", move || {
            let record = Arc::clone(&record);
            async move {
                if record.last.is_due() {
                    record.look().await;
                }
                vec![panel(record.last.get())]
            }
        })
    }

    fn panel(known: Known) -> Panel {
        let panel = Panel::new("migrations", "Migrations");
        match known {
            None => panel.missing("it was not looked at yet"),
            Some(Err(why)) => panel.missing(why),
            Some(Ok(history)) => history.panel(),
        }
    }
}

#[cfg(feature = "maintenance")]
pub(crate) mod partitions {
    use db_maintenance::Upkeep;
    use db_maintenance::partitions::Report;

    use super::*;

    /// Shows the sets of the policy; without one there is nothing to show.
    pub(crate) fn shown(source: Source, upkeep: &Upkeep) -> Source {
        if !upkeep.has_policy() {
            return source;
        }
        let (upkeep, last) = (upkeep.clone(), Arc::new(Last::<Option<Result<Arc<Report>, String>>>::new()));
        source.feed("migrations", move || {
            let (upkeep, last) = (upkeep.clone(), Arc::clone(&last));
            async move {
                if last.is_due() {
                    let looked = upkeep.look().await;
                    last.set(Some(looked.map(Arc::new).map_err(|error| error.to_string())));
                }
                vec![panel(last.get())]
            }
        })
    }

    fn panel(known: Option<Result<Arc<Report>, String>>) -> Panel {
        let panel = Panel::new("partitions", "Partitions");
        match known {
            None => panel.missing("they were not looked at yet"),
            Some(Err(why)) => panel.missing(why),
            Some(Ok(report)) => report.panel(),
        }
    }
}

//! What the dashboard's page of migrations and partitions says, and the marks of migrations on its charts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use db_monitoring::dashboard::Source;
use db_monitoring::panel::{Column, Panel, Table, Value};

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
    let source = partitions::shown(source, &crate::partition_upkeep::Upkeep::of(config)?);
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
    use std::time::UNIX_EPOCH;

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
            let at = |at: SystemTime| at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
            let applied = history.applied.iter().filter_map(|one| Some((at(one.at?), one)));
            applied
                .map(|(at, one)| {
                    (at, format!("migration {}", one.name.as_deref().unwrap_or(one.version.as_str())))
                })
                .collect()
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
        let history = match known {
            None => return panel.missing("it was not looked at yet"),
            Some(Err(why)) => return panel.missing(why),
            Some(Ok(history)) => history,
        };
        let columns = [
            Column::new("version", "Version"),
            Column::new("name", "Name"),
            Column::new("applied_at", "Applied"),
            Column::new("took_seconds", "Took"),
            Column::new("by", "By"),
            Column::new("how", "How"),
        ];
        let table = Table::new("applied", columns).when_empty("No migration is recorded in this database.");
        let table = history.applied.iter().fold(table, |table, one| {
            table.row([
                Value::text(one.version.as_str()),
                Value::some_text(one.name.as_deref()),
                one.at.map_or(Value::Missing, Value::At),
                one.elapsed.map_or(Value::Missing, |took| Value::Seconds(took.as_secs_f64())),
                Value::some_text(one.by.as_deref()),
                Value::some_text(one.how.as_deref()),
            ])
        });
        let cut_off: Vec<_> =
            history.cut_off.iter().map(|(version, parts)| format!("{version} after {parts} parts")).collect();
        let panel = panel.figure("applied", "Applied in all", Value::Count(history.count)).table(table);
        match cut_off.is_empty() {
            true => panel,
            false => panel.text(format!(
                "Begun and not ended: {}. `dbctl migrate apply` goes on where it was cut off.",
                cut_off.join(", ")
            )),
        }
    }
}

#[cfg(feature = "maintenance")]
pub(crate) mod partitions {
    use db_maintenance::partitions::Report;

    use super::*;
    use crate::partition_upkeep::Upkeep;

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
        let report = match known {
            None => return panel.missing("they were not looked at yet"),
            Some(Err(why)) => return panel.missing(why),
            Some(Ok(report)) => report,
        };
        let columns = [
            Column::new("table", "Table"),
            Column::new("partitions", "Partitions"),
            Column::new("ahead_seconds", "Ahead"),
            Column::new("wanted_ahead_seconds", "Wanted ahead"),
            Column::new("fails_at", "Next insert fails"),
            Column::new("rows_in_default", "Rows in the default"),
            Column::new("needs", "Needs"),
        ];
        let table = Table::new("sets", columns).when_empty("The policy names no table.");
        let table = report.sets.iter().fold(table, |table, set| {
            let health = &set.health;
            #[expect(clippy::cast_precision_loss, reason = "seconds for people")]
            let seconds = |seconds: i64| Value::Seconds(seconds as f64);
            let needs: Vec<String> = set
                .failed
                .iter()
                .map(|failed| format!("{}: {}", failed.what, failed.why))
                .chain(health.missing.iter().map(|what| format!("no partition for {what}")))
                .chain(health.pending.iter().map(|table| format!("{table} is half detached")))
                .collect();
            table.row([
                Value::text(set.table.to_string()),
                Value::Count(health.partitions as u64),
                health.ahead_seconds.map_or(Value::Missing, seconds),
                seconds(health.wanted_ahead_seconds),
                health.next_insert_fails_at.map_or(Value::Missing, |at| Value::At(SystemTime::from(at))),
                Value::Count(u64::try_from(health.rows_in_default).unwrap_or(0)),
                Value::some_text((!needs.is_empty()).then(|| needs.join("; "))),
            ])
        });
        panel.table(table)
    }
}

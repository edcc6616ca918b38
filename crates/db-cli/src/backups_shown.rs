//! The backups on the pages of `dbctl serve`, where the settings name a repository and a key that reads it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use db_platform::backup::{self, Backups, ScheduleSettings};
use db_platform::monitoring::CheckResult;
use db_platform::monitoring::dashboard::Source;
use db_platform::monitoring::panel::{Column, Panel, Table, Value};
use db_platform::{DatabaseUrl, settings_from_vars};

use crate::args::Options;
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::{connect, repository, vars};

/// Each look reads the beginning of every manifest.
const BETWEEN_LOOKS: Duration = Duration::from_secs(300);
/// So many are listed.
const MOST: usize = 100;

type Known = Option<Result<(String, Backups), String>>;

/// What was seen of them last.
#[derive(Clone)]
pub(crate) struct BackupsShown {
    known: Arc<Mutex<Known>>,
    max_age: Option<Duration>,
}

impl BackupsShown {
    /// Looks at them from now on; none where the settings name no key.
    pub(crate) fn start(options: &Options, url: &DatabaseUrl) -> Result<Option<Self>, CliError> {
        let settings = BackupSettings::read(options)?;
        if settings.keys.keys.is_none() {
            return Ok(None);
        }
        let schedules: ScheduleSettings = settings_from_vars(vars::all(options)?, |from| from.get())?;
        let shown = BackupsShown { known: Arc::default(), max_age: schedules.max_age };
        let (known, url) = (Arc::clone(&shown.known), url.clone());
        tokio::spawn(async move {
            loop {
                let looked = look(&settings, &url).await.map_err(|error| error.to_string());
                *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(looked);
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
        });
        Ok(Some(shown))
    }

    /// The source with their page.
    pub(crate) fn on(&self, source: Source) -> Source {
        let shown = self.clone();
        source.feed("backups", move || {
            let panel = panel(&shown.known());
            async move { vec![panel] }
        })
    }

    /// What the checks say of them; nothing while the repository was not seen.
    pub(crate) fn checks(&self) -> Vec<CheckResult> {
        match self.known() {
            Some(Ok((cluster, backups))) => {
                let found = backup::checks(&cluster, &backups, self.max_age, Utc::now());
                found.into_iter().map(CheckResult::from).collect()
            }
            _ => Vec::new(),
        }
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn look(settings: &BackupSettings, url: &DatabaseUrl) -> Result<(String, Backups), CliError> {
    let repository = settings.open().await?;
    let cluster = match connect::system_identifier(url).await {
        Ok(id) => repository.cluster(id),
        // The database may be gone, and its backups are to be looked at all the more.
        Err(error) => repository::cluster(&repository, None).await.map_err(|_| error)?,
    };
    Ok((cluster.system_identifier().to_string(), cluster.backups().await?))
}

fn panel(known: &Known) -> Panel {
    let panel = Panel::new("backups", "Backups");
    let (cluster, backups) = match known {
        None => return panel.missing("the repository was not looked at yet"),
        Some(Err(why)) => return panel.missing(why),
        Some(Ok(known)) => known,
    };
    let columns = [
        Column::new("backup", "Backup"),
        Column::new("kind", "Kind"),
        Column::new("ended_at", "Ended"),
        Column::new("took_seconds", "Took"),
        Column::new("bad_pages", "Bad pages"),
        Column::new("kept", "Kept"),
    ];
    let table = Table::new("backups", columns).when_empty("There is no backup of this server.");
    let table = backups.whole.iter().rev().take(MOST).fold(table, |table, one| {
        let took = (one.ended - one.began).to_std().unwrap_or_default();
        let kept = if one.pinned { "until somebody deletes it" } else { "as the retention says" };
        table.row([
            Value::text(one.id.to_string()),
            Value::text(format!("{:?}", one.kind).to_lowercase()),
            Value::At(SystemTime::from(one.ended)),
            Value::Seconds(took.as_secs_f64()),
            Value::Count(one.bad_pages.len() as u64),
            Value::text(kept),
        ])
    });
    let newest = backups.whole.iter().map(|one| one.ended).max();
    let panel = panel
        .figure("cluster", "Cluster", Value::text(cluster.as_str()))
        .figure("newest_at", "The newest ended", newest.map_or(Value::Missing, |at| Value::At(at.into())))
        .figure("damaged", "Cannot be read", Value::Count(backups.damaged.len() as u64))
        .table(table);
    backups
        .damaged
        .iter()
        .fold(panel, |panel, one| panel.text(format!("{} cannot be read: {}", one.id, one.why)))
}

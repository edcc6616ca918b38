//! What the agent's jobs work with: the settings, the server, and what runs leave for others to see.

use std::sync::Arc;
use std::time::Duration;

use db_platform::backup::{Cluster, Compression, Repository, ScheduleSettings};
use db_platform::monitoring::MonitoringConfig;
use db_platform::monitoring::server::OpenConnection;
use db_platform::{Config, DatabaseUrl, settings_from_vars};

use super::figures::Figures;
use super::warnings::Warnings;
use crate::args::Options;
use crate::error::CliError;
use crate::repository::BackupSettings;
use crate::{audit, connect, repository, vars};

/// What jobs work with. The repository is opened by each run: credentials expire, and a store that is down at
/// the start is no reason not to start.
pub(super) struct Ground {
    /// The server, for people: host, port and database.
    pub(super) place: String,
    /// This host's name.
    pub(super) host: String,
    pub(super) figures: Arc<Figures>,
    /// What runs have found that people should look at, although they succeeded.
    pub(super) warnings: Arc<Warnings>,
    pub(super) url: DatabaseUrl,
    /// How the server's statistics are asked for.
    pub(super) open: OpenConnection,
    pub(super) monitoring: MonitoringConfig,
    pub(super) config: Config,
    pub(super) settings: BackupSettings,
    pub(super) schedules: ScheduleSettings,
    pub(super) restore_command: String,
}

impl Ground {
    pub(super) fn read(options: &Options) -> Result<Ground, CliError> {
        let config = connect::config(options)?;
        let open = connect::for_collector(&config);
        let monitoring = config.monitoring.clone();
        let url = config.direct_url.clone();
        let hosts: Vec<String> = url.hosts().iter().map(ToString::to_string).collect();
        Ok(Ground {
            place: format!("{}/{}", hosts.join(","), url.database()),
            host: audit::host(),
            figures: Arc::new(Figures::default()),
            warnings: Arc::default(),
            settings: BackupSettings::read(options)?,
            schedules: settings_from_vars(vars::all(options)?, |from| from.get())?,
            restore_command: crate::backup::restore_command(options),
            url,
            open,
            monitoring,
            config,
        })
    }

    /// How often the archive is looked at: never where the settings say so, or where nothing may be read.
    pub(super) fn watch_every(&self) -> Option<Duration> {
        self.schedules.watch_every.filter(|_| self.settings.keys.keys.is_some())
    }

    /// The slot by which the log is received.
    pub(super) fn receive_slot(&self) -> Option<&str> {
        self.schedules.receive_slot.as_deref()
    }

    /// How long a finished segment may wait to be archived.
    pub(super) fn late_after(&self) -> Duration {
        self.schedules.late_after
    }

    pub(super) fn compression(&self) -> Compression {
        self.settings.compression
    }

    /// What other hosts are told of who holds a lock.
    pub(super) fn holder(&self) -> String {
        format!("{} pid {}", self.host, std::process::id())
    }

    /// The repository, and the server's cluster in it.
    pub(super) async fn cluster(&self) -> Result<(Repository, Cluster), CliError> {
        let repository = self.settings.open().await?;
        let cluster = match connect::system_identifier(&self.url).await {
            Ok(id) => repository.cluster(id),
            // The database may be gone, and its backups are to be looked at all the more.
            Err(error) => repository::cluster(&repository, None).await.map_err(|_| error)?,
        };
        Ok((repository, cluster))
    }
}

//! Upkeep of a service's database: where it gets its connections, and how it knows what is bloated.

use std::sync::Arc;

use db_core::{Connect as _, Error};
use db_maintenance::partitions::Partitions;
use db_maintenance::{FindBloat, MaintenanceError, OpenClient, PartitionSettings, Upkeep};
use db_pool::{ConnectConfig, Connector};

use crate::config::Config;
use crate::routine_upkeep::with_bloat;
use crate::servers::primary_of;

/// The partitions that these settings name; none where they name no policy.
///
/// ```
/// let settings = db_platform::maintenance::PartitionSettings::default();
/// assert!(db_platform::partitions_of(&settings).unwrap().is_none());
/// ```
///
/// # Errors
/// Where the policy cannot be read, or contradicts itself.
pub fn partitions_of(settings: &PartitionSettings) -> Result<Option<Partitions>, MaintenanceError> {
    settings.partitions()
}

/// # Errors
/// Where the policy cannot be read.
pub(crate) fn upkeep_of(config: &Config) -> Result<Upkeep, Error> {
    let partitions = config.partitions.partitions().map_err(|error| Error::Client(Box::new(error)))?;
    // A statement timeout would end what waits for a transaction of the service.
    let options = ConnectConfig {
        statement_timeout: None,
        idle_in_transaction_timeout: None,
        application_name: Some("db-maintenance".to_owned()),
        ..config.connect.clone()
    };
    let connector = Connector::new(config.direct_url.clone(), options);
    let looks = connector.clone();
    let open: OpenClient = Arc::new(move || {
        let connector = connector.clone();
        Box::pin(async move { Ok(connector.client(&primary_of(&connector).await?).await?) })
    });
    let bloat: FindBloat = Arc::new(move |routine| {
        let connector = looks.clone();
        Box::pin(async move {
            let primary = primary_of(&connector).await?;
            let conn = connector.connect(&primary).await?;
            let known = with_bloat(routine, conn, primary).await;
            known.map_err(|why| format!("what is bloated is not known: {why}").into())
        })
    });
    Ok(Upkeep::new(partitions, open, bloat))
}

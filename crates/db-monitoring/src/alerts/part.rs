//! What attaches to the platform: alerts, what they look at, and how they are.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use db_core::{Part, Running};
use db_notify::{NotifyConfig, SendError, Severity};
use tokio::sync::{Notify, oneshot};

use crate::CheckResult;
use crate::alerts::runner::Runner;
use crate::alerts::{AlertChannel, AlertConfig, AlertStatus, Reading};

/// What is to be looked at: called at every look, and must not block.
pub type Evaluate = Arc<dyn Fn() -> Evaluation + Send + Sync>;

/// Says elsewhere that conditions are looked at; it is told the gravest that is open.
pub type Beat = Arc<
    dyn Fn(Option<Severity>) -> Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>> + Send + Sync,
>;

/// All conditions at one look.
///
/// ```
/// use db_monitoring::alerts::Evaluation;
///
/// let blind = Evaluation::default();
/// assert!(blind.checks.is_none(), "another replica looks at the server, or nobody does");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Evaluation {
    /// What this process sees on its own side.
    pub own: Vec<Reading>,
    /// What the server was found to be like; none where this replica does not look at it.
    pub checks: Option<Vec<CheckResult>>,
}

/// Tells people. Cheap to clone: all clones are one.
///
/// ```
/// use std::sync::Arc;
/// use db_monitoring::alerts::{AlertConfig, Alerts, Evaluation};
/// use db_notify::NotifyConfig;
///
/// let alerts = Alerts::new(AlertConfig::default(), NotifyConfig::default(), Vec::new(), None);
/// let part = alerts.part(Arc::new(Evaluation::default)); // to `Db::connect_with`
/// assert!(!alerts.status().leads);
/// ```
#[derive(Clone)]
pub struct Alerts {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: AlertConfig,
    pub(crate) notify: NotifyConfig,
    pub(crate) channels: Vec<AlertChannel>,
    pub(crate) beat: Option<Beat>,
    pub(crate) status: Mutex<AlertStatus>,
    pub(crate) stop: Notify,
}

impl Alerts {
    /// Alerts that go to these channels. `beat` is called once a minute by the replica that tells people.
    pub fn new(
        config: AlertConfig,
        notify: NotifyConfig,
        channels: Vec<AlertChannel>,
        beat: Option<Beat>,
    ) -> Self {
        let status = Mutex::default();
        Alerts { shared: Arc::new(Shared { config, notify, channels, beat, status, stop: Notify::new() }) }
    }

    /// What attaches to the platform: it looks at what `evaluate` tells for as long as the platform runs.
    pub fn part(&self, evaluate: Evaluate) -> Part {
        let shared = Arc::clone(&self.shared);
        Part::named("alerts").starting(|ground| async move {
            let (ended, has_ended) = oneshot::channel();
            let runner = Runner::new(Arc::clone(&shared), ground.clone(), evaluate);
            ground.spawn(async move {
                runner.run().await;
                let _nobody_waits = ended.send(());
            });
            let [health, metrics, stop] = [(); 3].map(|()| Arc::clone(&shared));
            Ok(Running::new()
                .with_health(move || health.status().health())
                .with_metrics(move || metrics.status().measures())
                .with_stop(|| async move {
                    stop.stop.notify_one();
                    let _gone_anyway = has_ended.await;
                }))
        })
    }

    /// How alerting itself is.
    pub fn status(&self) -> AlertStatus {
        self.shared.status().clone()
    }

    /// What is bad, for how long it must be, and when nobody is told.
    pub fn config(&self) -> &AlertConfig {
        &self.shared.config
    }
}

impl std::fmt::Debug for Alerts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alerts").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn status(&self) -> MutexGuard<'_, AlertStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

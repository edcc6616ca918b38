//! Looks at a server for `serve`, `report`, `top` and `mcp`: on connections of its own, past any pooler.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use db_platform::insight::indexes::AdviceError;
use db_platform::insight::{EVERY, Insights};
use db_platform::monitoring::CheckResult;
use db_platform::monitoring::checks::{self, Selection, Visit};
use db_platform::monitoring::server::{
    Collector, CollectorConfig, Databases, OpenConnection, ServerSession, Skipped,
};

use crate::args::Options;
use crate::connect;
use crate::error::CliError;

const BETWEEN_CHECKS: Duration = Duration::from_secs(60);

/// How connections are opened: to the primary, or to the only server.
pub(crate) fn open(options: &Options) -> Result<OpenConnection, CliError> {
    Ok(connect::for_collector(&connect::config(options)?))
}

/// A collector that has not begun. It looks whether or not another process does: its person asked for it.
pub(crate) fn collector(
    options: &Options,
    all_databases: bool,
    periods: Option<[Duration; 5]>,
) -> Result<Collector, CliError> {
    let databases = if all_databases { Databases::All } else { Databases::Own };
    let default = CollectorConfig::default();
    let periods = periods.unwrap_or(default.periods);
    let config = CollectorConfig { databases, periods, one_leader: false, ..default };
    Ok(Collector::new(open(options)?, config))
}

/// What checks judge, looked at once.
pub(crate) async fn visit(open: &OpenConnection) -> Result<Visit, CliError> {
    let not_answered = |skipped: Skipped| CliError::NotAnswered(skipped.detail);
    let (endpoint, conn) = open(None).await?;
    let session = ServerSession::open(conn, endpoint).await.map_err(not_answered)?;
    Ok(Visit::to(&session).await)
}

/// Looks at the plans of the dearest statements, and asks for advice where that is wanted. What the server
/// refuses is said, and left out: it is a part of a report, not all of it.
pub(crate) async fn look(insights: &Insights, open: &OpenConnection, advice: bool) {
    let looked = async {
        let (_, mut conn) = open(None).await?;
        insights.look_at_plans(&mut conn).await?;
        if advice {
            insights.look_at_indexes(&mut conn).await?;
        }
        Ok::<_, AdviceError>(())
    };
    if let Err(error) = looked.await {
        tracing::warn!("plans and indexes could not be looked at: {error}");
    }
}

/// Looks at plans once an hour and asks for advice once a day, for as long as it is polled.
pub(crate) async fn keep_looking(open: OpenConnection, insights: Insights) {
    let mut looks = tokio::time::interval(EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for hour in 0_u32.. {
        looks.tick().await;
        look(&insights, &open, hour % 24 == 0).await;
    }
}

/// What the checks found last, for whoever asks.
pub(crate) type LastChecks = Arc<Mutex<Option<Arc<Vec<CheckResult>>>>>;

/// Checks once a minute, for as long as it is polled; each look is compared with the one before.
pub(crate) async fn keep_checking(open: OpenConnection, found: LastChecks) {
    let mut looks = tokio::time::interval(BETWEEN_CHECKS);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before: Option<Visit> = None;
    loop {
        looks.tick().await;
        let visit = match visit(&open).await {
            Ok(visit) => visit,
            Err(error) => {
                tracing::warn!("the checks did not run: {error}");
                *found.lock().unwrap_or_else(PoisonError::into_inner) = None;
                continue;
            }
        };
        let results = checks::judge(&visit.evidence(before.as_ref()), &Selection::default());
        *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(results));
        before = Some(visit);
    }
}

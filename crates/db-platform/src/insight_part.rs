//! Looks at plans once an hour and at indexes once a week, where this process leads the collectors.

use std::sync::{Arc, Weak};
use std::time::Duration;

use db_core::{Ground, Part, Running};
use db_insight::indexes::AdviceError;
use db_insight::{InsightConfig, Insights};
use db_monitoring::{Monitor, MonitoringConfig};
use tokio::time::Instant;

use crate::watched::Watched;

/// How often plans are looked at.
const PLANS: Duration = db_insight::EVERY;

/// How often indexes are advised.
const INDEXES: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often it is looked whether something is due, and who leads: neither asks a server.
const TICK: Duration = Duration::from_secs(1);

/// The part, where the settings want it.
pub(crate) fn part(
    insights: &Insights,
    config: InsightConfig,
    watched: &Arc<Watched>,
    monitor: &Monitor,
    monitoring: &MonitoringConfig,
) -> Option<Part> {
    let is_wanted = config.query_analysis || config.performance_insights;
    if !is_wanted || !monitoring.enabled || monitoring.collect_every.is_none() {
        return None;
    }
    let (insights, watched) = (insights.clone(), Arc::downgrade(watched));
    let looks = Looks { insights, monitor: monitor.clone(), is_stored: monitoring.history_days > 0 };
    Some(Part::named("insights").starting(move |ground| async move {
        let measured = looks.insights.clone();
        ground.clone().spawn(run(ground, looks, config, watched));
        Ok(Running::new().with_metrics(move || measured.measures()))
    }))
}

/// What is looked at, and who is told.
struct Looks {
    insights: Insights,
    monitor: Monitor,
    /// Whether the history of plans outlives the process.
    is_stored: bool,
}

async fn run(ground: Ground, mut looks: Looks, config: InsightConfig, watched: Weak<Watched>) {
    let begun = Instant::now();
    // So late that it does not come, where the moment is beyond what a clock can say.
    let first = begun.checked_add(config.first_look).unwrap_or_else(|| begun + INDEXES);
    let (mut plans, mut indexes) = (first, first);
    let mut each = tokio::time::interval(TICK);
    each.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        each.tick().await;
        let Some(watched) = watched.upgrade() else { return };
        let leads = watched.collected.get().is_some_and(|one| one.collector.is_leader());
        drop(watched);
        let now = Instant::now();
        let plans_due = config.query_analysis && now >= plans;
        let indexes_due = config.performance_insights && now >= indexes;
        if !leads || !(plans_due || indexes_due) {
            continue;
        }
        // What did not work is tried again when it is due again: a server in trouble is not to be asked more
        // often.
        if plans_due {
            plans = now + PLANS;
        }
        if indexes_due {
            indexes = now + INDEXES;
        }
        if let Err(error) = looks.look(&ground, plans_due, indexes_due).await {
            tracing::warn!(%error, "plans and indexes could not be looked at; the next look is in its time");
        }
    }
}

impl Looks {
    async fn look(&mut self, ground: &Ground, plans: bool, indexes: bool) -> Result<(), AdviceError> {
        let mut conn = ground.connect_direct().await?;
        if plans {
            // Another process may have led until now.
            if self.is_stored
                && let Err(error) = self.insights.restore(&mut conn).await
            {
                self.store_no_more(&error);
            }
            self.insights.look_at_plans(&mut conn).await?;
            for one in self.insights.statements() {
                self.monitor.note_tips(one.statement, one.tips.iter().map(ToString::to_string));
            }
            if self.is_stored
                && let Err(error) = self.insights.store(&mut conn).await
            {
                self.store_no_more(&error);
            }
        }
        if indexes {
            self.insights.look_at_indexes(&mut conn).await?;
        }
        Ok(())
    }

    /// Plans are looked at all the same.
    fn store_no_more(&mut self, error: &db_core::Error) {
        self.is_stored = false;
        tracing::warn!(%error, "the history of plans is not stored: a restart begins it anew");
    }
}

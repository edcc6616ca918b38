//! Looks at plans once an hour and at indexes once a week, where this process leads the collectors.

use std::sync::{Arc, Weak};
use std::time::Duration;

use db_core::{Ground, Part, Running};
use db_insight::{InsightConfig, Insights};
use db_monitoring::MonitoringConfig;
use tokio::time::Instant;

use crate::watched::Watched;

/// How often plans are looked at.
const PLANS: Duration = db_insight::EVERY;

/// How often indexes are advised.
const INDEXES: Duration = Duration::from_secs(7 * 24 * 3600);

/// The first look comes when the service has settled.
const FIRST: Duration = Duration::from_secs(300);

/// How often it is looked whether something is due, and who leads.
const TICK: Duration = Duration::from_secs(60);

/// The part, where the settings want it.
pub(crate) fn part(
    insights: &Insights,
    config: InsightConfig,
    watched: &Arc<Watched>,
    monitoring: &MonitoringConfig,
) -> Option<Part> {
    let is_wanted = config.query_analysis || config.performance_insights;
    if !is_wanted || !monitoring.enabled || monitoring.collect_every.is_none() {
        return None;
    }
    let (insights, watched) = (insights.clone(), Arc::downgrade(watched));
    Some(Part::named("insights").starting(move |ground| async move {
        let measured = insights.clone();
        ground.clone().spawn(run(ground, insights, config, watched));
        Ok(Running::new().with_metrics(move || measured.measures()))
    }))
}

async fn run(ground: Ground, insights: Insights, config: InsightConfig, watched: Weak<Watched>) {
    let begun = Instant::now();
    let (mut plans, mut indexes) = (begun + FIRST, begun + FIRST);
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
        if let Err(error) = look(&ground, &insights, plans_due, indexes_due).await {
            tracing::warn!(%error, "plans and indexes could not be looked at; the next look is in its time");
        }
    }
}

async fn look(
    ground: &Ground,
    insights: &Insights,
    plans: bool,
    indexes: bool,
) -> Result<(), db_insight::indexes::AdviceError> {
    let mut conn = ground.connect_direct().await?;
    if plans {
        insights.look_at_plans(&mut conn).await?;
    }
    if indexes {
        insights.look_at_indexes(&mut conn).await?;
    }
    Ok(())
}

//! Plans and applies a policy: one leader, one set after another, each on its own.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use tokio_postgres::Client;

use super::apply;
use super::archive::Archive;
use super::catalog::{Catalog, Table, clock};
use super::health::Health;
use super::plan::{Frame, Plan, SetPlan};
use super::policy::{Policy, SetPolicy};
use crate::error::Result;
use crate::lock::Leader;
use crate::name::TableName;
use crate::session::{Patience, Session};

/// The clocks of two hosts that are kept differ by less.
const CLOCKS_AGREE: TimeDelta = TimeDelta::hours(1);

/// Keeps the partitions of one database as a policy says.
///
/// ```no_run
/// # async fn keep(client: &mut tokio_postgres::Client) -> db_maintenance::Result<()> {
/// use db_maintenance::partitions::{Every, Partitions, Policy, SetPolicy};
///
/// let events = SetPolicy {
///     retain: "12 months".parse().ok(),
///     ..SetPolicy::by_time("app.events".parse()?, Every::Month, "3 months")?
/// };
/// let partitions = Partitions::new(Policy { sets: vec![events], ..Policy::default() })?;
/// println!("{}", partitions.plan(client).await?);
/// let report = partitions.apply(client).await?;
/// assert!(report.is_led, "another maintainer is at work");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Partitions {
    policy: Policy,
    archive: Option<Arc<dyn Archive>>,
    patience: Patience,
    detach_waits: Duration,
    now: Option<DateTime<Utc>>,
}

/// What one run did.
///
/// ```
/// # fn show(report: &db_maintenance::partitions::Report) {
/// for failed in report.sets.iter().flat_map(|set| &set.failed) {
///     println!("{}: {}", failed.what, failed.why);
/// }
/// # }
/// ```
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Whether this run had the lock; if not, another maintainer is at work and nothing was done.
    pub is_led: bool,
    /// Whether the server is a standby, where nothing can be done.
    pub is_standby: bool,
    /// The sets, in the order of the policy.
    pub sets: Vec<SetReport>,
}

/// What one run did for one set.
///
/// ```
/// # fn show(report: &db_maintenance::partitions::SetReport) {
/// println!("{}: {} done, {} failed", report.table, report.done.len(), report.failed.len());
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SetReport {
    /// The set.
    pub table: TableName,
    /// The steps that were done, in words.
    pub done: Vec<String>,
    /// The steps that failed.
    pub failed: Vec<Failed>,
    /// How the set is after the run.
    pub health: Health,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// A step that failed, or a set for which nothing could be planned.
///
/// ```
/// # fn show(failed: &db_maintenance::partitions::Failed) {
/// println!("{}: {}", failed.what, failed.why);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// The step.
    pub what: String,
    /// Why.
    pub why: String,
}

impl Report {
    /// The line that a schedule's log shows.
    pub fn summary(&self) -> String {
        if self.is_standby {
            return "this server is a standby: nothing can be done here".to_owned();
        }
        if !self.is_led {
            return "another maintainer is at work".to_owned();
        }
        let done: usize = self.sets.iter().map(|set| set.done.len()).sum();
        let failed: Vec<String> = self
            .sets
            .iter()
            .flat_map(|set| {
                set.failed.iter().map(move |failed| format!("{}: {}: {}", set.table, failed.what, failed.why))
            })
            .collect();
        let unwell: Vec<String> = self
            .sets
            .iter()
            .filter(|set| !set.health.is_well())
            .map(|set| format!("{}: {}", set.table, set.health))
            .collect();
        let mut said = format!("{done} steps for {} sets of partitions", self.sets.len());
        for (what, which) in [("failed", failed), ("needs a person", unwell)] {
            if !which.is_empty() {
                said = format!("{said}; {what}: {}", which.join("; "));
            }
        }
        said
    }

    /// Whether nothing failed, and nothing needs a person.
    pub fn is_well(&self) -> bool {
        self.sets.iter().all(|set| set.failed.is_empty() && set.health.is_well())
    }
}

impl Partitions {
    /// Keeps partitions by this policy.
    ///
    /// # Errors
    /// [`MaintenanceError::Policy`](crate::MaintenanceError::Policy) where it contradicts itself.
    pub fn new(policy: Policy) -> Result<Self> {
        policy.check()?;
        Ok(Partitions {
            policy,
            archive: None,
            patience: Patience::default(),
            detach_waits: Duration::from_secs(60),
            now: None,
        })
    }

    /// Where rows go before their table is dropped.
    #[must_use]
    pub fn archive(mut self, archive: Arc<dyn Archive>) -> Self {
        self.archive = Some(archive);
        self
    }

    /// How long steps wait for locks.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// How long DETACH CONCURRENTLY waits for transactions that use the set, 60 s unless said. Nobody waits
    /// behind it; what it did not end, the next run does.
    #[must_use]
    pub fn detach_waits(mut self, waits: Duration) -> Self {
        self.detach_waits = waits;
        self
    }

    /// Takes this for the server's clock, to see what a plan would be then. Retention trusts it as well.
    #[must_use]
    pub fn at(mut self, now: DateTime<Utc>) -> Self {
        self.now = Some(now);
        self
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What there is to do now. It only reads.
    ///
    /// # Errors
    /// What the server says of the catalog; what is wrong with one set is that set's
    /// [`problem`](SetPlan::problem).
    pub async fn plan(&self, client: &mut Client) -> Result<Plan> {
        let mut session = Session::pin(client, self.patience).await?;
        self.planned(&mut session, false).await
    }

    /// How the sets are, without what there is to do.
    ///
    /// # Errors
    /// As [`Partitions::plan`].
    pub async fn status(&self, client: &mut Client) -> Result<Plan> {
        let mut session = Session::pin(client, self.patience).await?;
        self.planned(&mut session, true).await
    }

    /// Plans and does it, if no other maintainer is at work. A step that fails stops its set's like ones, and
    /// no other set.
    ///
    /// Give it a connection past any pooler that nobody else uses meanwhile.
    ///
    /// # Errors
    /// Where nothing could be planned, or the connection is lost; what failed in a set is in its report.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a transaction open: close the connection. What was begun, the next run
    /// ends.
    pub async fn apply(&self, client: &mut Client) -> Result<Report> {
        let mut session = Session::pin(client, self.patience).await?;
        let Some(leader) = Leader::try_become(session.client()).await? else { return Ok(Report::default()) };
        let done = self.lead(&mut session).await;
        leader.resign(session.client()).await;
        done
    }

    async fn lead(&self, session: &mut Session<'_>) -> Result<Report> {
        let plan = self.planned(session, false).await?;
        let mut report = Report { is_led: true, is_standby: plan.is_standby, sets: Vec::new() };
        let has_steps = plan.steps() > 0;
        for set in plan.sets {
            report.sets.push(self.set(session, set, plan.at).await?);
        }
        if has_steps {
            let after = self.planned(session, true).await?;
            for (set, after) in report.sets.iter_mut().zip(after.sets) {
                if set.table == after.table {
                    set.health = after.health;
                }
            }
        }
        Ok(report)
    }

    async fn set(&self, session: &mut Session<'_>, plan: SetPlan, at: DateTime<Utc>) -> Result<SetReport> {
        let mut report = SetReport {
            table: plan.table,
            done: Vec::new(),
            failed: Vec::new(),
            health: plan.health,
            notes: plan.notes,
        };
        report.notes.extend(plan.held.iter().map(|held| format!("{} stays: {}", held.partition, held.why)));
        if let Some(why) = plan.problem {
            report.failed.push(Failed { what: "plan".to_owned(), why });
        }
        let mut stopped = Vec::new();
        for step in &plan.steps {
            let kind = std::mem::discriminant(step);
            if stopped.contains(&kind) {
                continue;
            }
            let context = apply::Context {
                owner: &plan.owner,
                at,
                archive: self.archive.as_deref(),
                waits: self.detach_waits,
            };
            match apply::step(session, &context, step).await {
                Ok(()) => report.done.push(step.to_string()),
                Err(error) if error.is_disconnected() => return Err(error),
                Err(error) => {
                    tracing::warn!(set = %report.table, what = step.what(), %error, "a step of upkeep \
                        failed");
                    report.failed.push(Failed { what: step.what(), why: error.to_string() });
                    // The next one of its kind would most likely wait as long and fail as well.
                    stopped.push(kind);
                }
            }
        }
        Ok(report)
    }

    async fn planned(&self, session: &mut Session<'_>, only_health: bool) -> Result<Plan> {
        let (server, is_standby) = clock(session.client()).await?;
        let now = self.now.unwrap_or(server);
        let mut plan = Plan { at: now, is_standby, sets: Vec::new() };
        if is_standby && !only_health {
            return Ok(plan);
        }
        let names: Vec<TableName> = self.policy.sets.iter().map(|set| set.table.clone()).collect();
        let mut catalog = Catalog::read(session.client(), &names).await?;
        let parts = self.parts(&catalog);
        if !parts.is_empty() {
            let all: Vec<TableName> =
                names.into_iter().chain(parts.iter().map(|part| part.table.clone())).collect();
            catalog = Catalog::read(session.client(), &all).await?;
        }
        let differ = (server - Utc::now()).abs();
        let frame = Frame {
            policy: &self.policy,
            catalog: &catalog,
            now,
            clocks_agree: self.now.is_some() || differ < CLOCKS_AGREE,
            has_archive: self.archive.is_some(),
            only_health,
        };
        for number in 0..self.policy.sets.len() + parts.len() {
            let is_part = number >= self.policy.sets.len();
            let Some(policy) = self.policy.sets.iter().chain(&parts).nth(number) else { break };
            let table: Option<&Table> = catalog.tables.get(&policy.table);
            let set = SetPlan::make(session, &frame, policy, table).await?;
            // A part that needs nothing would only make the page longer.
            if !is_part || set.problem.is_some() || !set.steps.is_empty() || !set.health.is_well() {
                plan.sets.push(set);
            }
        }
        Ok(plan)
    }

    /// The policies of partitions that are partitioned again.
    fn parts(&self, catalog: &Catalog) -> Vec<SetPolicy> {
        let mut parts = Vec::new();
        for policy in self.policy.sets.iter().filter(|policy| policy.sub.is_some()) {
            let Some(table) = catalog.tables.get(&policy.table) else { continue };
            let children = catalog.children.get(&table.oid).into_iter().flatten();
            let divided = children
                .filter(|child| child.is_partitioned && !child.is_pending && child.owner == table.owner);
            parts.extend(divided.filter_map(|child| policy.of_partition(&child.name)));
        }
        parts
    }
}

impl std::fmt::Debug for Partitions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partitions").field("sets", &self.policy.sets.len()).finish_non_exhaustive()
    }
}

impl From<Plan> for Report {
    /// How the sets are, of a run that did nothing.
    fn from(plan: Plan) -> Self {
        let set = |set: SetPlan| SetReport {
            table: set.table,
            done: Vec::new(),
            failed: set.problem.into_iter().map(|why| Failed { what: "look".to_owned(), why }).collect(),
            health: set.health,
            notes: set.notes,
        };
        Report { is_led: false, is_standby: plan.is_standby, sets: plan.sets.into_iter().map(set).collect() }
    }
}

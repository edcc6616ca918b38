//! Makes a plain table a partitioned one while it is written to: the table itself becomes the first
//! partition.
//!
//! No row is moved, so none can be lost, doubled, or seen by a trigger. A validated CHECK proves that the
//! table fits its bounds and a unique index that its key does, both made beside the load; what is exclusive
//! is one swap of names. Each step looks whether it is done already, so a conversion that was killed goes on
//! where it was.

mod preflight;
mod state;
mod steps;

use std::fmt;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Serialize;
use tokio_postgres::Client;

use self::state::Facts;
use super::calendar::{Every, Span};
use super::cover::{Grid, Point};
use super::key::{Epoch, Key};
use crate::error::{MaintenanceError, Result};
use crate::lock::Leader;
use crate::name::{TableName, bounded, identifier};
use crate::session::{Patience, Session};

/// How a plain table becomes a partitioned one.
///
/// ```no_run
/// # async fn convert(client: &mut tokio_postgres::Client) -> db_maintenance::Result<()> {
/// use db_maintenance::partitions::{Conversion, Every};
///
/// let conversion = Conversion::new("app.events".parse()?, "created_at", Every::Month);
/// let plan = conversion.plan(client).await?;
/// println!("{plan}");
/// if plan.refusals.is_empty() {
///     conversion.apply(client).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Conversion {
    table: TableName,
    column: String,
    every: Every,
    epoch: Option<Epoch>,
    trusted_owners: Vec<String>,
    patience: Patience,
}

/// What a conversion would do, and why it may not.
///
/// ```
/// # fn show(plan: &db_maintenance::partitions::ConversionPlan) {
/// assert!(plan.refusals.is_empty(), "{plan}");
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ConversionPlan {
    /// The table.
    pub table: TableName,
    /// Why it is not done; each with the way out. None: it can be.
    pub refusals: Vec<String>,
    /// What will be different afterwards, for whoever reads the plan.
    pub notes: Vec<String>,
    /// What is still to be done, in this order; empty once it is done.
    pub steps: Vec<String>,
    /// Where the table that is there now will end as a partition.
    pub bound: Option<String>,
}

/// What a conversion did.
///
/// ```
/// # fn show(done: &db_maintenance::partitions::Converted) {
/// println!("{} is partitioned; its rows are in {}", done.table, done.partition);
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Converted {
    /// The partitioned table.
    pub table: TableName,
    /// The partition that holds the rows that were there.
    pub partition: TableName,
    /// The longest that a step held an exclusive lock on the table, once it had it.
    pub exclusive: Duration,
    /// The steps that this run took.
    pub done: Vec<String>,
}

/// A conversion waits longer for one lock than upkeep does, and never longer at once.
const PATIENCE: Patience =
    Patience { lock_timeout: Duration::from_millis(30), pause: Duration::from_millis(200), attempts: 500 };

/// A build beside the load waits for old transactions.
const WAITS: Duration = Duration::from_secs(3_600);

impl Conversion {
    /// Converts this table to one that is partitioned by ranges of this column.
    pub fn new(table: TableName, column: impl Into<String>, every: Every) -> Self {
        Conversion {
            table,
            column: column.into(),
            every,
            epoch: None,
            trusted_owners: Vec::new(),
            patience: PATIENCE,
        }
    }

    /// What the column counts, where it is a number.
    #[must_use]
    pub fn epoch(mut self, epoch: Epoch) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Owners of tables whose functions a superuser may run.
    #[must_use]
    pub fn trusted_owners(mut self, owners: Vec<String>) -> Self {
        self.trusted_owners = owners;
        self
    }

    /// How long each exclusive step waits for its lock.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// What would be done, and what speaks against it. It only reads.
    ///
    /// # Errors
    /// What the server says.
    pub async fn plan(&self, client: &mut Client) -> Result<ConversionPlan> {
        let mut session = Session::pin(client, self.patience).await?;
        let facts = Facts::read(session.client(), &self.table, &self.column).await?;
        self.planned(&mut session, &facts).await
    }

    /// Does what is still to be done.
    ///
    /// # Errors
    /// [`MaintenanceError::Refused`] with every reason, or where another maintainer is at work; what the
    /// server says. A run that failed or was killed left the table as usable as before, and the next one goes
    /// on.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a transaction open: close the connection.
    pub async fn apply(&self, client: &mut Client) -> Result<Converted> {
        let mut session = Session::pin(client, self.patience).await?;
        let Some(leader) = Leader::try_become(session.client()).await? else {
            return Err(MaintenanceError::refused(
                self.what(),
                "another maintainer is at work: try again later",
            ));
        };
        let done = self.lead(&mut session).await;
        leader.resign(session.client()).await;
        done
    }

    /// Undoes what was prepared, unless the swap is done.
    ///
    /// # Errors
    /// What the server says.
    ///
    /// # Cancel safety
    /// As [`Conversion::apply`].
    pub async fn abort(&self, client: &mut Client) -> Result<()> {
        let mut session = Session::pin(client, self.patience).await?;
        let facts = Facts::read(session.client(), &self.table, &self.column).await?;
        let (Some(table), None) = (&facts.plain, &facts.partitioned) else { return Ok(()) };
        session.may_act_as(&table.owner, &self.what(), &self.trusted_owners).await?;
        let (old, names) = (self.table.quoted(), self.names());
        let mut sql = Vec::new();
        if facts.mark.is_some() {
            sql.push(format!("DROP TABLE {}", names.parent.quoted()));
        }
        if facts.check.is_some() {
            sql.push(format!("ALTER TABLE {old} DROP CONSTRAINT {}", identifier(&names.check)));
        }
        session.step(&self.what(), Some(&table.owner), &sql, None).await?;
        if facts.index.is_some() {
            let index = TableName::new(&self.table.schema, &names.index).quoted();
            let sql = format!("DROP INDEX CONCURRENTLY {index}");
            session.at_length(&self.what(), Some(&table.owner), &sql, WAITS).await?;
        }
        Ok(())
    }

    fn what(&self) -> String {
        format!("convert {}", self.table)
    }

    fn names(&self) -> state::Names {
        state::Names::of(&self.table)
    }

    async fn planned(&self, session: &mut Session<'_>, facts: &Facts) -> Result<ConversionPlan> {
        let mut plan = ConversionPlan {
            table: self.table.clone(),
            refusals: Vec::new(),
            notes: Vec::new(),
            steps: Vec::new(),
            bound: facts.mark.as_ref().map(|mark| mark.bound.clone()),
        };
        if facts.is_done() {
            return Ok(plan);
        }
        plan.refusals =
            preflight::refusals(session, facts, &self.table, &self.column, &self.trusted_owners).await?;
        let Some(table) = &facts.plain else { return Ok(plan) };
        let key = match Key::of(table.key_type.as_deref().unwrap_or_default(), self.epoch) {
            Ok(key) => key,
            Err(why) => {
                plan.refusals.push(why);
                return Ok(plan);
            }
        };
        plan.notes = preflight::notes(facts, &self.column);
        if plan.refusals.is_empty() {
            match self.bound(session, facts, key).await? {
                Ok(bound) => plan.bound = Some(bound.text),
                Err(why) => plan.refusals.push(why),
            }
        }
        plan.steps = self.steps(facts).iter().map(|step| self.said(*step)).collect();
        Ok(plan)
    }

    fn grid(&self, key: Key) -> Grid {
        Grid {
            every: self.every,
            ahead: Span { count: 1, unit: self.every },
            zone: chrono_tz::Tz::UTC,
            key,
            most_new: 10,
        }
    }

    /// Where the table ends as a partition: after every row that it has, and an interval later, so that no
    /// writer meets it.
    async fn bound(
        &self,
        session: &mut Session<'_>,
        facts: &Facts,
        key: Key,
    ) -> Result<Result<Point, String>> {
        let grid = self.grid(key);
        let now = super::catalog::clock(session.client()).await?.0;
        let point = |at: DateTime<Utc>| Point { at, text: key.text(at, grid.zone) };
        if let Some(mark) = &facts.mark {
            let at = key.time(&mark.bound, grid.zone).filter(|at| *at > now);
            let late =
                "it was prepared so long ago that its bound is in the past: abort it, and convert again";
            return Ok(at.map(|at| Point { at, text: mark.bound.clone() }).ok_or_else(|| late.to_owned()));
        }
        let Some(table) = &facts.plain else { return Ok(Err("there is no such table".to_owned())) };
        let sql = format!("SELECT max({})::text FROM {}", identifier(&self.column), self.table.quoted());
        let row = session.look(&table.owner, &sql).await?;
        let newest: Option<String> = row.map(|row| row.try_get(0)).transpose()?.flatten();
        let newest = newest.and_then(|text| key.time(&text, grid.zone)).unwrap_or(now).max(now);
        let far = Span { count: 24, unit: self.every }.ahead_of(now, grid.zone);
        if far.is_none_or(|far| newest > far) {
            let why = format!(
                "its newest {} is {}: a partition up to there would take in what comes for years; mend \
                 the rows first",
                self.column,
                key.text(newest, grid.zone)
            );
            return Ok(Err(why));
        }
        let first = self.every.next(newest, grid.zone);
        let bound = first.and_then(|first| self.every.next(first, grid.zone));
        Ok(bound.map(point).ok_or_else(|| "the calendar ends before its bound".to_owned()))
    }

    fn steps(&self, facts: &Facts) -> Vec<Todo> {
        let mut steps = Vec::new();
        if facts.mark.is_none() {
            steps.push(Todo::Prepare);
        }
        match facts.check {
            None => steps.extend([Todo::Check, Todo::Validate]),
            Some(false) => steps.push(Todo::Validate),
            Some(true) => {}
        }
        if facts.needs_index() && facts.index != Some(true) {
            steps.push(Todo::Index);
        }
        steps.push(Todo::Swap);
        steps
    }

    fn said(&self, step: Todo) -> String {
        let names = self.names();
        match step {
            Todo::Prepare => format!("make {} beside it, with its next partition", names.parent),
            Todo::Check => format!("add CHECK {}, not validated (a moment's exclusive lock)", names.check),
            Todo::Validate => format!("validate {} beside the load", names.check),
            Todo::Index => format!("build the unique index {} beside the load", names.index),
            Todo::Swap => {
                format!(
                    "swap: {} becomes a partition called {} (one exclusive lock)",
                    self.table, names.partition
                )
            }
        }
    }

    async fn lead(&self, session: &mut Session<'_>) -> Result<Converted> {
        let mut converted = Converted {
            table: self.table.clone(),
            partition: self.names().partition,
            exclusive: Duration::ZERO,
            done: Vec::new(),
        };
        loop {
            let facts = Facts::read(session.client(), &self.table, &self.column).await?;
            if facts.is_done() {
                self.tidy(session, &facts).await?;
                return Ok(converted);
            }
            let plan = self.planned(session, &facts).await?;
            if !plan.refusals.is_empty() {
                return Err(MaintenanceError::refused(self.what(), plan.refusals.join("; ")));
            }
            let (Some(table), Some(step)) = (&facts.plain, self.steps(&facts).first().copied()) else {
                return Err(MaintenanceError::refused(self.what(), "there is no such table"));
            };
            let key = Key::of(table.key_type.as_deref().unwrap_or_default(), self.epoch)
                .map_err(|why| MaintenanceError::refused(self.what(), why))?;
            let bound = self.bound(session, &facts, key).await?;
            let bound = bound.map_err(|why| MaintenanceError::refused(self.what(), why))?;
            let began = Instant::now();
            let exclusive = match step {
                Todo::Prepare => {
                    self.prepare(session, &facts, &bound, key).await?;
                    Duration::ZERO
                }
                Todo::Check => self.check(session, &facts, &bound).await?,
                Todo::Validate => {
                    let sql = format!(
                        "ALTER TABLE {} VALIDATE CONSTRAINT {}",
                        self.table.quoted(),
                        identifier(&self.names().check)
                    );
                    session.at_length(&self.what(), Some(&table.owner), &sql, WAITS).await?;
                    Duration::ZERO
                }
                Todo::Index => {
                    self.index(session, &facts).await?;
                    Duration::ZERO
                }
                Todo::Swap => self.swap(session, &facts, &bound).await?,
            };
            tracing::info!(table = %self.table, took = ?began.elapsed(), "{}", self.said(step));
            converted.exclusive = converted.exclusive.max(exclusive);
            converted.done.push(self.said(step));
        }
    }
}

/// What is still to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    Prepare,
    Check,
    Validate,
    Index,
    Swap,
}

impl fmt::Display for ConversionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for why in &self.refusals {
            writeln!(f, "refused: {why}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if let Some(bound) = &self.bound {
            writeln!(f, "the rows that are there become one partition, up to {bound}")?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{}. {step}", number + 1)?;
        }
        match (self.steps.is_empty(), self.refusals.is_empty()) {
            (true, true) => write!(f, "{} is partitioned", self.table),
            (_, false) => write!(f, "{} cannot be converted as it is", self.table),
            (false, true) => write!(f, "{} can be converted", self.table),
        }
    }
}

impl state::Names {
    fn of(table: &TableName) -> Self {
        let named = |tail: &str| bounded(&table.name, tail);
        state::Names {
            parent: TableName::new(&table.schema, named("_dbm_partitioned")),
            partition: TableName::new(&table.schema, named("_p_first")),
            check: named("_dbm_bound"),
            index: named("_dbm_key"),
        }
    }
}

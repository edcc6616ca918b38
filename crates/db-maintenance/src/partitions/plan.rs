//! What there is to do for each set, from its policy, the catalog and the server's clock. It only reads.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::bound::Bounds;
use super::catalog::{Catalog, Child, Table};
use super::cover::{Edge, Grid, Range, covered_until, holes, shown};
use super::health::Health;
use super::new_tables::{divided, names, tail};
use super::policy::{Policy, Scheme, SetPolicy};
use super::siblings::Carried;
use super::slices::{key_of, newest, slices};
use super::step::{New, Step, Target, hash, list, range};
use super::{drain, retention};
use crate::error::{MaintenanceError, Result};
use crate::name::TableName;
use crate::session::Session;

/// What there is to do.
///
/// ```
/// # fn show(plan: &db_maintenance::partitions::Plan) {
/// println!("{plan}");
/// assert!(plan.steps() > 0 || plan.is_clean());
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// The server's clock when the plan was made.
    pub at: DateTime<Utc>,
    /// Whether the server is a standby, where nothing can be done.
    pub is_standby: bool,
    /// The sets, in the order of the policy; a set that is divided again is followed by its parts that need
    /// something.
    pub sets: Vec<SetPlan>,
}

/// What there is to do for one set.
///
/// ```
/// # fn show(plan: &db_maintenance::partitions::SetPlan) {
/// for held in &plan.held {
///     println!("{} stays: {}", held.partition, held.why);
/// }
/// # }
/// ```
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SetPlan {
    /// The set.
    pub table: TableName,
    /// How it is.
    pub health: Health,
    /// What is to be done, in this order.
    pub steps: Vec<Step>,
    /// What is due and is not done, and why.
    pub held: Vec<Held>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Why nothing can be done for this set.
    pub problem: Option<String>,
    /// Who owns it: steps are taken as that role.
    #[serde(skip)]
    pub(crate) owner: String,
}

/// A partition that has outlived its rows, or a table that is to be dropped, and stays.
///
/// ```
/// # fn show(held: &db_maintenance::partitions::Held) {
/// println!("{}: {}", held.partition, held.why);
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Held {
    /// The table.
    pub partition: TableName,
    /// Why it stays, and what would let it go.
    pub why: String,
}

impl Plan {
    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.sets.iter().map(|set| set.steps.len()).sum()
    }

    /// Whether there is nothing to do, and nothing that a person must see to.
    pub fn is_clean(&self) -> bool {
        self.sets.iter().all(|set| set.steps.is_empty() && set.problem.is_none() && set.health.is_well())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_standby {
            return f.write_str("this server is a standby: nothing can be done here");
        }
        for set in &self.sets {
            match &set.problem {
                Some(why) => writeln!(f, "{}: {why}", set.table)?,
                None => writeln!(f, "{}: {}", set.table, set.health)?,
            }
            for step in &set.steps {
                writeln!(f, "  {step}")?;
            }
            for held in &set.held {
                writeln!(f, "  {} stays: {}", held.partition, held.why)?;
            }
            for note in &set.notes {
                writeln!(f, "  note: {note}")?;
            }
        }
        write!(f, "{} steps for {} sets", self.steps(), self.sets.len())
    }
}

/// What is the same for all sets of one plan.
pub(crate) struct Frame<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) catalog: &'a Catalog,
    pub(crate) now: DateTime<Utc>,
    /// Whether the server's clock and this host's agree so far that rows may be taken out.
    pub(crate) clocks_agree: bool,
    pub(crate) has_archive: bool,
    /// Whether only health is wanted.
    pub(crate) only_health: bool,
}

impl SetPlan {
    fn of(table: &TableName) -> Self {
        SetPlan {
            table: table.clone(),
            health: Health::default(),
            steps: Vec::new(),
            held: Vec::new(),
            notes: Vec::new(),
            problem: None,
            owner: String::new(),
        }
    }

    /// The plan of one set; what is wrong with it is its problem alone.
    pub(crate) async fn make(
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: Option<&Table>,
    ) -> Result<Self> {
        let mut plan = SetPlan::of(&policy.table);
        match plan.fill(session, frame, policy, table).await {
            Err(error) if error.is_disconnected() => return Err(error),
            Err(error) => {
                plan.problem = Some(error.to_string());
                plan.steps.clear();
            }
            Ok(()) => {}
        }
        Ok(plan)
    }

    async fn fill(
        &mut self,
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: Option<&Table>,
    ) -> Result<()> {
        let refused = |why: &str| MaintenanceError::refused("upkeep", why);
        let table = table.ok_or_else(|| refused("there is no such table"))?;
        if table.is_temporary {
            return Err(refused("it is a temporary table"));
        }
        self.owner.clone_from(&table.owner);
        session.may_act_as(&table.owner, "upkeep", &frame.policy.trusted_owners).await?;
        let none = Vec::new();
        let children = frame.catalog.children.get(&table.oid).unwrap_or(&none);
        self.look(frame, table, children);
        match (policy.scheme()?, table.strategy.as_deref()) {
            (_, None) => Err(refused("it is not partitioned: `dbctl partitions convert` converts a table")),
            (Scheme::Range { every, ahead }, Some("r")) => {
                let (column, key) = key_of(table, policy)?;
                let most_new = usize::try_from(policy.most_new).unwrap_or(usize::MAX);
                let grid = Grid { every, ahead, zone: policy.zone, key, most_new };
                self.by_time(session, frame, policy, table, children, &column, grid).await
            }
            (Scheme::List(wanted), Some("l")) => {
                self.by_list(session, frame, policy, table, children, wanted).await
            }
            (Scheme::Hash(modulus), Some("h")) => {
                self.by_hash(session, frame, policy, table, children, modulus).await
            }
            (_, Some(strategy)) => {
                let by = match strategy {
                    "r" => "range",
                    "l" => "list",
                    _ => "hash",
                };
                Err(refused(&format!("it is partitioned by {by}, and its policy says otherwise")))
            }
        }
    }

    /// What is seen whatever the set is divided by.
    fn look(&mut self, frame: &Frame<'_>, table: &Table, children: &[Child]) {
        self.health.partitions = children.len();
        let default = children.iter().find(|child| child.bounds == Some(Bounds::Default));
        self.health.default = default.map(|child| child.name.clone());
        for child in children.iter().filter(|child| child.is_pending) {
            self.health.pending.push(child.name.clone());
            let ours = child.mark.as_ref().is_some_and(|mark| mark.parent == table.oid)
                && child.owner == table.owner;
            if ours {
                let target = Target { child: child.clone(), parent: table.name.clone() };
                self.steps.push(Step::Finalize { partition: child.name.clone(), target });
            } else {
                self.notes.push(format!(
                    "somebody's DETACH CONCURRENTLY of {} was interrupted: ALTER TABLE {} DETACH \
                     PARTITION {} FINALIZE",
                    child.name,
                    table.name.quoted(),
                    child.name.quoted()
                ));
            }
        }
        let detached = frame.catalog.detached.get(&table.oid).into_iter().flatten();
        self.health.detached = detached.map(|child| child.name.clone()).collect();
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is read before, and none of it belongs together"
    )]
    async fn by_time(
        &mut self,
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: &Table,
        children: &[Child],
        column: &str,
        grid: Grid,
    ) -> Result<()> {
        let slices = slices(children, &grid)?;
        let ranges: Vec<Range> = slices.iter().map(|slice| slice.range.clone()).collect();
        let end = covered_until(&ranges, frame.now);
        self.health.next_insert_fails_at = match &end {
            Some(Edge::Highest) => None,
            Some(end) => Some(end.time()),
            None => Some(frame.now),
        };
        if self.health.default.is_some() {
            // A row without a partition has the default one.
            self.health.next_insert_fails_at = None;
        }
        let ahead = end.as_ref().map_or(frame.now, Edge::time) - frame.now;
        self.health.ahead_seconds = (end != Some(Edge::Highest)).then_some(ahead.num_seconds());
        let wanted = grid.ahead.ahead_of(frame.now, grid.zone).map(|until| until - frame.now);
        self.health.wanted_ahead_seconds = wanted.map_or(0, |wanted| wanted.num_seconds());
        self.health.holes =
            holes(&ranges).iter().map(|(from, to)| format!("{} to {}", shown(from), shown(to))).collect();
        let default = children.iter().find(|child| child.bounds == Some(Bounds::Default));
        if let Some(default) = default {
            self.health.rows_in_default = drain::rows_in(session, &table.owner, default).await?;
        }
        if frame.only_health {
            return Ok(());
        }
        if default.is_some() {
            self.notes.push(
                "it has a default partition: nothing is detached without an exclusive lock, and rows that \
                 come early or late \
                 go there in silence"
                    .to_owned(),
            );
        }
        let missing = grid.missing(&ranges, frame.now);
        let is_needed = !missing.new.is_empty() || self.health.rows_in_default > 0;
        let sibling = newest(&slices, &table.owner).filter(|_| is_needed);
        let carried = self.carried(session, sibling).await?;
        self.notes.extend(missing.notes);
        let mut new = missing.new;
        if let (Some(default), true) = (default, self.health.rows_in_default > 0) {
            let asked =
                drain::Asked { table, default, column, grid: &grid, ranges: &ranges, drains: policy.drain };
            let found = drain::look(session, &asked, &mut new, frame.now).await?;
            self.notes.extend(found.notes);
            for (from, to, rows) in found.drains {
                let names = names(session, table, &[tail(&from, &grid)]).await?;
                let bounds = range(&from.text, &to.text);
                let step =
                    drain::step(session, &asked, &names[0], (&from, &to), &bounds, rows, &carried).await?;
                self.steps.push(step);
            }
        }
        let tails: Vec<String> = new.iter().map(|(from, _)| tail(from, &grid)).collect();
        let bounds: Vec<String> = new.iter().map(|(from, to)| range(&from.text, &to.text)).collect();
        self.creates(session, frame, policy, table, &tails, &bounds, &carried).await?;
        self.divided_again(frame, policy, children);
        retention::look(session, frame, policy, table, &slices, column, &grid, self).await
    }

    async fn carried(&mut self, session: &mut Session<'_>, sibling: Option<&Child>) -> Result<Carried> {
        let Some(sibling) = sibling else { return Ok(Carried::default()) };
        Carried::read(session.client(), sibling.oid, &sibling.name.to_string()).await
    }

    /// The steps that make partitions with these bounds.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it is read before, and none of it belongs together"
    )]
    async fn creates(
        &mut self,
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: &Table,
        tails: &[String],
        bounds: &[String],
        carried: &Carried,
    ) -> Result<()> {
        if bounds.is_empty() {
            return Ok(());
        }
        self.notes.extend(carried.notes.iter().cloned());
        for (name, bounds) in names(session, table, tails).await?.iter().zip(bounds) {
            let sub = match policy.of_partition(name) {
                Some(sub) => Some(divided(session, &sub, policy, table, name, frame.now).await?),
                None => None,
            };
            let divided = sub.as_ref().map(|(by, parts)| (by.as_str(), parts.as_slice()));
            let new = New { parent: table, name, bounds, carried, divided };
            let statements = [vec![new.locks()], new.makes(), vec![new.attach()]].concat();
            let divided = sub.iter().flat_map(|(_, parts)| parts).map(|(name, _)| name.clone()).collect();
            let (partition, bounds) = (name.clone(), bounds.clone());
            self.steps.push(Step::Create { partition, bounds, divided, statements, parent: table.oid });
        }
        Ok(())
    }

    /// Names partitions that should be divided again and are not.
    fn divided_again(&mut self, frame: &Frame<'_>, policy: &SetPolicy, children: &[Child]) {
        if policy.sub.is_none() || frame.only_health {
            return;
        }
        let plain =
            children.iter().filter(|child| !child.is_partitioned && child.bounds != Some(Bounds::Default));
        let plain: Vec<String> = plain.map(|child| child.name.to_string()).collect();
        if !plain.is_empty() {
            self.notes.push(format!("not divided again, as the policy says: {}", plain.join(", ")));
        }
    }

    async fn by_list(
        &mut self,
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: &Table,
        children: &[Child],
        wanted: Vec<Vec<String>>,
    ) -> Result<()> {
        let there: Vec<&str> = children
            .iter()
            .filter_map(|child| match &child.bounds {
                Some(Bounds::List(values)) => Some(values.iter().flatten().map(String::as_str)),
                _ => None,
            })
            .flatten()
            .collect();
        let (mut tails, mut bounds) = (Vec::new(), Vec::new());
        for values in &wanted {
            let new: Vec<String> =
                values.iter().filter(|value| !there.contains(&value.as_str())).cloned().collect();
            let Some(first) = new.first() else { continue };
            if new.len() < values.len() {
                self.notes.push(format!(
                    "{} of {} values of one partition of the policy are in other partitions: the rest \
                     gets one of its own",
                    values.len() - new.len(),
                    values.len()
                ));
            }
            self.health.missing.extend(new.iter().cloned());
            let word: String = first.chars().filter(char::is_ascii_alphanumeric).take(20).collect();
            tails.push(format!("_l_{}", word.to_lowercase()));
            bounds.push(list(&new));
        }
        self.finish(session, frame, policy, table, children, (tails, bounds)).await
    }

    async fn by_hash(
        &mut self,
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: &Table,
        children: &[Child],
        modulus: u32,
    ) -> Result<()> {
        let (mut tails, mut bounds) = (Vec::new(), Vec::new());
        for remainder in 0..modulus {
            // Of two moduli in one set the smaller divides the greater: what falls into both is told by the
            // smaller.
            let is_there = children.iter().any(|child| match child.bounds {
                Some(Bounds::Hash { modulus: other, remainder: rest }) => {
                    let smaller = modulus.min(other).max(1);
                    remainder % smaller == rest % smaller
                }
                _ => false,
            });
            if !is_there {
                self.health.missing.push(format!("remainder {remainder} of {modulus}"));
                tails.push(format!("_h{remainder}"));
                bounds.push(hash(modulus, remainder));
            }
        }
        self.finish(session, frame, policy, table, children, (tails, bounds)).await
    }

    async fn finish(
        &mut self,
        session: &mut Session<'_>,
        frame: &Frame<'_>,
        policy: &SetPolicy,
        table: &Table,
        children: &[Child],
        (tails, bounds): (Vec<String>, Vec<String>),
    ) -> Result<()> {
        let default = children.iter().find(|child| child.bounds == Some(Bounds::Default));
        if let Some(default) = default {
            self.health.rows_in_default = drain::rows_in(session, &table.owner, default).await?;
            self.health.missing.clear();
        }
        if frame.only_health {
            return Ok(());
        }
        let is_model =
            |child: &&Child| child.owner == table.owner && !child.is_partitioned && !bounds.is_empty();
        let sibling = children.iter().rev().find(is_model);
        let carried = self.carried(session, sibling).await?;
        self.creates(session, frame, policy, table, &tails, &bounds, &carried).await?;
        self.divided_again(frame, policy, children);
        Ok(())
    }
}

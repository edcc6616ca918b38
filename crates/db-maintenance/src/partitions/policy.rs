//! What is kept in partitions, by which rule, and for how long: in TOML or in Rust.

use std::collections::HashSet;
use std::path::Path;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::calendar::{Every, Span};
use super::key::Epoch;
use crate::error::{MaintenanceError, Result};
use crate::name::TableName;

/// The sets of partitions of one database.
///
/// ```
/// use db_maintenance::partitions::Policy;
///
/// let policy = Policy::parse("policy.toml", r#"
///     [[set]]
///     table = "app.events"
///     every = "month"
///     ahead = "3 months"
///     retain = "12 months"
/// "#)?;
/// assert_eq!(policy.sets[0].table.to_string(), "app.events");
/// # Ok::<(), db_maintenance::MaintenanceError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Owners of tables whose functions a superuser may run; a role that is no superuser needs none.
    #[serde(default)]
    pub trusted_owners: Vec<String>,
    /// The sets.
    #[serde(default, rename = "set")]
    pub sets: Vec<SetPolicy>,
}

/// How one partitioned table is kept.
///
/// ```
/// use db_maintenance::partitions::{Every, SetPolicy};
///
/// let events = SetPolicy {
///     retain: "12 months".parse().ok(),
///     ..SetPolicy::by_time("app.events".parse()?, Every::Month, "3 months")?
/// };
/// assert_eq!(events.ahead.map(|span| span.count), Some(3));
/// # Ok::<(), db_maintenance::MaintenanceError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetPolicy {
    /// The partitioned table.
    pub table: TableName,
    /// How long a partition lasts. This, `list` or `modulus` is given.
    #[serde(default)]
    pub every: Option<Every>,
    /// How far ahead of now there are partitions; a month where nothing is said, and at least one partition.
    #[serde(default)]
    pub ahead: Option<Span>,
    /// In which zone days begin. Where it changes, the next partition begins where the last one ends.
    #[serde(default = "utc")]
    pub zone: Tz,
    /// What a key that is a number counts.
    #[serde(default)]
    pub epoch: Option<Epoch>,
    /// How long rows are kept; without it for ever. A partition goes when its upper bound is older than this.
    #[serde(default)]
    pub retain: Option<Span>,
    /// How long a partition that was detached stays a table; `7 days` where nothing is said.
    #[serde(default = "a_week")]
    pub drop_after: Span,
    /// Whether a partition is dropped only after its rows were archived and read back.
    #[serde(default)]
    pub archive: bool,
    /// Tables made from these rows: a partition stays until each has covered it.
    #[serde(default)]
    pub summaries: Vec<Summary>,
    /// The values of each partition of a list.
    #[serde(default)]
    pub list: Vec<Vec<String>>,
    /// The number of partitions by hash.
    #[serde(default)]
    pub modulus: Option<u32>,
    /// How each partition is divided again.
    #[serde(default)]
    pub sub: Option<Box<SubPolicy>>,
    /// Whether rows in an existing default partition are moved where they belong.
    #[serde(default)]
    pub drain: bool,
    /// At most this many partitions are made in one run, so that an absurd clock or value makes no flood.
    #[serde(default = "a_hundred")]
    pub most_new: u32,
}

/// How each partition of a set is divided again.
///
/// ```
/// let sub: db_maintenance::partitions::SubPolicy = toml::from_str(r#"column = "tenant"
/// modulus = 4"#).unwrap();
/// assert_eq!(sub.modulus, Some(4));
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubPolicy {
    /// The column by which.
    pub column: String,
    /// As in [`SetPolicy`].
    #[serde(default)]
    pub every: Option<Every>,
    /// As in [`SetPolicy`].
    #[serde(default)]
    pub ahead: Option<Span>,
    /// As in [`SetPolicy`].
    #[serde(default)]
    pub epoch: Option<Epoch>,
    /// As in [`SetPolicy`].
    #[serde(default)]
    pub list: Vec<Vec<String>>,
    /// As in [`SetPolicy`].
    #[serde(default)]
    pub modulus: Option<u32>,
}

/// A table that is made from a set's rows.
///
/// ```
/// let daily: db_maintenance::partitions::Summary = toml::from_str(r#"table = "app.daily"
/// column = "until""#).unwrap();
/// assert_eq!(daily.table.name, "daily");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// The table; a materialized view too.
    pub table: TableName,
    /// A column of the key's type whose greatest value says up to where rows are covered.
    pub column: String,
}

/// By what a set is divided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scheme {
    Range { every: Every, ahead: Span },
    List(Vec<Vec<String>>),
    Hash(u32),
}

fn utc() -> Tz {
    Tz::UTC
}

fn a_week() -> Span {
    Span { count: 7, unit: Every::Day }
}

fn a_hundred() -> u32 {
    100
}

impl Policy {
    /// Reads a policy's text; `place` is what an error calls it.
    ///
    /// # Errors
    /// [`MaintenanceError::Policy`] with what is wrong and where.
    pub fn parse(place: &str, text: &str) -> Result<Self> {
        let policy: Policy = toml::from_str(text)
            .map_err(|error| MaintenanceError::policy(place, error.to_string().trim()))?;
        policy.check()?;
        Ok(policy)
    }

    /// Reads a policy's file. One that anybody may write is refused: it decides what is dropped.
    ///
    /// # Errors
    /// [`MaintenanceError::File`], and as [`Policy::parse`].
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |source| MaintenanceError::File { path: path.to_owned(), source };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
            if mode & 0o002 != 0 {
                let why = "everybody on this machine may write it, and it decides what is dropped: chmod o-w";
                return Err(MaintenanceError::policy(path.display(), why));
            }
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Policy::parse(&path.display().to_string(), &text)
    }

    /// Fails where the policy contradicts itself.
    ///
    /// # Errors
    /// [`MaintenanceError::Policy`].
    pub fn check(&self) -> Result<()> {
        let mut known = HashSet::new();
        for set in &self.sets {
            if !known.insert(&set.table) {
                return Err(MaintenanceError::policy(&set.table, "it has two policies: keep one"));
            }
            set.scheme()?;
            if let Some(sub) = &set.sub {
                sub.scheme(&set.table)?;
            }
            let by_time = set.every.is_some();
            if !by_time && (set.retain.is_some() || set.drain || !set.summaries.is_empty()) {
                let why = "retain, drain and summaries go by time: only a set with every has them";
                return Err(MaintenanceError::policy(&set.table, why));
            }
        }
        Ok(())
    }
}

impl SetPolicy {
    /// A set by time, so far ahead, that keeps its rows for ever.
    ///
    /// # Errors
    /// [`MaintenanceError::Policy`] where `ahead` is no span of time.
    pub fn by_time(table: TableName, every: Every, ahead: &str) -> Result<Self> {
        let ahead = ahead.parse().map_err(|why: String| MaintenanceError::policy(&table, why))?;
        Ok(SetPolicy { every: Some(every), ahead: Some(ahead), ..SetPolicy::of(table) })
    }

    /// A set by lists of values.
    pub fn by_list(table: TableName, list: Vec<Vec<String>>) -> Self {
        SetPolicy { list, ..SetPolicy::of(table) }
    }

    /// A set by hash.
    pub fn by_hash(table: TableName, modulus: u32) -> Self {
        SetPolicy { modulus: Some(modulus), ..SetPolicy::of(table) }
    }

    fn of(table: TableName) -> Self {
        SetPolicy {
            table,
            every: None,
            ahead: None,
            zone: utc(),
            epoch: None,
            retain: None,
            drop_after: a_week(),
            archive: false,
            summaries: Vec::new(),
            list: Vec::new(),
            modulus: None,
            sub: None,
            drain: false,
            most_new: a_hundred(),
        }
    }

    pub(crate) fn scheme(&self) -> Result<Scheme> {
        scheme(&self.table, self.every, self.ahead, &self.list, self.modulus)
    }

    /// The policy of one partition of this set, where partitions are divided again.
    pub(crate) fn of_partition(&self, partition: &TableName) -> Option<SetPolicy> {
        let sub = self.sub.as_deref()?;
        Some(SetPolicy {
            every: sub.every,
            ahead: sub.ahead,
            epoch: sub.epoch,
            list: sub.list.clone(),
            modulus: sub.modulus,
            zone: self.zone,
            most_new: self.most_new,
            ..SetPolicy::of(partition.clone())
        })
    }
}

impl SubPolicy {
    pub(crate) fn scheme(&self, table: &TableName) -> Result<Scheme> {
        scheme(table, self.every, self.ahead, &self.list, self.modulus)
    }
}

fn scheme(
    table: &TableName,
    every: Option<Every>,
    ahead: Option<Span>,
    list: &[Vec<String>],
    modulus: Option<u32>,
) -> Result<Scheme> {
    let why = match (every, list, modulus) {
        (Some(every), [], None) => {
            return Ok(Scheme::Range {
                every,
                ahead: ahead.unwrap_or(Span { count: 1, unit: Every::Month }),
            });
        }
        (None, [_, ..], None) => {
            let mut known = HashSet::new();
            match list.iter().flatten().find(|value| !known.insert(*value)) {
                Some(_) => "a value is in two partitions of the list",
                None if list.iter().any(Vec::is_empty) => "a partition of the list has no value",
                None => return Ok(Scheme::List(list.to_vec())),
            }
        }
        (None, [], Some(0)) => "modulus is at least 1",
        (None, [], Some(modulus)) if modulus <= 1_000 => return Ok(Scheme::Hash(modulus)),
        (None, [], Some(_)) => "modulus is at most 1000",
        (None, [], None) => "say every for ranges of time, list for values, or modulus for a hash",
        _ => "only one of every, list and modulus can be said",
    };
    Err(MaintenanceError::policy(table, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_cannot_mean_is_refused_with_the_way_out() {
        let wrong = [
            ("table = \"a.b\"", "say every"),
            ("table = \"a.b\"\nevery = \"hour\"", "every"),
            ("table = \"a.b\"\nevery = \"day\"\nmodulus = 2", "only one of"),
            ("table = \"a.b\"\nmodulus = 0", "at least 1"),
            ("table = \"a.b\"\nmodulus = 2\nretain = \"1 day\"", "go by time"),
            ("table = \"a.b\"\nlist = [[\"x\"], [\"x\"]]", "in two partitions"),
            ("table = \"b\"\nmodulus = 2", "names no table"),
            ("table = \"a.b\"\nmodulus = 2\nretian = \"1 day\"", "retian"),
            ("table = \"a.b\"\nevery = \"day\"\nretain = \"1 fortnight\"", "span of time"),
            ("table = \"a.b\"\nevery = \"day\"\nzone = \"Berlin\"", "zone"),
        ];
        for (text, part) in wrong {
            let said = Policy::parse("p.toml", &format!("[[set]]\n{text}")).unwrap_err().to_string();
            assert!(said.contains(part), "{text}: {said}");
        }
        let twice = "[[set]]\ntable = \"a.b\"\nmodulus = 2\n[[set]]\ntable = \"a.B\"\nmodulus = 2";
        assert!(Policy::parse("p.toml", twice).unwrap_err().to_string().contains("two policies"));
    }
}

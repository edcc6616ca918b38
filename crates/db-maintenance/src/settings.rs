//! The settings of partitions and of routine upkeep: described, and read into [`PartitionSettings`] and
//! [`UpkeepSettings`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use db_core::settings::{FromSettings, Group, Reader, Setting, Text};
use db_schedule::Cron;

use crate::error::MaintenanceError;
use crate::partitions::{CommandArchive, DirectoryArchive, Partitions, Policy};
use crate::routine::Routine;

const ENABLED: Setting<bool> = Setting {
    name: "PARTITIONING_ENABLED",
    aliases: &[],
    meaning: "Whether partitions are kept as `PARTITION_POLICY` says; false leaves them alone.",
    default: [true; 4],
    min: false,
    max: true,
    unit_required: &[],
};
const POLICY: Text = Text {
    name: "PARTITION_POLICY",
    aliases: &[],
    meaning: "The file, in TOML, that says which tables are kept in partitions, by which rule, and for \
        how long.",
    default: "none: no partitions are kept",
};
const SCHEDULE: Text = Text {
    name: "PARTITION_MAINTENANCE_SCHEDULE",
    aliases: &[],
    meaning: "When partitions are made, and taken out: a cron expression in UTC, as in `17 * * * *`; \
        `off` for by command only.",
    default: "`17 * * * *` where `PARTITION_POLICY` is set",
};
const ARCHIVE: Text = Text {
    name: "PARTITION_ARCHIVE_DIR",
    aliases: &[],
    meaning: "The directory of this host where the rows of partitions go before they are dropped, for \
        sets with `archive`.",
    default: "none",
};
const STORE: Text = Text {
    name: "PARTITION_ARCHIVE_COMMAND",
    aliases: &[],
    meaning: "In place of `PARTITION_ARCHIVE_DIR`: a command of the shell that keeps what it reads on \
      standard \
        input under the name `$ARCHIVE_NAME`, as in `aws s3 cp - \"s3://archive/$ARCHIVE_NAME\"`.",
    default: "none",
};
const READ: Text = Text {
    name: "PARTITION_ARCHIVE_READ_COMMAND",
    aliases: &[],
    meaning: "The command that writes to standard output what is kept under `$ARCHIVE_NAME`: rows are read \
      back \
        before their table is dropped.",
    default: "none; needed with `PARTITION_ARCHIVE_COMMAND`",
};

const PARTITIONS: Group = Group {
    title: "Partitions",
    settings: &[&ENABLED, &POLICY, &SCHEDULE, &ARCHIVE, &STORE, &READ],
    elsewhere: &[],
};

const UPKEEP_SCHEDULE: Text = Text {
    name: "MAINTENANCE_SCHEDULE",
    aliases: &[],
    meaning: "When routine upkeep runs (vacuum, statistics, indexes, bloat, materialized views): a cron \
        expression in UTC, as in `0 2 * * *`; `off` for by command only.",
    default: "`off`",
};
const BUDGET: Setting<Duration> = Setting {
    name: "MAINTENANCE_BUDGET",
    aliases: &[],
    meaning: "How long one run of routine upkeep may take; what is left waits for the next one.",
    default: [Duration::from_secs(3_600); 4],
    min: Duration::from_secs(10),
    max: Duration::from_secs(86_400),
    unit_required: &["MAINTENANCE_BUDGET"],
};
const TRUSTED: Text = Text {
    name: "MAINTENANCE_TRUSTED_OWNERS",
    aliases: &[],
    meaning: "Roles, with commas between them, whose functions routine upkeep may run where it logs in as a \
        superuser; a role that is no superuser needs none.",
    default: "none",
};

const ROUTINE: Group =
    Group { title: "Routine upkeep", settings: &[&UPKEEP_SCHEDULE, &BUDGET, &TRUSTED], elsewhere: &[] };

/// When routine upkeep runs, and for how long.
///
/// ```
/// use db_core::settings::{FromSettings, Reader};
/// use db_maintenance::UpkeepSettings;
///
/// let set = |name: &str| (name == "MAINTENANCE_SCHEDULE").then(|| "0 2 * * *".to_owned());
/// let settings = UpkeepSettings::read(&mut Reader::of(&set));
/// assert_eq!(settings.routine().budget.as_secs(), 3_600);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpkeepSettings {
    /// When; none: by command only.
    pub schedule: Option<Cron>,
    /// How long one run may take.
    pub budget: Duration,
    /// Owners whose functions a superuser may run.
    pub trusted_owners: Vec<String>,
}

impl Default for UpkeepSettings {
    fn default() -> Self {
        UpkeepSettings { schedule: None, budget: BUDGET.default[0], trusted_owners: Vec::new() }
    }
}

impl UpkeepSettings {
    /// The routine that runs at these times.
    #[must_use]
    pub fn routine(&self) -> Routine {
        Routine { budget: self.budget, trusted_owners: self.trusted_owners.clone(), ..Routine::default() }
    }
}

impl FromSettings for UpkeepSettings {
    const GROUPS: &'static [&'static Group] = &[&ROUTINE];

    fn read(from: &mut Reader<'_>) -> Self {
        let budget = from.read(&BUDGET);
        let owners = from.text(&TRUSTED).map(|(_, text)| text).unwrap_or_default();
        let owners = owners.split(',').map(str::trim).filter(|owner| !owner.is_empty());
        let said = from.text(&UPKEEP_SCHEDULE).filter(|(_, text)| !text.eq_ignore_ascii_case("off"));
        let schedule = said.and_then(|(name, text)| {
            Cron::parse(&text, "UTC").map_err(|error| from.problem(name, error.to_string())).ok()
        });
        UpkeepSettings { schedule, budget, trusted_owners: owners.map(str::to_owned).collect() }
    }
}

/// Which partitions are kept, and when.
///
/// ```
/// use db_core::settings::{FromSettings, Reader};
/// use db_maintenance::PartitionSettings;
///
/// let set = |name: &str| (name == "PARTITION_POLICY").then(|| "/etc/app/partitions.toml".to_owned());
/// let settings = PartitionSettings::read(&mut Reader::of(&set));
/// assert_eq!(settings.schedule.map(|cron| cron.to_string()).as_deref(), Some("17 * * * * (UTC)"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PartitionSettings {
    /// The policy's file; none: no partitions are kept.
    pub policy: Option<PathBuf>,
    /// When; none: by command only.
    pub schedule: Option<Cron>,
    /// Where rows go before their table is dropped.
    pub archive_dir: Option<PathBuf>,
    /// The commands that store rows before their table is dropped, and read them back.
    pub archive_commands: Option<(String, String)>,
}

impl PartitionSettings {
    /// The partitions that these settings name; none where they name no policy.
    ///
    /// ```
    /// assert!(db_maintenance::PartitionSettings::default().partitions().unwrap().is_none());
    /// ```
    ///
    /// # Errors
    /// Where the policy cannot be read, or contradicts itself.
    pub fn partitions(&self) -> Result<Option<Partitions>, MaintenanceError> {
        let Some(path) = &self.policy else { return Ok(None) };
        let partitions = Partitions::new(Policy::read(path)?)?;
        Ok(Some(match (&self.archive_dir, &self.archive_commands) {
            (Some(directory), _) => partitions.archive(Arc::new(DirectoryArchive::new(directory))),
            (None, Some((store, read))) => partitions.archive(Arc::new(CommandArchive::new(store, read))),
            (None, None) => partitions,
        }))
    }
}

impl FromSettings for PartitionSettings {
    const GROUPS: &'static [&'static Group] = &[&PARTITIONS];

    fn read(from: &mut Reader<'_>) -> Self {
        let is_enabled = from.read(&ENABLED);
        let policy = from.text(&POLICY).map(|(_, path)| PathBuf::from(path));
        let archive_dir = from.text(&ARCHIVE).map(|(_, path)| PathBuf::from(path));
        let store = from.text(&STORE).map(|(_, command)| command);
        let read = from.text(&READ).map(|(_, command)| command);
        let archive_commands = match (store, read) {
            (Some(store), Some(read)) => Some((store, read)),
            (Some(_), None) => {
                from.problem(READ.name, "must be set where PARTITION_ARCHIVE_COMMAND is: rows are read back");
                None
            }
            (None, Some(_)) => {
                from.problem(STORE.name, "must be set where PARTITION_ARCHIVE_READ_COMMAND is");
                None
            }
            (None, None) => None,
        };
        if archive_commands.is_some() && archive_dir.is_some() {
            from.problem(ARCHIVE.name, "contradicts PARTITION_ARCHIVE_COMMAND: set one of them");
        }
        let said = from.text(&SCHEDULE);
        if said.is_some() && policy.is_none() && is_enabled {
            from.notice(SCHEDULE.name, "is set in vain: PARTITION_POLICY names no policy");
        }
        let (name, text) = said.unwrap_or((SCHEDULE.name, "17 * * * *".to_owned()));
        let schedule = match text.eq_ignore_ascii_case("off") {
            true => None,
            false => Cron::parse(&text, "UTC").map_err(|error| from.problem(name, error.to_string())).ok(),
        };
        let schedule = schedule.filter(|_| policy.is_some() && is_enabled);
        let policy = policy.filter(|_| is_enabled);
        PartitionSettings { policy, schedule, archive_dir, archive_commands }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<PartitionSettings, String> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = PartitionSettings::read(&mut reader);
        reader.finish().map(|_| read).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_is_kept_without_a_policy_or_where_it_is_switched_off() {
        assert_eq!(read(&[]).unwrap(), PartitionSettings::default());
        let policy = ("PARTITION_POLICY", "p.toml");
        assert!(read(&[policy]).unwrap().schedule.is_some());
        let off = read(&[policy, ("PARTITIONING_ENABLED", "false")]).unwrap();
        assert_eq!((off.policy, off.schedule), (None, None));
        let by_hand = read(&[policy, ("PARTITION_MAINTENANCE_SCHEDULE", "off")]).unwrap();
        assert!(by_hand.policy.is_some() && by_hand.schedule.is_none());
    }

    #[test]
    fn an_archive_that_cannot_be_read_back_is_none() {
        let store = ("PARTITION_ARCHIVE_COMMAND", "put \"$ARCHIVE_NAME\"");
        let fetch = ("PARTITION_ARCHIVE_READ_COMMAND", "get \"$ARCHIVE_NAME\"");
        assert!(read(&[store, fetch]).unwrap().archive_commands.is_some());
        assert!(read(&[store]).unwrap_err().contains("PARTITION_ARCHIVE_READ_COMMAND"));
        assert!(read(&[fetch]).unwrap_err().contains("PARTITION_ARCHIVE_COMMAND"));
        assert!(
            read(&[store, fetch, ("PARTITION_ARCHIVE_DIR", "/a")]).unwrap_err().contains("set one of them")
        );
    }

    #[test]
    fn routine_upkeep_runs_by_command_until_it_has_a_schedule() {
        let read = |pairs: &[(&str, &str)]| {
            let lookup = |name: &str| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
            };
            let mut reader = Reader::of(&lookup);
            let read = UpkeepSettings::read(&mut reader);
            reader.finish().map(|_| read).map_err(|error| error.to_string())
        };
        assert_eq!(read(&[]).unwrap(), UpkeepSettings::default());
        assert_eq!(read(&[("MAINTENANCE_SCHEDULE", "off")]).unwrap().schedule, None);
        let set = [
            ("MAINTENANCE_SCHEDULE", "0 2 * * *"),
            ("MAINTENANCE_BUDGET", "30m"),
            ("MAINTENANCE_TRUSTED_OWNERS", "app, reports"),
        ];
        let set = read(&set).unwrap();
        assert!(set.schedule.is_some() && set.budget.as_secs() == 1_800, "{set:?}");
        assert_eq!(set.routine().trusted_owners, ["app", "reports"]);
        let wrong = [("MAINTENANCE_SCHEDULE", "nightly"), ("MAINTENANCE_BUDGET", "60")];
        let problems = read(&wrong).unwrap_err();
        assert!(problems.contains("no cron") && problems.contains("60s"), "{problems}");
    }

    #[test]
    fn a_schedule_that_is_wrong_is_said_by_name() {
        let schedule = ("PARTITION_MAINTENANCE_SCHEDULE", "nightly");
        assert!(read(&[("PARTITION_POLICY", "p"), schedule]).unwrap_err().contains("\"nightly\" is no cron"));
        // Teams bring the name from elsewhere: it is no reason not to start.
        assert_eq!(read(&[("PARTITION_MAINTENANCE_SCHEDULE", "@daily")]).unwrap().schedule, None);
    }
}

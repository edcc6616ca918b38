//! The settings of partitions: described, and read into [`PartitionSettings`].

use std::path::PathBuf;

use db_core::settings::{FromSettings, Group, Reader, Setting, Text};
use db_schedule::Cron;

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

const PARTITIONS: Group =
    Group { title: "Partitions", settings: &[&ENABLED, &POLICY, &SCHEDULE, &ARCHIVE], elsewhere: &[] };

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
}

impl FromSettings for PartitionSettings {
    const GROUPS: &'static [&'static Group] = &[&PARTITIONS];

    fn read(from: &mut Reader<'_>) -> Self {
        let is_enabled = from.read(&ENABLED);
        let policy = from.text(&POLICY).map(|(_, path)| PathBuf::from(path));
        let archive_dir = from.text(&ARCHIVE).map(|(_, path)| PathBuf::from(path));
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
        PartitionSettings { policy: policy.filter(|_| is_enabled), schedule, archive_dir }
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
    fn a_schedule_that_is_wrong_is_said_by_name() {
        let schedule = ("PARTITION_MAINTENANCE_SCHEDULE", "nightly");
        assert!(read(&[("PARTITION_POLICY", "p"), schedule]).unwrap_err().contains("\"nightly\" is no cron"));
        // Teams bring the name from elsewhere: it is no reason not to start.
        assert_eq!(read(&[("PARTITION_MAINTENANCE_SCHEDULE", "@daily")]).unwrap().schedule, None);
    }
}

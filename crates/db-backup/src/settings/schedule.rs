//! When backups are taken, verified, rehearsed and expired: described, and read into [`ScheduleSettings`].

use std::time::Duration;

use db_core::settings::{FromSettings, Group, Limit, Reader, Setting, Text};
use db_schedule::Cron;

use crate::verify_scope::VerifyScope;

const SCHEDULE: Text = Text {
    name: "BACKUP_SCHEDULE",
    aliases: &[],
    meaning: "When `dbctl agent` takes a full backup: a cron expression, as in `30 2 * * *` or `@daily`.",
    default: "none: backups are taken by command only",
};
const INCREMENTAL: Text = Text {
    name: "BACKUP_INCREMENTAL_SCHEDULE",
    aliases: &[],
    meaning: "When it takes an incremental one in between (PostgreSQL 17 and later).",
    default: "none",
};
const VERIFY: Text = Text {
    name: "BACKUP_VERIFY_SCHEDULE",
    aliases: &[],
    meaning: "When it reads everything back and compares it with its checksums; `off` for never.",
    default: "`0 5 * * *` where `BACKUP_SCHEDULE` is set",
};
const VERIFY_SCOPE: Text = Text {
    name: "BACKUP_VERIFY_SCOPE",
    aliases: &[],
    meaning: "Of which objects it then reads the contents: `all`, `new` for those that came since the last time, or a random \
              share as in `10%`.",
    default: "`all`",
};
const REHEARSE: Text = Text {
    name: "BACKUP_REHEARSE_SCHEDULE",
    aliases: &[],
    meaning: "When it restores the newest backup into a throw-away server; `off` for never.",
    default: "`0 6 * * SUN` where `BACKUP_SCHEDULE` is set",
};
const EXPIRE: Text = Text {
    name: "BACKUP_EXPIRE_SCHEDULE",
    aliases: &[],
    meaning: "When it removes what the retention policy does not keep; `off` for never, as where the credentials may only \
              put.",
    default: "`30 4 * * *` where `BACKUP_SCHEDULE` is set",
};
const TIME_ZONE: Text = Text {
    name: "BACKUP_TIME_ZONE",
    aliases: &[],
    meaning: "The time zone of the schedules, as in `Europe/Berlin`. Where the clocks change, see db-schedule.",
    default: "`UTC`",
};
const JITTER: Setting<Duration> = Setting {
    name: "BACKUP_JITTER",
    aliases: &[],
    meaning: "Each run starts at a random moment up to this long after its time, so that many hosts do not ask one store in \
              the same second.",
    default: [Duration::ZERO, Duration::ZERO, Duration::from_secs(60), Duration::from_secs(60)],
    min: Duration::ZERO,
    max: Duration::from_secs(6 * 3_600),
    unit_required: &["BACKUP_JITTER"],
};
const TIMEOUT: Setting<Duration> = Setting {
    name: "BACKUP_TIMEOUT",
    aliases: &[],
    meaning: "A run that takes longer is cancelled.",
    default: [Duration::from_secs(12 * 3_600); 4],
    min: Duration::from_secs(1),
    max: Duration::from_secs(14 * 86_400),
    unit_required: &["BACKUP_TIMEOUT"],
};
const MAX_AGE: Setting<Limit> = Setting {
    name: "BACKUP_MAX_AGE",
    aliases: &[],
    meaning: "People are told when the last backup that succeeded is older than this; `never` tells nobody.",
    default: [Limit::after(Duration::from_secs(26 * 3_600)); 4],
    min: Limit::after(Duration::from_secs(1)),
    max: Limit::NEVER,
    unit_required: &["BACKUP_MAX_AGE"],
};

const WATCH_EVERY: Setting<Limit> = Setting {
    name: "BACKUP_WATCH_EVERY",
    aliases: &[],
    meaning: "How often `dbctl agent` looks whether the archive is whole and how far it is behind. Each look lists the log in \
              the repository, which stores charge for; `never` looks never.",
    default: [Limit::after(Duration::from_secs(5)); 4],
    min: Limit::after(Duration::from_secs(1)),
    max: Limit::NEVER,
    unit_required: &["BACKUP_WATCH_EVERY"],
};

const LATE_AFTER: Setting<Duration> = Setting {
    name: "BACKUP_LATE_AFTER",
    aliases: &[],
    meaning: "How long a finished segment of the log may wait to be archived before it is late, and people are told. More \
              than the store's slowest day takes.",
    default: [Duration::from_secs(60); 4],
    min: Duration::from_secs(1),
    max: Duration::from_secs(86_400),
    unit_required: &["BACKUP_LATE_AFTER"],
};
const RECEIVE_SLOT: Text = Text {
    name: "BACKUP_RECEIVE_SLOT",
    aliases: &[],
    meaning: "The replication slot by which `dbctl agent` receives the log as the server writes it, so that a crash loses \
              milliseconds; made where there is none. Of several agents one receives; `off` for none.",
    default: "`off`",
};

const SCHEDULES: Group = Group {
    title: "When backups are taken and looked at",
    settings: &[
        &SCHEDULE,
        &INCREMENTAL,
        &VERIFY,
        &VERIFY_SCOPE,
        &REHEARSE,
        &EXPIRE,
        &TIME_ZONE,
        &JITTER,
        &TIMEOUT,
        &MAX_AGE,
        &WATCH_EVERY,
        &LATE_AFTER,
        &RECEIVE_SLOT,
    ],
    elsewhere: &[],
};

/// When each is done; none is never.
///
/// ```
/// use db_backup::ScheduleSettings;
/// use db_core::settings::{FromSettings, Reader};
///
/// let set = |name: &str| (name == "BACKUP_SCHEDULE").then(|| "30 2 * * *".to_owned());
/// let schedules = ScheduleSettings::read(&mut Reader::of(&set));
/// assert_eq!(schedules.full.map(|cron| cron.to_string()).as_deref(), Some("30 2 * * * (UTC)"));
/// assert!(schedules.rehearse.is_some(), "a backup that is never restored is a hope");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSettings {
    /// A full backup.
    pub full: Option<Cron>,
    /// An incremental one.
    pub incremental: Option<Cron>,
    /// Verification.
    pub verify: Option<Cron>,
    /// Of which objects verification reads the contents.
    pub verify_scope: VerifyScope,
    /// A rehearsal.
    pub rehearse: Option<Cron>,
    /// Expiry.
    pub expire: Option<Cron>,
    /// How long after its time a run may start.
    pub jitter: Duration,
    /// How long a run may take.
    pub timeout: Duration,
    /// How old the last success may be before people are told; none is never.
    pub max_age: Option<Duration>,
    /// How often the archive is looked at; none is never.
    pub watch_every: Option<Duration>,
    /// How long a finished segment of the log may wait to be archived.
    pub late_after: Duration,
    /// The replication slot by which the log is received; none is not at all.
    pub receive_slot: Option<String>,
}

impl FromSettings for ScheduleSettings {
    const GROUPS: &'static [&'static Group] = &[&SCHEDULES];

    fn read(from: &mut Reader<'_>) -> Self {
        let zone = from.text(&TIME_ZONE).map_or_else(|| "UTC".to_owned(), |(_, zone)| zone);
        if let Err(error) = Cron::parse("@daily", &zone) {
            from.problem(TIME_ZONE.name, error.to_string());
        }
        let full = cron(from, &SCHEDULE, None, &zone);
        let default = |text: &'static str| full.is_some().then_some(text);
        ScheduleSettings {
            incremental: cron(from, &INCREMENTAL, None, &zone),
            verify: cron(from, &VERIFY, default("0 5 * * *"), &zone),
            verify_scope: from.parse(&VERIFY_SCOPE).unwrap_or_default(),
            rehearse: cron(from, &REHEARSE, default("0 6 * * SUN"), &zone),
            expire: cron(from, &EXPIRE, default("30 4 * * *"), &zone),
            jitter: from.read(&JITTER),
            timeout: from.read(&TIMEOUT),
            max_age: from.read(&MAX_AGE).into(),
            watch_every: from.read(&WATCH_EVERY).into(),
            late_after: from.read(&LATE_AFTER),
            receive_slot: from.text(&RECEIVE_SLOT).and_then(|(name, slot)| slot_of(from, name, slot)),
            full,
        }
    }
}

/// A slot's name, as the server takes it.
fn slot_of(from: &mut Reader<'_>, name: &'static str, slot: String) -> Option<String> {
    if slot.eq_ignore_ascii_case("off") {
        return None;
    }
    if slot.is_empty() || !slot.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
        from.problem(name, format!("{slot:?} is no slot's name: small letters, digits and _ are"));
    }
    Some(slot)
}

/// What a setting says, or its default; a zone that is wrong was reported already.
fn cron(from: &mut Reader<'_>, setting: &Text, default: Option<&str>, zone: &str) -> Option<Cron> {
    let (name, text) = match (from.text(setting), default) {
        (Some(said), _) => said,
        (None, Some(default)) => (setting.name, default.to_owned()),
        (None, None) => return None,
    };
    if text.eq_ignore_ascii_case("off") {
        return None;
    }
    let zone = if Cron::parse("@daily", zone).is_ok() { zone } else { "UTC" };
    Cron::parse(&text, zone).map_err(|error| from.problem(name, error.to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<ScheduleSettings, String> {
        let lookup =
            |name: &str| pairs.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let mut reader = Reader::of(&lookup);
        let read = ScheduleSettings::read(&mut reader);
        reader.finish().map(|_| read).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_runs_without_a_schedule_and_everything_with_one() {
        let none = read(&[]).unwrap();
        assert_eq!((none.full, none.verify, none.rehearse, none.expire), (None, None, None, None));
        let all = read(&[("BACKUP_SCHEDULE", "@daily"), ("BACKUP_TIME_ZONE", "Europe/Berlin")]).unwrap();
        assert_eq!(all.rehearse.map(|cron| cron.to_string()).as_deref(), Some("0 6 * * SUN (Europe/Berlin)"));
        let some = read(&[("BACKUP_SCHEDULE", "@daily"), ("BACKUP_EXPIRE_SCHEDULE", "off")]).unwrap();
        assert!(some.expire.is_none() && some.verify.is_some());
    }

    #[test]
    fn the_log_is_received_by_the_slot_that_is_named() {
        let slot = |text: &str| read(&[("BACKUP_RECEIVE_SLOT", text)]).unwrap().receive_slot;
        assert_eq!(
            (slot("dbctl"), slot("off"), read(&[]).unwrap().receive_slot),
            (Some("dbctl".to_owned()), None, None)
        );
    }

    #[test]
    fn what_is_wrong_is_said_by_name() {
        let wrong = [
            ("BACKUP_SCHEDULE", "nightly"),
            ("BACKUP_TIME_ZONE", "Berlin"),
            ("BACKUP_JITTER", "5"),
            ("BACKUP_RECEIVE_SLOT", "My slot"),
        ];
        let said = read(&wrong).unwrap_err();
        for part in [
            "BACKUP_SCHEDULE: \"nightly\" is no cron",
            "BACKUP_TIME_ZONE: \"Berlin\" is no time",
            "BACKUP_JITTER",
            "BACKUP_RECEIVE_SLOT: \"My slot\" is no slot",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

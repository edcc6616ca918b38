//! Decides what people are told: a state machine to which looks and times are passed in.
//!
//! A condition raises an incident when it was bad at every look for
//! [`raise_after`](AlertConfig::raise_after), and the incident ends when it was fine at every look for
//! [`resolve_after`](AlertConfig::resolve_after). What cannot be known does neither: it begins both waits
//! anew. An incident has one number from its first message to its last.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use db_notify::Severity;
use serde::{Deserialize, Serialize};

use crate::alerts::told::unix;
use crate::alerts::{AlertConfig, Level, Reading, Told, What};

/// An incident whose condition nobody has looked at for so long is over: what was looked at is no more.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3600);

/// The incidents of a service.
///
/// ```
/// use std::time::{Duration, Instant, SystemTime};
/// use db_monitoring::alerts::{AlertConfig, Incidents, Level, Reading, What};
///
/// let config = AlertConfig { raise_after: Duration::from_secs(30), ..AlertConfig::default() };
/// let (mut incidents, start) = (Incidents::default(), Instant::now());
/// let mut look = |seconds| {
///     let reading = Reading::new("db1/archiver", Level::Critical, "The archiver fails");
///     incidents.step(&[reading], &config, start + Duration::from_secs(seconds), SystemTime::now())
/// };
/// assert!(look(0).is_empty());
/// let told = look(30);
/// assert_eq!((told[0].what, told[0].incident.as_str()), (What::Raised, "db1/archiver#1"));
/// assert!(look(31).is_empty(), "once");
/// ```
#[derive(Debug, Default)]
pub struct Incidents {
    all: BTreeMap<String, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// The number of the open incident, else of the last one.
    number: u64,
    open: Option<Open>,
    bad_since: Option<Instant>,
    critical_since: Option<Instant>,
    fine_since: Option<Instant>,
    looked_at: Option<Instant>,
    is_unknown: bool,
}

/// What is kept of an open incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Open {
    /// Whether it was ever critical.
    pub critical: bool,
    /// What people were told: none while a silence covers it, then whether as critical.
    pub told: Option<bool>,
    /// Whether those who keep incidents know that a silence covers it.
    pub acknowledged: bool,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// Its title when it was raised.
    pub title: String,
    /// What was found last.
    pub text: String,
    /// What a reader looks for.
    pub facts: Vec<(String, String)>,
}

/// One open incident, for whoever lists them.
///
/// ```
/// use db_monitoring::alerts::Incidents;
///
/// assert!(Incidents::default().open().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OpenIncident {
    /// Its name in every message.
    pub incident: String,
    /// What it is about.
    pub key: String,
    /// Whether nothing is known of its condition now.
    pub is_unknown: bool,
    /// The rest.
    #[serde(flatten)]
    pub open: Open,
}

impl Incidents {
    /// Takes in one look at all conditions: `now` for how long something lasts, `at` for people and silences.
    /// Answers with what people are to be told, the gravest first.
    pub fn step(
        &mut self,
        readings: &[Reading],
        config: &AlertConfig,
        now: Instant,
        at: SystemTime,
    ) -> Vec<Told> {
        let mut told = Vec::new();
        let mut seen = BTreeSet::new();
        for reading in readings.iter().filter(|reading| seen.insert(reading.key.as_str())) {
            let silent = config.silences.iter().any(|silence| silence.covers(&reading.key, at));
            if !self.all.contains_key(&reading.key) {
                // What is fine and was never otherwise takes no room.
                if reading.level.severity().is_none() {
                    continue;
                }
                self.all.insert(reading.key.clone(), Entry::default());
            }
            if let Some(entry) = self.all.get_mut(&reading.key) {
                told.extend(entry.look(reading, silent, config, now, at));
            }
        }
        for (key, entry) in self.all.iter_mut().filter(|(key, _)| !seen.contains(key.as_str())) {
            told.extend(entry.not_looked_at(key, now, at));
        }
        told.sort_by_key(|told| (told.what == What::Resolved, std::cmp::Reverse(told.severity())));
        told
    }

    /// When the first condition will have lasted as long as it must, unless it changes before; never before
    /// `now`.
    pub(crate) fn next_due(&self, config: &AlertConfig, now: Instant) -> Option<Instant> {
        let due = |entry: &Entry| match entry.open {
            None => entry.bad_since?.checked_add(config.raise_after),
            Some(_) => entry.fine_since?.checked_add(config.resolve_after),
        };
        self.all.values().filter_map(due).filter(|due| *due > now).min()
    }

    /// All that are open, the gravest and oldest first.
    pub fn open(&self) -> Vec<OpenIncident> {
        let of = |(key, entry): (&String, &Entry)| {
            let open = entry.open.clone()?;
            let (incident, is_unknown) = (incident(key, entry.number), entry.is_unknown);
            Some(OpenIncident { incident, key: key.clone(), is_unknown, open })
        };
        let mut all: Vec<_> = self.all.iter().filter_map(of).collect();
        all.sort_by_key(|one| (!one.open.critical, one.open.since));
        all
    }

    /// What is kept of each condition that ever raised an incident: its number, and what is open.
    pub(crate) fn kept(&self, key: &str) -> Option<(u64, Option<&Open>)> {
        self.all.get(key).map(|entry| (entry.number, entry.open.as_ref()))
    }

    /// Takes in what another replica, or this process before its restart, has kept. What is known here and
    /// newer stays.
    pub(crate) fn take_in(&mut self, key: &str, number: u64, open: Option<Open>) {
        let entry = self.all.entry(key.to_owned()).or_default();
        if number >= entry.number {
            entry.number = number;
            entry.open = open;
        }
    }

    /// Forgets everything: another replica leads.
    pub(crate) fn clear(&mut self) {
        self.all.clear();
    }

    /// The gravest that is open.
    pub fn gravest(&self) -> Option<Severity> {
        let severity = |open: &Open| if open.critical { Severity::Critical } else { Severity::Warning };
        self.all.values().filter_map(|entry| entry.open.as_ref()).map(severity).max()
    }
}

impl Entry {
    fn look(
        &mut self,
        reading: &Reading,
        silent: bool,
        config: &AlertConfig,
        now: Instant,
        at: SystemTime,
    ) -> Option<Told> {
        self.looked_at = Some(now);
        self.is_unknown = reading.level == Level::Unknown;
        let severity = reading.level.severity();
        let is_critical = severity == Some(Severity::Critical);
        keep(&mut self.bad_since, severity.is_some(), now);
        keep(&mut self.critical_since, is_critical, now);
        keep(&mut self.fine_since, reading.level == Level::Fine, now);
        let is_bad = lasted(self.bad_since, config.raise_after, now);
        let is_critical = lasted(self.critical_since, config.raise_after, now);
        match &mut self.open {
            None if is_bad => {
                self.number = self.number.saturating_add(1);
                self.open = Some(Open {
                    critical: is_critical,
                    told: None,
                    acknowledged: false,
                    since: unix(at).saturating_sub(config.raise_after.as_secs()),
                    title: reading.title.clone(),
                    text: reading.text.clone(),
                    facts: reading.facts.clone(),
                });
            }
            None => {}
            Some(open) => {
                open.critical |= is_critical;
                if severity.is_some() {
                    open.text.clone_from(&reading.text);
                    open.facts.clone_from(&reading.facts);
                }
                if lasted(self.fine_since, config.resolve_after, now) {
                    return self.resolve(&reading.key, &reading.text, at);
                }
            }
        }
        self.tell(&reading.key, silent, at)
    }

    /// Nobody looked at it this time: nothing is known of it.
    fn not_looked_at(&mut self, key: &str, now: Instant, at: SystemTime) -> Option<Told> {
        (self.bad_since, self.critical_since, self.fine_since) = (None, None, None);
        self.is_unknown = true;
        let last = *self.looked_at.get_or_insert(now);
        let is_forgotten = now.saturating_duration_since(last) >= FORGOTTEN;
        if is_forgotten { self.resolve(key, "nobody looks at this any more", at) } else { None }
    }

    fn resolve(&mut self, key: &str, text: &str, at: SystemTime) -> Option<Told> {
        self.fine_since = None;
        let open = self.open.take()?;
        // Of what nobody was told, nobody hears that it is over.
        let critical = open.told?;
        let open = Open { text: text.to_owned(), ..open };
        Some(self.message(key, &open, What::Resolved, critical, at))
    }

    /// What is open and not told.
    fn tell(&mut self, key: &str, silent: bool, at: SystemTime) -> Option<Told> {
        let mut open = self.open.take()?;
        let what = match (open.told, silent) {
            (None, false) => Some(What::Raised),
            (Some(false), false) if open.critical => Some(What::Graver),
            (Some(_), true) if !open.acknowledged => Some(What::Acknowledged),
            _ => None,
        };
        match what {
            Some(What::Acknowledged) => open.acknowledged = true,
            Some(_) => open.told = Some(open.critical),
            None => {}
        }
        let told = what.map(|what| self.message(key, &open, what, open.critical, at));
        self.open = Some(open);
        told
    }

    fn message(&self, key: &str, open: &Open, what: What, critical: bool, at: SystemTime) -> Told {
        Told {
            incident: incident(key, self.number),
            what,
            critical,
            title: open.title.clone(),
            text: open.text.clone(),
            facts: open.facts.clone(),
            since: open.since,
            at: unix(at),
        }
    }
}

/// What an incident is called in every message.
fn incident(key: &str, number: u64) -> String {
    format!("{key}#{number}")
}

/// Since when something is so; none once it is not.
fn keep(since: &mut Option<Instant>, is_so: bool, now: Instant) {
    if is_so {
        since.get_or_insert(now);
    } else {
        *since = None;
    }
}

fn lasted(since: Option<Instant>, long: Duration, now: Instant) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) >= long)
}

#[cfg(test)]
mod tests;

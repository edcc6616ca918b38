//! What people are told of an incident, and under which id.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use db_notify::{Message, Severity};
use serde::{Deserialize, Serialize};

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It began.
    Raised,
    /// It became critical.
    Graver,
    /// A silence began that covers it: nobody is to be woken by it any more.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// One message about one incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Told {
    /// The incident: the same in all of its messages.
    pub incident: String,
    /// What happened to it.
    pub what: What,
    /// How grave it is, or was at its worst.
    pub critical: bool,
    /// One line.
    pub title: String,
    /// What was found, and what to do.
    pub text: String,
    /// What a reader looks for.
    pub facts: Vec<(String, String)>,
    /// When it began, in seconds since 1970.
    pub since: u64,
    /// When this was to be told, in seconds since 1970.
    pub at: u64,
}

impl Told {
    /// The fact that names the channel that would not take it.
    pub(crate) const DIVERTED: &'static str = "not taken by";

    /// Whether it goes another way already.
    pub(crate) fn is_diverted(&self) -> bool {
        self.facts.iter().any(|(name, _)| name == Told::DIVERTED)
    }

    /// The id of this message: the same from each replica and after each restart, so that a receiver knows it
    /// again.
    pub fn id(&self) -> String {
        let what = match self.what {
            What::Raised => "raised",
            What::Graver => "graver",
            What::Acknowledged => "acknowledged",
            What::Resolved => "resolved",
        };
        format!("{}:{what}", self.incident)
    }

    /// How grave it is.
    pub fn severity(&self) -> Severity {
        if self.critical { Severity::Critical } else { Severity::Warning }
    }

    /// The words for people.
    pub fn message(&self) -> Message {
        let mut message = Message::new(self.severity(), self.title.as_str(), self.text.as_str())
            .key(self.incident.as_str())
            .fact("since", utc(self.since));
        if self.what == What::Resolved {
            let lasted = Duration::from_secs(self.at.saturating_sub(self.since));
            message = message.fact("lasted", format!("{lasted:?}")).resolved();
        }
        if self.what == What::Acknowledged {
            message = message.acknowledged();
        }
        for (name, value) in &self.facts {
            message = message.fact(name.as_str(), value.as_str());
        }
        message.at = UNIX_EPOCH.checked_add(Duration::from_secs(self.at)).unwrap_or(UNIX_EPOCH);
        message
    }
}

/// Seconds since 1970.
pub(crate) fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time as people and machines read it.
pub(crate) fn utc(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok().and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
    at.map_or_else(|| format!("{seconds} s after 1970"), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

//! The name of a backup: when it began, of which kind it is, and a random part.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::manifest::Kind;

/// The name of a backup, such as `20261128T114200Z-full-9f1c04d2`. Names order by the second in
/// which they began; which of two in one second was first, a manifest tells.
///
/// ```
/// use db_backup::BackupId;
///
/// let id: BackupId = "20261128T114200Z-full-9f1c04d2".parse()?;
/// assert_eq!(id.as_str(), "20261128T114200Z-full-9f1c04d2");
/// # Ok::<(), db_backup::InvalidBackupId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct BackupId(String);

/// A text that is no backup's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a backup's name: {0:?}; `dbctl backup list` prints them, as in 20261128T114200Z-full-9f1c04d2")]
pub struct InvalidBackupId(String);

impl BackupId {
    /// A new name for a backup that begins now.
    pub fn new(began: DateTime<Utc>, kind: Kind) -> Self {
        BackupId(format!("{}-{kind}-{:08x}", began.format("%Y%m%dT%H%M%SZ"), rand::random::<u32>()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidBackupId(text.chars().take(64).collect());
        let mut parts = text.split('-');
        let (time, kind, random) = (parts.next(), parts.next(), parts.next());
        let is_time = |time: &str| {
            let digits =
                |part: &str, many| part.len() == many && part.bytes().all(|byte| byte.is_ascii_digit());
            time.strip_suffix('Z')
                .and_then(|time| time.split_once('T'))
                .is_some_and(|(day, time)| digits(day, 8) && digits(time, 6))
        };
        let is_random = |text: &str| {
            text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let whole = parts.next().is_none()
            && time.is_some_and(is_time)
            && kind.is_some_and(|kind| kind.parse::<Kind>().is_ok())
            && random.is_some_and(is_random);
        if whole { Ok(BackupId(text.to_owned())) } else { Err(invalid()) }
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> Self {
        id.0
    }
}

impl TryFrom<String> for BackupId {
    type Error = InvalidBackupId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

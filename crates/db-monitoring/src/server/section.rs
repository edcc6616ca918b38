//! One part of a snapshot: what was read or why not, and when.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::server::Skipped;

/// One part of a snapshot: what was read, or why it is not known, and when.
///
/// As JSON it is `{"at": 1764000000.5, "ok": …}` or `{"at": null, "skipped": {"reason": …, "detail": …}}`.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use db_monitoring::server::Section;
///
/// let now = SystemTime::now();
/// let section = Section::read(now - Duration::from_secs(3), 7_i64);
/// assert_eq!(section.get().copied(), Ok(7));
/// assert_eq!(section.age(now), Some(Duration::from_secs(3)));
/// assert!(Section::<i64>::default().get().is_err());
/// ```
#[derive(Debug)]
pub struct Section<T> {
    at: Option<SystemTime>,
    outcome: Result<Arc<T>, Skipped>,
}

impl<T> Section<T> {
    /// What was read at `at`.
    pub fn read(at: SystemTime, value: T) -> Self {
        Section { at: Some(at), outcome: Ok(Arc::new(value)) }
    }

    /// What could not be read at `at`.
    pub fn skipped(at: SystemTime, skipped: Skipped) -> Self {
        Section { at: Some(at), outcome: Err(skipped) }
    }

    /// Either of both.
    pub fn of(at: SystemTime, outcome: Result<T, Skipped>) -> Self {
        Section { at: Some(at), outcome: outcome.map(Arc::new) }
    }

    /// What was read.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn get(&self) -> Result<&T, &Skipped> {
        self.outcome.as_deref()
    }

    /// The same, to keep.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn shared(&self) -> Result<Arc<T>, Skipped> {
        self.outcome.clone()
    }

    /// When it was read or tried; none if never.
    pub fn at(&self) -> Option<SystemTime> {
        self.at
    }

    /// How old it is at `now`; none if it was never tried.
    pub fn age(&self, now: SystemTime) -> Option<Duration> {
        self.at.map(|at| now.duration_since(at).unwrap_or_default())
    }
}

impl<T> Clone for Section<T> {
    fn clone(&self) -> Self {
        Section { at: self.at, outcome: self.outcome.clone() }
    }
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Section { at: None, outcome: Err(Skipped::too_soon()) }
    }
}

impl<T: Serialize> Serialize for Section<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut section = serializer.serialize_struct("Section", 2)?;
        section.serialize_field("at", &self.at.map(unix_seconds))?;
        match &self.outcome {
            Ok(value) => section.serialize_field("ok", &**value)?,
            Err(skipped) => section.serialize_field("skipped", skipped)?,
        }
        section.end()
    }
}

/// Seconds since 1970, as JSON, Prometheus and `extract(epoch …)` have them.
pub(crate) fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

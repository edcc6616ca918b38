//! Bounds how many lines are logged of something that changes again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines a minute tell what goes on; more hide it.
const MOST: u32 = 4;
const WINDOW: Duration = Duration::from_secs(60);

/// Admits so many lines in a minute.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Option<(Instant, u32)>>);

impl Lines {
    /// Whether another line may be logged now.
    pub(crate) fn admit(&self) -> bool {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, count) =
            window.filter(|(since, _)| now.saturating_duration_since(*since) < WINDOW).unwrap_or((now, 0));
        *window = Some((since, count.saturating_add(1)));
        if count == MOST {
            tracing::warn!("this changes again and again: the rest of the minute is not logged");
        }
        count < MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_in_a_minute_and_as_many_in_the_next() {
        let (lines, now) = (Lines::default(), Instant::now());
        let admitted = |now| (0..20).filter(|_| lines.admit_at(now)).count();
        assert_eq!(admitted(now), 4);
        assert_eq!(admitted(now + WINDOW / 2), 0);
        assert_eq!(admitted(now + WINDOW), 4);
    }
}

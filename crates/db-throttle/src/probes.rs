//! The last probes of the application's kind, and whether they take longer than before the work began.

use std::collections::VecDeque;
use std::time::Duration;

/// So many probes are looked at together: fewer would call a single hiccup slow.
const WINDOW: usize = 64;

/// The share of them that must be faster than the limit. Higher ones hang on one probe.
const QUANTILE: f64 = 0.95;

/// The last probes, oldest first.
///
/// ```
/// use std::time::Duration;
/// use db_throttle::Probes;
///
/// let mut probes = Probes::default();
/// (1..=64).for_each(|n| probes.push(Duration::from_micros(n)));
/// assert_eq!(probes.slow(), Some(Duration::from_micros(61)));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Probes {
    last: VecDeque<Duration>,
}

impl Probes {
    /// Takes in how long a probe took.
    pub fn push(&mut self, took: Duration) {
        if self.last.len() >= WINDOW {
            self.last.pop_front();
        }
        self.last.push_back(took);
    }

    /// What 95 of 100 of the last probes stay below; none before there are enough of them to tell.
    pub fn slow(&self) -> Option<Duration> {
        if self.last.len() < WINDOW / 4 {
            return None;
        }
        let mut sorted: Vec<_> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        let index = (sorted.len() as f64 * QUANTILE) as usize;
        sorted.get(index.min(sorted.len() - 1)).copied()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.last.clear();
    }
}

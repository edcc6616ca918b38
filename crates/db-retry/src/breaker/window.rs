//! Counts calls over the last stretch of time. Pure: time is passed in.

use std::time::Duration;

/// How finely time is cut: what is counted is between nine and ten tenths of the window.
pub(super) const SLOTS: usize = 10;

/// How one call ended, as far as the server has to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Good,
    Slow,
    Failed,
}

/// Calls that were counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
}

/// A ring of tallies, one for each tenth of the window.
#[derive(Debug)]
pub(super) struct Window {
    slot: Duration,
    slots: [Tally; SLOTS],
    /// The number of the newest slot since time began.
    newest: u64,
}

impl Window {
    pub(super) fn new(length: Duration) -> Self {
        let slot = (length / SLOTS as u32).max(Duration::from_nanos(1));
        Window { slot, slots: [Tally::default(); SLOTS], newest: 0 }
    }

    pub(super) fn record(&mut self, now: Duration, call: Call) {
        self.advance(now);
        let slot = &mut self.slots[place(self.newest)];
        slot.calls = slot.calls.saturating_add(1);
        match call {
            Call::Good => {}
            Call::Slow => slot.slow = slot.slow.saturating_add(1),
            Call::Failed => slot.failed = slot.failed.saturating_add(1),
        }
    }

    pub(super) fn tally(&mut self, now: Duration) -> Tally {
        self.advance(now);
        self.slots.iter().fold(Tally::default(), |all, slot| Tally {
            calls: all.calls.saturating_add(slot.calls),
            failed: all.failed.saturating_add(slot.failed),
            slow: all.slow.saturating_add(slot.slow),
        })
    }

    pub(super) fn clear(&mut self) {
        self.slots = [Tally::default(); SLOTS];
    }

    fn advance(&mut self, now: Duration) {
        let number = u64::try_from(now.as_nanos() / self.slot.as_nanos()).unwrap_or(u64::MAX);
        // Two threads may come with their times in the wrong order: the newer one's slot takes both.
        let passed = number.saturating_sub(self.newest).min(SLOTS as u64);
        for step in 1..=passed {
            self.slots[place(number.saturating_sub(passed).saturating_add(step))] = Tally::default();
        }
        self.newest = self.newest.max(number);
    }
}

fn place(number: u64) -> usize {
    (number % SLOTS as u64) as usize
}

//! Checks what reads returned against what was committed: each row is a register whose versions only grow.

use std::time::Duration;

/// What a read promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Nothing but that the value was committed once.
    Committed,
    /// Every commit that was answered this long before the read began.
    AnsweredBefore(Duration),
    /// Every commit that was answered before the read began, and nothing older than an earlier such read.
    Strict,
    /// At least this version, which the session has written.
    Session(u64),
    /// At least this version, which a fenced transaction has written.
    Fenced(u64),
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A read was older than a commit that had been answered.
    StaleAfterAnswer {
        /// Which row.
        row: u32,
        /// What was read.
        read: u64,
        /// What had been answered.
        answered: u64,
        /// What was promised.
        promise: Promise,
    },
    /// A read was older than an earlier one.
    BackInTime {
        /// Which row.
        row: u32,
        /// What was read.
        read: u64,
        /// What had been read before.
        before: u64,
    },
    /// A read returned what was never committed.
    NeverCommitted {
        /// Which row.
        row: u32,
        /// What was read.
        read: u64,
    },
    /// A read returned what a failover had lost.
    Lost {
        /// Which row.
        row: u32,
        /// What was read.
        read: u64,
    },
    /// When all was over a key was still old.
    StaleForGood {
        /// Which row.
        row: u32,
        /// What was read.
        read: u64,
        /// What the database shows.
        shows: u64,
    },
    /// A read failed although the database was there.
    Failed(String),
    /// A rollback dropped an entry.
    DroppedByRollback,
}

/// What was answered and read so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    answered: Vec<(u32, u64, Duration)>,
    strict_reads: Vec<(u32, u64, Duration)>,
    from_outside: Vec<u64>,
    pub(super) violations: Vec<Violation>,
    pub(super) reads: u64,
}

impl Log {
    /// A commit was answered.
    pub(super) fn answered(&mut self, row: u32, version: u64, at: Duration) {
        self.answered.push((row, version, at));
    }

    /// Somebody committed who knows no cache: it is owed from `at` on, by when the relay must have bumped it.
    pub(super) fn written_outside(&mut self, row: u32, version: u64, at: Duration) {
        self.from_outside.push(version);
        self.answered(row, version, at);
    }

    /// A failover has lost versions: nobody owes them any more.
    pub(super) fn lost(&mut self, is_lost: impl Fn(u64) -> bool) {
        self.answered.retain(|(_, version, _)| !is_lost(*version));
        self.strict_reads.retain(|(_, version, _)| !is_lost(*version));
    }

    /// A read began and ended.
    pub(super) fn read(&mut self, row: u32, read: u64, promise: Promise, began: Duration, ended: Duration) {
        self.reads += 1;
        let owed_by = match promise {
            Promise::Committed => None,
            Promise::AnsweredBefore(within) => began.checked_sub(within),
            Promise::Strict => Some(began),
            Promise::Session(version) | Promise::Fenced(version) => {
                if read < version {
                    self.violations.push(Violation::StaleAfterAnswer {
                        row,
                        read,
                        answered: version,
                        promise,
                    });
                }
                None
            }
        };
        if let Some(owed_by) = owed_by {
            let of_row = self.answered.iter().filter(|(other, _, at)| *other == row && *at < owed_by);
            let answered = of_row.map(|(_, version, _)| *version).max().unwrap_or_default();
            if read < answered {
                self.violations.push(Violation::StaleAfterAnswer { row, read, answered, promise });
            }
        }
        if promise == Promise::Strict {
            let of_row = self.strict_reads.iter().filter(|(other, _, at)| *other == row && *at < began);
            let before = of_row.map(|(_, version, _)| *version).max().unwrap_or_default();
            if read < before {
                self.violations.push(Violation::BackInTime { row, read, before });
            }
            // Until the relay has bumped what came from outside, a read past the tier may know more than the
            // tier.
            if !self.from_outside.contains(&read) {
                self.strict_reads.push((row, read, ended));
            }
        }
    }
}

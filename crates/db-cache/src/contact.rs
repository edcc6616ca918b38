//! Whether the second tier has been there all the time: one that comes back is not trusted at once.
//!
//! A commit of which the tier could not be told is answered when it has been silent for long enough that
//! every other process has noticed, too. So a process that has not heard from the tier for a while must wait
//! when it hears from it again: until the others have told what they changed meanwhile, and where a relay
//! runs, until that has caught up.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// What one process knows of the tier's presence.
#[derive(Debug)]
pub(crate) struct Contact {
    limits: Limits,
    /// Before the last request for the feed was sent that was answered.
    heard: AtomicU64,
    /// When the tier came back last.
    returned: AtomicU64,
    /// Whether the relay has not caught up since.
    awaits_relay: AtomicBool,
    /// When anything was answered last.
    answered: AtomicU64,
    /// For how long nothing was answered, in nanoseconds in which this process ran.
    silent: AtomicU64,
}

/// How long what may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// A tier that was not heard for longer may have been away.
    gap: Duration,
    /// For so long it is not trusted when it is back.
    quarantine: Duration,
    /// One that was silent for so long is trusted by nobody.
    gone: Duration,
    has_relay: bool,
}

/// In a gap the feed was asked at least so often.
const MISSED_ANSWERS: u32 = 5;

/// More than one attempt to hear from the tier takes: a process that was stopped for longer did not try.
const LONGEST_ATTEMPT: Duration = Duration::from_millis(1_500);

impl Contact {
    pub(crate) fn new(now: Moment, quarantine: Duration, feed_interval: Duration, has_relay: bool) -> Self {
        let gap = quarantine.max(feed_interval.saturating_mul(MISSED_ANSWERS));
        let limits = Limits { gap, quarantine, gone: gap.saturating_add(quarantine), has_relay };
        Contact {
            limits,
            heard: AtomicU64::new(now.0),
            returned: AtomicU64::new(0),
            awaits_relay: AtomicBool::new(false),
            answered: AtomicU64::new(now.0),
            silent: AtomicU64::new(0),
        }
    }

    /// The feed was asked at `asked`, and has answered now.
    pub(crate) fn heard(&self, asked: Moment, now: Moment) {
        if now.since(Moment(self.heard.load(Ordering::Acquire))) > self.limits.gap {
            self.awaits_relay.store(self.limits.has_relay, Ordering::Release);
            self.returned.store(now.0, Ordering::Release);
        }
        self.heard.store(asked.0, Ordering::Release);
        self.answered(now);
    }

    /// The tier has answered something.
    pub(crate) fn answered(&self, now: Moment) {
        self.answered.store(now.0, Ordering::Relaxed);
        if self.silent.load(Ordering::Relaxed) != 0 {
            self.silent.store(0, Ordering::Relaxed);
        }
    }

    /// An attempt to hear from the tier has failed, which took from `began` until now.
    pub(crate) fn missed(&self, began: Moment, now: Moment) {
        let before = Duration::from_nanos(self.silent.load(Ordering::Relaxed));
        let silent = before.saturating_add(now.since(began).min(LONGEST_ATTEMPT));
        let silent = silent.min(now.since(Moment(self.answered.load(Ordering::Relaxed))));
        self.silent.store(u64::try_from(silent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether what the tier says now may be trusted.
    pub(crate) fn is_steady(&self, now: Moment) -> bool {
        let returned = Moment(self.returned.load(Ordering::Acquire));
        let is_in_quarantine = returned.0 != 0 && now < returned.after(self.limits.quarantine);
        !is_in_quarantine && now.since(Moment(self.heard.load(Ordering::Acquire))) <= self.limits.gap
    }

    /// The relay had bumped all that was committed before that moment. Whether that is enough.
    pub(crate) fn has_caught_up(&self, relayed: Moment) -> bool {
        if relayed.0 < self.returned.load(Ordering::Acquire) {
            return false;
        }
        if self.awaits_relay.load(Ordering::Acquire) {
            self.awaits_relay.store(false, Ordering::Release);
        }
        true
    }

    /// Whether the feed's word that nothing is missing counts: all that was changed while the tier was away
    /// is in it.
    pub(crate) fn is_complete(&self, now: Moment) -> bool {
        self.is_steady(now) && !self.awaits_relay.load(Ordering::Acquire)
    }

    /// Whether the tier has been silent for so long that every process has noticed.
    pub(crate) fn is_gone(&self) -> bool {
        Duration::from_nanos(self.silent.load(Ordering::Relaxed)) >= self.limits.gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1_000_000_000);

    fn at(ms: u64) -> Moment {
        START.after(Duration::from_millis(ms))
    }

    fn contact(has_relay: bool) -> Contact {
        Contact::new(START, Duration::from_secs(1), Duration::from_millis(200), has_relay)
    }

    #[test]
    fn a_tier_that_was_away_is_not_trusted_before_the_others_have_had_time() {
        let contact = contact(false);
        contact.heard(at(0), at(200));
        assert!(contact.is_complete(at(900)));
        assert!(!contact.is_steady(at(1_100)), "it was not heard for more than a second");
        contact.heard(at(1_200), at(1_210));
        assert!(!contact.is_steady(at(1_220)));
        contact.heard(at(1_900), at(1_910));
        contact.heard(at(2_100), at(2_205));
        assert!(!contact.is_steady(at(2_209)));
        assert!(contact.is_complete(at(2_211)));
    }

    #[test]
    fn with_a_relay_it_also_waits_for_that() {
        let contact = contact(true);
        contact.heard(at(5_000), at(5_000));
        contact.heard(at(5_900), at(6_000));
        assert!(contact.is_steady(at(6_001)) && !contact.is_complete(at(6_001)));
        assert!(!contact.has_caught_up(at(4_999)));
        assert!(!contact.is_complete(at(6_001)));
        assert!(contact.has_caught_up(at(5_001)));
        assert!(contact.is_complete(at(6_001)));
    }

    #[test]
    fn a_process_that_was_stopped_did_not_find_the_tier_gone() {
        let contact = contact(false);
        contact.missed(at(0), at(60_000));
        assert!(!contact.is_gone());
        contact.missed(at(60_000), at(60_600));
        assert!(contact.is_gone());
        contact.answered(at(60_700));
        assert!(!contact.is_gone());
        contact.missed(at(60_000), at(60_800));
        assert!(!contact.is_gone(), "it has answered in between");
    }
}

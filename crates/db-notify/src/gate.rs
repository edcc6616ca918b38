//! What goes to a channel now, what is counted instead, and what is gathered: a state machine without a
//! clock.
//!
//! Repetitions of an incident are suppressed by key. Above the rate, a sliding window as in a token bucket's
//! place, messages wait and go as one digest, the gravest first.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use crate::NotifyConfig;
use crate::letter::Letter;
use crate::message::{Message, Severity};

/// So many incidents are remembered; the oldest are forgotten, and at worst repeated.
const MOST_KEYS: usize = 10_000;

/// One in so many of a burst is kept for what is critical and begins: a flood of the rest must not make it
/// wait.
const KEPT_PART: usize = 4;

/// What is to be done now.
#[derive(Debug)]
#[cfg_attr(test, derive(PartialEq))]
pub(crate) enum Next {
    /// There is nothing.
    Nothing,
    /// There is something, and its turn comes then.
    Later(Instant),
    /// This is sent.
    Send(Box<Letter>),
}

/// What waits for one channel.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    told: BTreeMap<String, Told>,
    waiting: VecDeque<Letter>,
    /// The receiver keeps incidents: each message goes alone.
    pub(crate) each_alone: bool,
    sent: VecDeque<Instant>,
    pub(crate) suppressed: u64,
    pub(crate) gathered: u64,
    pub(crate) dropped: u64,
}

/// An incident that was told.
#[derive(Debug)]
struct Told {
    at: Instant,
    severity: Severity,
    since: u32,
}

impl Gate {
    /// Takes a letter in, unless it repeats what was told. Who gave it an id has seen to that already.
    pub(crate) fn offer(&mut self, mut letter: Letter, config: &NotifyConfig, now: Instant) {
        let message = &mut letter.message;
        if letter.id.is_none()
            && let Some(key) = message.key.clone()
        {
            let known = self.told.get_mut(&key);
            match known {
                Some(told)
                    if !message.is_resolved
                        && message.severity <= told.severity
                        && now.saturating_duration_since(told.at) < config.repeat_after =>
                {
                    told.since = told.since.saturating_add(1);
                    self.suppressed = self.suppressed.saturating_add(1);
                    return;
                }
                Some(told) => message.repeated = told.since,
                None => {}
            }
            self.remember(key, &letter.message, now);
        }
        self.waiting.push_back(letter);
        if self.waiting.len() > config.queue.max(1) {
            self.drop_one();
        }
    }

    fn remember(&mut self, key: String, message: &Message, now: Instant) {
        if message.is_resolved {
            self.told.remove(&key);
            return;
        }
        if self.told.len() >= MOST_KEYS {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.at).map(|(key, _)| key.clone());
            oldest.map(|key| self.told.remove(&key));
        }
        self.told.insert(key, Told { at: now, severity: message.severity, since: 0 });
    }

    /// The oldest of the least grave goes.
    fn drop_one(&mut self) {
        let least = self.waiting.iter().enumerate().min_by_key(|(_, letter)| letter.message.severity);
        if let Some((at, _)) = least {
            let dropped = self.waiting.remove(at);
            self.dropped = self.dropped.saturating_add(1);
            dropped.and_then(|letter| letter.message.key).map(|key| self.told.remove(&key));
        }
    }

    /// A message did not come through: the next one about its incident is sent.
    pub(crate) fn forget(&mut self, message: &Message) {
        if let Some(key) = &message.key {
            self.told.remove(key);
        }
    }

    /// What is to be done now. `at_once`: the end is near, and nothing may wait for its turn.
    pub(crate) fn next(&mut self, config: &NotifyConfig, now: Instant, at_once: bool) -> Next {
        while self.sent.front().is_some_and(|at| now.saturating_duration_since(*at) >= config.window) {
            self.sent.pop_front();
        }
        let Some(gravest) = self.waiting.iter().map(urgency).max() else { return Next::Nothing };
        let burst = config.burst.max(1);
        let kept = if gravest == Severity::Critical { 0 } else { burst / KEPT_PART };
        let left = burst.saturating_sub(kept).saturating_sub(self.sent.len());
        if left == 0 && !at_once {
            let turn = self.sent.front().and_then(|at| at.checked_add(config.window));
            return turn.map_or(Next::Nothing, Next::Later);
        }
        self.sent.push_back(now);
        let all_fit = self.waiting.len() <= left;
        let alone = all_fit || left > 1 || self.each_alone;
        let letter = if alone { self.gravest() } else { self.digest() };
        letter.map_or(Next::Nothing, |letter| Next::Send(Box::new(letter)))
    }

    /// The oldest of the gravest; where something of the same incident waits since before, that.
    fn gravest(&mut self) -> Option<Letter> {
        let gravest = self.waiting.iter().min_by_key(|letter| std::cmp::Reverse(urgency(letter)))?;
        let key = gravest.message.key.as_ref();
        let is_it = |letter: &Letter| match key {
            Some(key) => letter.message.key.as_ref() == Some(key),
            None => std::ptr::eq(letter, gravest),
        };
        let at = self.waiting.iter().position(is_it)?;
        self.waiting.remove(at)
    }

    /// All that waits, as one message.
    fn digest(&mut self) -> Option<Letter> {
        if self.waiting.len() == 1 {
            return self.waiting.pop_front();
        }
        let mut all: Vec<Letter> = self.waiting.drain(..).collect();
        self.gathered = self.gathered.saturating_add(all.len() as u64);
        let receipts = all.iter_mut().flat_map(|letter| letter.receipts.drain(..)).collect();
        let message = Message::digest(all.into_iter().map(|letter| (letter.id, letter.message)));
        Some(Letter { receipts, ..Letter::of(message) })
    }
}

/// How soon a letter must go. That something is over can wait for its turn, that something begins cannot.
fn urgency(letter: &Letter) -> Severity {
    if letter.message.is_resolved { Severity::Info } else { letter.message.severity }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> NotifyConfig {
        NotifyConfig { burst: 3, queue: 4, ..NotifyConfig::default() }
    }

    fn about(key: &str, severity: Severity) -> Letter {
        Letter::of(Message::new(severity, key, "text").key(key))
    }

    #[track_caller]
    fn sent(gate: &mut Gate, now: Instant) -> Message {
        match gate.next(&config(), now, false) {
            Next::Send(letter) => letter.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_incident_is_told_once_until_it_is_graver_old_or_over() {
        let (mut gate, start, config) = (Gate::default(), Instant::now(), config());
        let mut offer = |severity, after: Duration| {
            gate.offer(about("disk", severity), &config, start + after);
            match gate.next(&config, start + after, true) {
                Next::Send(letter) => Some((letter.message.severity, letter.message.repeated)),
                _ => None,
            }
        };
        assert_eq!(offer(Severity::Warning, SECOND), Some((Severity::Warning, 0)));
        assert_eq!(offer(Severity::Warning, 2 * SECOND), None);
        assert_eq!(offer(Severity::Info, 3 * SECOND), None);
        assert_eq!(offer(Severity::Critical, 4 * SECOND), Some((Severity::Critical, 2)));
        assert_eq!(offer(Severity::Critical, 5 * SECOND), None);
        assert_eq!(offer(Severity::Warning, 3_700 * SECOND), Some((Severity::Warning, 1)));
        let over = about("disk", Severity::Info).message.resolved();
        gate.offer(Letter::of(over), &config, start + 3_701 * SECOND);
        assert!(matches!(gate.next(&config, start + 3_701 * SECOND, true), Next::Send(_)));
        gate.offer(about("disk", Severity::Warning), &config, start + 3_702 * SECOND);
        assert!(matches!(gate.next(&config, start + 3_702 * SECOND, true), Next::Send(_)));
        assert_eq!(gate.suppressed, 3);
    }

    #[test]
    fn what_did_not_come_through_is_not_told() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.offer(about("disk", Severity::Warning), &config(), now);
        let lost = sent(&mut gate, now);
        gate.forget(&lost);
        gate.offer(about("disk", Severity::Warning), &config(), now);
        assert_eq!(sent(&mut gate, now).title, "disk");
    }

    #[test]
    fn a_flood_becomes_a_digest_with_the_gravest_first() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for (key, severity) in [("a", Severity::Info), ("b", Severity::Critical), ("c", Severity::Info)] {
            gate.offer(about(key, severity), &config(), now);
        }
        gate.offer(about("d", Severity::Warning), &config(), now);
        // Three may go, four wait: the gravest two go alone, the rest together.
        assert_eq!(sent(&mut gate, now).title, "b");
        assert_eq!(sent(&mut gate, now).title, "d");
        let digest = sent(&mut gate, now);
        assert_eq!((&*digest.title, &*digest.text), ("2 messages in one", "[info] a\n[info] c"));
        gate.offer(about("e", Severity::Critical), &config(), now + SECOND);
        assert_eq!(gate.next(&config(), now + SECOND, false), Next::Later(now + 60 * SECOND));
        assert_eq!(sent(&mut gate, now + 60 * SECOND).title, "e");
        assert_eq!(gate.gathered, 2);
        assert_eq!(gate.next(&config(), now + 60 * SECOND, false), Next::Nothing);
    }

    #[test]
    fn a_flood_of_warnings_leaves_room_for_what_is_critical() {
        let config = NotifyConfig { burst: 20, queue: 100, ..NotifyConfig::default() };
        let (mut gate, now) = (Gate::default(), Instant::now());
        for n in 0..40 {
            gate.offer(about(&n.to_string(), Severity::Warning), &config, now);
        }
        let mut sent = 0;
        while let Next::Send(_) = gate.next(&config, now, false) {
            sent += 1;
        }
        assert_eq!(sent, 15);
        gate.offer(about("late", Severity::Warning), &config, now);
        assert_eq!(gate.next(&config, now, false), Next::Later(now + 60 * SECOND));
        for n in 0..5 {
            gate.offer(about(&format!("down {n}"), Severity::Critical), &config, now);
            let Next::Send(letter) = gate.next(&config, now, false) else { panic!("{n} waits") };
            assert_eq!(letter.message.severity, Severity::Critical);
        }
        gate.offer(about("down 5", Severity::Critical), &config, now);
        assert_eq!(gate.next(&config, now, false), Next::Later(now + 60 * SECOND));
    }

    fn over(key: &str) -> Letter {
        Letter::of(about(key, Severity::Critical).message.resolved())
    }

    #[test]
    fn that_something_is_over_leaves_room_for_what_begins() {
        let config = NotifyConfig { burst: 8, ..NotifyConfig::default() };
        let (mut gate, now) = (Gate::default(), Instant::now());
        for n in 0..6 {
            gate.offer(over(&n.to_string()), &config, now);
            assert!(matches!(gate.next(&config, now, false), Next::Send(_)), "{n} waits");
        }
        gate.offer(over("6"), &config, now);
        assert_eq!(gate.next(&config, now, false), Next::Later(now + 60 * SECOND));
        gate.offer(about("disk", Severity::Critical), &config, now);
        let Next::Send(letter) = gate.next(&config, now, false) else { panic!("it waits") };
        assert_eq!(letter.message.title, "disk");
    }

    #[test]
    fn of_one_incident_nothing_overtakes() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.offer(over("disk"), &config(), now);
        gate.offer(about("disk", Severity::Critical), &config(), now);
        assert!(sent(&mut gate, now).is_resolved, "that it is over again was told before it was over");
        assert!(!sent(&mut gate, now).is_resolved);
    }

    #[test]
    fn a_full_queue_drops_the_least_grave_and_counts_it() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        gate.offer(about("first", Severity::Critical), &config(), now);
        for n in 0..6 {
            gate.offer(about(&n.to_string(), Severity::Info), &config(), now);
        }
        assert_eq!(gate.dropped, 3);
        assert_eq!(sent(&mut gate, now).title, "first");
        // What was dropped was not told.
        gate.offer(about("0", Severity::Info), &config(), now);
        assert_eq!(gate.suppressed, 0);
    }

    #[test]
    fn who_keeps_incidents_gets_each_alone_and_what_has_an_id_is_no_repetition() {
        let (mut gate, now) = (Gate { each_alone: true, ..Gate::default() }, Instant::now());
        for n in 0..4 {
            gate.offer(about("disk", Severity::Warning).with_id(format!("{n}")), &config(), now);
        }
        for _ in 0..3 {
            assert_eq!(sent(&mut gate, now).title, "disk");
        }
        assert_eq!(gate.next(&config(), now, false), Next::Later(now + 60 * SECOND));
        assert_eq!((gate.suppressed, gate.gathered), (0, 0));
    }

    #[test]
    fn a_digest_keeps_the_ids_of_what_it_stands_for() {
        let (mut gate, now) = (Gate::default(), Instant::now());
        for n in 0..4 {
            gate.offer(about("disk", Severity::Warning).with_id(format!("{n}")), &config(), now);
        }
        let (_, _, digest) = (sent(&mut gate, now), sent(&mut gate, now), sent(&mut gate, now));
        let ids: Vec<_> = digest.gathered.iter().filter_map(|one| one.id.as_deref()).collect();
        assert_eq!(ids, ["2", "3"]);
    }
}

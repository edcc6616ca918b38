//! What goes to a channel now, what is counted instead, and what is gathered: a state machine without a clock.
//!
//! Repetitions of an incident are suppressed by key. Above the rate, a sliding window as in a token bucket's place,
//! messages wait and go as one digest, the gravest first.

use std::collections::{BTreeMap, VecDeque};

use tokio::time::Instant;

use crate::NotifyConfig;
use crate::message::{Message, Severity, cut};

/// So many incidents are remembered; the oldest are forgotten, and at worst repeated.
const MOST_KEYS: usize = 10_000;
/// So many titles are listed in a digest.
const LISTED: usize = 30;

/// What is to be done now.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    /// There is nothing.
    Nothing,
    /// There is something, and its turn comes then.
    Later(Instant),
    /// This is sent.
    Send(Box<Message>),
}

/// What waits for one channel.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    told: BTreeMap<String, Told>,
    waiting: VecDeque<Message>,
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
    /// Takes a message in, unless it repeats what was told.
    pub(crate) fn offer(&mut self, mut message: Message, config: &NotifyConfig, now: Instant) {
        if let Some(key) = message.key.clone() {
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
            self.remember(key, &message, now);
        }
        self.waiting.push_back(message);
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
        let least = self.waiting.iter().enumerate().min_by_key(|(_, message)| message.severity);
        if let Some((at, _)) = least {
            let dropped = self.waiting.remove(at);
            self.dropped = self.dropped.saturating_add(1);
            dropped.and_then(|message| message.key).map(|key| self.told.remove(&key));
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
        let burst = config.burst.max(1);
        let left = burst.saturating_sub(self.sent.len());
        if self.waiting.is_empty() {
            return Next::Nothing;
        }
        if left == 0 && !at_once {
            let turn = self.sent.front().and_then(|at| at.checked_add(config.window));
            return turn.map_or(Next::Nothing, Next::Later);
        }
        self.sent.push_back(now);
        let all_fit = self.waiting.len() <= left;
        let message = if all_fit || left > 1 { self.gravest() } else { self.digest() };
        message.map_or(Next::Nothing, |message| Next::Send(Box::new(message)))
    }

    /// The oldest of the gravest.
    fn gravest(&mut self) -> Option<Message> {
        let by = |(_, message): &(usize, &Message)| std::cmp::Reverse(message.severity);
        let (at, _) = self.waiting.iter().enumerate().min_by_key(by)?;
        self.waiting.remove(at)
    }

    /// All that waits, as one message.
    fn digest(&mut self) -> Option<Message> {
        if self.waiting.len() == 1 {
            return self.waiting.pop_front();
        }
        let mut all: Vec<Message> = self.waiting.drain(..).collect();
        // A stable sort: within one severity the order is that of time.
        all.sort_by_key(|message| std::cmp::Reverse(message.severity));
        let severity = all.first()?.severity;
        let mut lines: Vec<String> =
            all.iter().take(LISTED).map(|message| cut(&message.subject(), 200)).collect();
        if all.len() > LISTED {
            lines.push(format!("and {} more", all.len() - LISTED));
        }
        self.gathered = self.gathered.saturating_add(all.len() as u64);
        Some(Message::new(severity, format!("{} messages in one", all.len()), lines.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn config() -> NotifyConfig {
        NotifyConfig { burst: 3, queue: 4, ..NotifyConfig::default() }
    }

    fn about(key: &str, severity: Severity) -> Message {
        Message::new(severity, key, "text").key(key)
    }

    #[track_caller]
    fn sent(gate: &mut Gate, now: Instant) -> Message {
        match gate.next(&config(), now, false) {
            Next::Send(message) => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_incident_is_told_once_until_it_is_graver_old_or_over() {
        let (mut gate, start, config) = (Gate::default(), Instant::now(), config());
        let mut offer = |severity, after: Duration| {
            gate.offer(about("disk", severity), &config, start + after);
            match gate.next(&config, start + after, true) {
                Next::Send(message) => Some((message.severity, message.repeated)),
                _ => None,
            }
        };
        assert_eq!(offer(Severity::Warning, SECOND), Some((Severity::Warning, 0)));
        assert_eq!(offer(Severity::Warning, 2 * SECOND), None);
        assert_eq!(offer(Severity::Info, 3 * SECOND), None);
        assert_eq!(offer(Severity::Critical, 4 * SECOND), Some((Severity::Critical, 2)));
        assert_eq!(offer(Severity::Critical, 5 * SECOND), None);
        assert_eq!(offer(Severity::Warning, 3_700 * SECOND), Some((Severity::Warning, 1)));
        gate.offer(about("disk", Severity::Info).resolved(), &config, start + 3_701 * SECOND);
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
}

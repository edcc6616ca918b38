//! Brings to each channel what it is owed: at once, again until it comes through, another way where it never
//! will.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use db_notify::{Channel, Delivery, Message, Notifier, NotifyConfig, Severity};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::alerts::store::{Done, Owed};
use crate::alerts::{Told, What};

/// So many messages for one channel at one look go as one.
const GATHERED_FROM: usize = 4;
/// What was given up although another attempt may help is offered again after this pause.
const OFFERED_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Receipts of what came through take no longer than this to arrive.
const RECEIPTS: Duration = Duration::from_millis(200);
/// What has not come through for so long is lost, and counted.
const LOST_AFTER: Duration = Duration::from_secs(24 * 3600);

/// One way to people, and what it is for.
#[derive(Clone)]
pub struct AlertChannel {
    /// What tells it from all others, in the database and in counts. It holds no secret.
    pub name: String,
    /// The way.
    pub channel: Arc<dyn Channel>,
    /// The least severity that it is for.
    pub least: Severity,
}

/// What deliveries have come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) delivered: u64,
    pub(crate) diverted: u64,
    pub(crate) lost: u64,
    pub(crate) last_delivered: Option<SystemTime>,
}

/// What is owed now, and what is on its way.
pub(crate) struct Deliveries {
    notifier: Notifier,
    config: NotifyConfig,
    channels: Vec<AlertChannel>,
    on_the_way: BTreeSet<(String, String)>,
    /// What is to be offered again, and when.
    later: Vec<(Instant, Owed)>,
    /// Since when each is owed, for those that were given up once.
    since: BTreeMap<(String, String), Instant>,
    ended: mpsc::UnboundedReceiver<Ended>,
    end: mpsc::UnboundedSender<Ended>,
    waiting: JoinSet<()>,
    pub(crate) counts: Counts,
}

/// What became of one delivery, and of everything that went in it.
pub(crate) struct Ended {
    owed: Vec<Owed>,
    delivery: Delivery,
}

/// What is to be kept after some ended.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) done: Vec<Done>,
    /// Goes another way.
    pub(crate) diverted: Vec<Owed>,
}

impl Deliveries {
    pub(crate) fn start(channels: Vec<AlertChannel>, config: NotifyConfig) -> Self {
        let notifier = notifier(&channels, &config);
        let (end, ended) = mpsc::unbounded_channel();
        Deliveries {
            notifier,
            config,
            channels,
            on_the_way: BTreeSet::new(),
            later: Vec::new(),
            since: BTreeMap::new(),
            ended,
            end,
            waiting: JoinSet::new(),
            counts: Counts::default(),
        }
    }

    /// Who is owed these messages.
    pub(crate) fn owed(&self, told: &[Told]) -> Vec<Owed> {
        let mut owed = Vec::new();
        for one in told {
            for AlertChannel { name, channel, least } in &self.channels {
                let keeps = channel.keeps_incidents();
                let is_for_it = one.severity() >= *least && (one.what != What::Acknowledged || keeps);
                if is_for_it {
                    owed.push(Owed { id: one.id(), channel: name.clone(), told: one.clone() });
                }
            }
        }
        owed
    }

    /// Sends what is owed and is not on its way already: at once where there is little, else in one message
    /// for each channel, the gravest first.
    pub(crate) fn send(&mut self, owed: Vec<Owed>) {
        let mut by_channel: BTreeMap<usize, Vec<Owed>> = BTreeMap::new();
        for one in owed {
            let Some(at) = self.channels.iter().position(|channel| channel.name == one.channel) else {
                continue;
            };
            if self.on_the_way.insert((one.id.clone(), one.channel.clone())) {
                by_channel.entry(at).or_default().push(one);
            }
        }
        for (at, owed) in by_channel {
            if owed.len() < GATHERED_FROM || self.channels[at].channel.keeps_incidents() {
                for one in owed {
                    let (id, message) = (one.id.clone(), one.told.message());
                    self.hand_over(at, &id, message, vec![one]);
                }
            } else {
                let ids: Vec<&str> = owed.iter().map(|one| one.id.as_str()).collect();
                let id = format!("{}+{}", ids.first().copied().unwrap_or_default(), ids.len() - 1);
                let message =
                    Message::digest(owed.iter().map(|one| (Some(one.id.clone()), one.told.message())));
                self.hand_over(at, &id, message, owed);
            }
        }
    }

    fn hand_over(&mut self, at: usize, id: &str, message: Message, owed: Vec<Owed>) {
        let (delivery, end) = (self.notifier.deliver(at, id, message), self.end.clone());
        while self.waiting.try_join_next().is_some() {}
        self.waiting.spawn(async move {
            // Nobody listens any more where the service ends.
            let _ = end.send(Ended { owed, delivery: delivery.await });
        });
    }

    /// Waits for the next delivery that ends, and settles all that ended.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Settled {
        let mut settled = Settled::default();
        // The sender is ours, so there is always another one.
        if let Some(ended) = self.ended.recv().await {
            self.settle(ended, &mut settled);
        }
        while let Ok(ended) = self.ended.try_recv() {
            self.settle(ended, &mut settled);
        }
        settled
    }

    fn settle(&mut self, Ended { owed, delivery }: Ended, settled: &mut Settled) {
        for one in owed {
            let key = (one.id.clone(), one.channel.clone());
            let outcome = match &delivery {
                Delivery::Sent { .. } => {
                    self.counts.delivered = self.counts.delivered.saturating_add(1);
                    self.counts.last_delivered = Some(SystemTime::now());
                    "delivered".to_owned()
                }
                Delivery::GivenUp(error) if error.is_permanent => {
                    settled.diverted.extend(self.divert(&one));
                    format!("another way, because it never will: {error}")
                }
                Delivery::GivenUp(_) | Delivery::Dropped => {
                    let now = Instant::now();
                    let since = *self.since.entry(key.clone()).or_insert(now);
                    if now.saturating_duration_since(since) < LOST_AFTER {
                        let again = now.checked_add(OFFERED_AGAIN_AFTER).unwrap_or(now);
                        self.later.push((again, one));
                        continue;
                    }
                    self.counts.lost = self.counts.lost.saturating_add(1);
                    tracing::error!(incident = one.told.incident, channel = one.channel, "an alert is lost");
                    "lost".to_owned()
                }
            };
            self.on_the_way.remove(&key);
            self.since.remove(&key);
            settled.done.push(Done { id: one.id, channel: one.channel, outcome });
        }
    }

    /// The same for all other channels that were not to get it. Where there is none, it is lost.
    fn divert(&mut self, one: &Owed) -> Vec<Owed> {
        self.counts.diverted = self.counts.diverted.saturating_add(1);
        let others = self.channels.iter().filter(|other| {
            // Who is to get it anyway has it or will; and a second way is no way for what came a second way.
            other.name != one.channel && one.told.severity() < other.least && !one.told.is_diverted()
        });
        let mut told = one.told.clone();
        told.facts.push((Told::DIVERTED.to_owned(), one.channel.clone()));
        let diverted: Vec<_> = others
            .map(|other| Owed { id: one.id.clone(), channel: other.name.clone(), told: told.clone() })
            .collect();
        let others_have_it =
            self.channels.iter().any(|other| other.name != one.channel && one.told.severity() >= other.least);
        if diverted.is_empty() && !others_have_it {
            self.counts.lost = self.counts.lost.saturating_add(1);
            tracing::error!(
                incident = one.told.incident,
                channel = one.channel,
                "an alert is lost: the channel refuses it for good, and there is no other"
            );
        }
        diverted
    }

    /// What is to be offered again by now.
    pub(crate) fn again(&mut self, now: Instant) -> Vec<Owed> {
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, Owed)> = due;
        let due: Vec<Owed> = due.into_iter().map(|(_, owed)| owed).collect();
        for owed in &due {
            self.on_the_way.remove(&(owed.id.clone(), owed.channel.clone()));
        }
        due
    }

    /// Another replica sends from now on. What has not come through is not tried any more: it is owed, and
    /// that one sends it. What has come through is still told by [`next`](Deliveries::next).
    pub(crate) fn leave_the_rest(&mut self) {
        self.notifier = notifier(&self.channels, &self.config);
        self.waiting.abort_all();
        self.on_the_way.clear();
        self.later.clear();
        self.since.clear();
    }

    /// Sends what waits, without regard to rates, and settles what came through within `grace`.
    pub(crate) async fn end(&mut self, grace: Duration) -> Settled {
        self.notifier.shutdown(grace).await;
        // What was not attended to keeps its receipt, and is owed to the next leader.
        let told = async { while self.waiting.join_next().await.is_some() {} };
        let _is_owed = tokio::time::timeout(RECEIPTS, told).await;
        let mut settled = Settled::default();
        while let Ok(ended) = self.ended.try_recv() {
            self.settle(ended, &mut settled);
        }
        settled
    }
}

/// One that has nothing to send yet.
fn notifier(channels: &[AlertChannel], config: &NotifyConfig) -> Notifier {
    let lines = channels.iter().map(|one| (Arc::clone(&one.channel), one.least)).collect::<Vec<_>>();
    Notifier::start(config.clone(), lines)
}

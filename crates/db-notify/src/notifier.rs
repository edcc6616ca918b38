//! The notifier: every channel gets every message that is grave enough for it, and none waits for another.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::deliver::deliver;
use crate::letter::Letter;
use crate::line::{Change, Line};
use crate::{Channel, ChannelStatus, Message, NotifyConfig, SendError, Severity};

/// Sends messages to people. Cheap to clone.
///
/// When nothing comes through on a channel any more, the others say so, and name what was lost.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use db_notify::{Message, Notifier, NotifyConfig, Severity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let notifier = Notifier::start(NotifyConfig::default(), []);
/// notifier.notify(Message::new(Severity::Warning, "The archive is late", "3 segments wait"));
/// assert!(notifier.status().is_empty(), "no channel is configured");
/// assert!(notifier.shutdown(Duration::from_secs(5)).await, "all has come through");
/// # }
/// ```
#[derive(Clone)]
pub struct Notifier {
    shared: Arc<Shared>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What became of a message on one channel.
///
/// ```
/// use db_notify::{Delivery, Message, Notifier, NotifyConfig, Severity};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let notifier = Notifier::start(NotifyConfig::default(), []);
/// let message = Message::new(Severity::Warning, "The archive is late", "3 segments wait");
/// assert_eq!(notifier.deliver(0, "archive#1", message).await, Delivery::Dropped, "there is no channel");
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// It came through.
    Sent {
        /// How many attempts it took.
        attempts: u32,
    },
    /// It was given up: at once where no other attempt would differ, else at the deadline.
    GivenUp(SendError),
    /// It was not tried: the queue was full of graver ones, the notifier has ended, or there is no such
    /// channel.
    Dropped,
}

struct Shared {
    lines: Vec<Line>,
    config: NotifyConfig,
}

impl Notifier {
    /// Starts a task for each channel on the current runtime. With each channel goes the least severity that
    /// it is for. When the last clone is dropped, what waits is lost: [`shutdown`](Notifier::shutdown) sends
    /// it.
    ///
    /// # Panics
    /// Outside a tokio runtime, if there is a channel.
    pub fn start(
        config: NotifyConfig,
        channels: impl IntoIterator<Item = (Arc<dyn Channel>, Severity)>,
    ) -> Self {
        let lines = channels.into_iter().map(|(channel, least)| Line::new(channel, least)).collect();
        let shared = Arc::new(Shared { lines, config });
        let mut tasks = JoinSet::new();
        for at in 0..shared.lines.len() {
            let shared = Arc::clone(&shared);
            tasks.spawn(async move {
                let line = &shared.lines[at];
                line.serve(&shared.config, |change| shared.tell(line, change)).await;
            });
        }
        Notifier { shared, tasks: Arc::new(Mutex::new(tasks)) }
    }

    /// Hands a message to every channel that it is grave enough for, and returns at once.
    pub fn notify(&self, message: Message) {
        for line in self.shared.lines.iter().filter(|line| message.severity >= line.least) {
            line.offer(Letter::of(message.clone()), &self.shared.config);
        }
    }

    /// Hands a message to one channel, by its place among those that were given, whatever severity it is for,
    /// and answers what became of it. Attempts at it carry `id`, also those of a later call, so that a
    /// receiver that has it already can tell. It is subject to rates, and never counted as a repetition: who
    /// gives ids knows what was sent.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing about the delivery.
    pub fn deliver(
        &self,
        to: usize,
        id: &str,
        message: Message,
    ) -> impl Future<Output = Delivery> + Send + use<> {
        let (receipt, outcome) = oneshot::channel();
        if let Some(line) = self.shared.lines.get(to) {
            let mut letter = Letter::of(message).with_id(id.to_owned());
            letter.receipts.push(receipt);
            line.offer(letter, &self.shared.config);
        }
        async {
            match outcome.await {
                Ok(Ok(attempts)) => Delivery::Sent { attempts },
                Ok(Err(error)) => Delivery::GivenUp(error),
                Err(_) => Delivery::Dropped,
            }
        }
    }

    /// Sends a test message to every channel at once, and waits for each. It goes the way of every message,
    /// past repetitions and rates.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the attempts.
    pub async fn test(&self) -> Vec<(String, Result<(), SendError>)> {
        let mut attempts = JoinSet::new();
        for at in 0..self.shared.lines.len() {
            let shared = Arc::clone(&self.shared);
            attempts.spawn(async move {
                let channel = &*shared.lines[at].channel;
                let message = Message::new(
                    Severity::Info,
                    "A test message",
                    "Messages come through on this channel. There is nothing to do.",
                );
                let message = message.key(format!("test:{:016x}", fastrand::u64(..)));
                let mut sent = deliver(channel, &message, None, None, &shared.config).await;
                if sent.is_ok() && channel.keeps_incidents() {
                    // Nobody is to be woken by it.
                    sent = deliver(channel, &message.resolved(), None, None, &shared.config).await;
                }
                (at, channel.name().to_owned(), sent.map(drop).map_err(|undelivered| undelivered.error))
            });
        }
        let mut results = Vec::new();
        while let Some(result) = attempts.join_next().await {
            // Panics of channels are caught where they are sent.
            results.extend(result.ok());
        }
        results.sort_by_key(|(at, ..)| *at);
        results.into_iter().map(|(_, name, result)| (name, result)).collect()
    }

    /// How each channel is, in the order in which they were given.
    pub fn status(&self) -> Vec<ChannelStatus> {
        self.shared.lines.iter().map(Line::status).collect()
    }

    /// Sends what waits, without regard to rates, and ends. Whether all of it was attended to within `grace`.
    ///
    /// # Cancel safety
    /// Dropping the future loses what still waits.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        self.shared.lines.iter().for_each(Line::close);
        timeout(grace, async { while tasks.join_next().await.is_some() {} }).await.is_ok()
    }
}

impl Shared {
    /// Tells the other channels what became of this one.
    fn tell(&self, line: &Line, change: Change) {
        let name = line.channel.name();
        let message = match change {
            Change::None => return,
            Change::Died { error, lost } => Message::new(
                Severity::Critical,
                format!("Nothing comes through on {name}"),
                format!(
                    "{error}\nThis was lost: {}\nLook at the channel's address and rights; `dbctl notify test` \
                     tries it.",
                    lost.subject()
                ),
            ),
            Change::Revived => {
                Message::new(Severity::Critical, format!("Messages come through on {name} again"), "")
                    .resolved()
            }
        };
        let message = message.key(format!("channel:{name}"));
        let others = self.lines.iter().filter(|other| !std::ptr::eq(*other, line) && !other.is_dead());
        // Whoever reads this way only is told whatever severity the channel is for.
        let told = others.map(|other| other.offer(Letter::of(message.clone()), &self.config)).count();
        if told == 0 && !message.is_resolved {
            tracing::error!(channel = name, "no other channel is left to tell that nothing comes through");
        }
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("channels", &self.status()).finish()
    }
}

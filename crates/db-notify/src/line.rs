//! One channel at work: its queue, its count, and whether it is dead.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::deliver::{Undelivered, deliver};
use crate::gate::{Gate, Next};
use crate::letter::Letter;
use crate::{Channel, ChannelStatus, Message, NotifyConfig, SendError, Severity};

/// One channel at work.
pub(crate) struct Line {
    pub(crate) channel: Arc<dyn Channel>,
    pub(crate) least: Severity,
    state: Mutex<State>,
    woken: Notify,
    closing: AtomicBool,
}

#[derive(Default)]
struct State {
    gate: Gate,
    status: ChannelStatus,
}

/// What changed with one delivery.
#[derive(Debug, PartialEq)]
pub(crate) enum Change {
    None,
    Died { error: SendError, lost: Box<Message> },
    Revived,
}

impl Line {
    pub(crate) fn new(channel: Arc<dyn Channel>, least: Severity) -> Self {
        let status = ChannelStatus { name: channel.name().to_owned(), ..ChannelStatus::default() };
        let mut gate = Gate::default();
        gate.each_alone = channel.keeps_incidents();
        let state = Mutex::new(State { gate, status });
        Line { channel, least, state, woken: Notify::new(), closing: AtomicBool::new(false) }
    }

    pub(crate) fn offer(&self, letter: Letter, config: &NotifyConfig) {
        self.state().gate.offer(letter, config, Instant::now());
        self.woken.notify_one();
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.woken.notify_one();
    }

    pub(crate) fn status(&self) -> ChannelStatus {
        let state = self.state();
        let gate = &state.gate;
        ChannelStatus {
            suppressed: gate.suppressed,
            gathered: gate.gathered,
            dropped: gate.dropped,
            ..state.status.clone()
        }
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state().status.dead_since.is_some()
    }

    /// Sends what comes until the line is closed and empty. Each delivery's change is told.
    pub(crate) async fn serve(&self, config: &NotifyConfig, tell: impl Fn(Change)) {
        loop {
            let closing = self.closing.load(Ordering::Acquire);
            let next = self.state().gate.next(config, Instant::now(), closing);
            match next {
                Next::Send(letter) => tell(self.send(*letter, config).await),
                Next::Later(turn) => tokio::select! {
                    () = sleep_until(turn) => {}
                    () = self.woken.notified() => {}
                },
                Next::Nothing if closing => return,
                Next::Nothing => self.woken.notified().await,
            }
        }
    }

    async fn send(&self, mut letter: Letter, config: &NotifyConfig) -> Change {
        // What is dead is tried once: so it is noticed when it works again, and nothing waits for it.
        let deadline = (!self.is_dead()).then_some(config.deadline);
        let (message, id) = (&letter.message, letter.id.as_deref());
        let result = deliver(&*self.channel, message, id, deadline, config).await;
        let told = result.as_ref().map(|attempts| *attempts).map_err(|undelivered| undelivered.error.clone());
        letter.tell(&told);
        self.record(letter.message, result)
    }

    fn record(&self, message: Message, result: Result<u32, Undelivered>) -> Change {
        let mut state = self.state();
        let name = self.channel.name();
        match result {
            Ok(attempts) => {
                let status = &mut state.status;
                status.delivered = status.delivered.saturating_add(1);
                status.retries = status.retries.saturating_add(u64::from(attempts.saturating_sub(1)));
                status.last_delivered = Some(SystemTime::now());
                match status.dead_since.take() {
                    Some(_) => Change::Revived,
                    None => Change::None,
                }
            }
            Err(Undelivered { error, attempts }) => {
                state.gate.forget(&message);
                let status = &mut state.status;
                status.failed = status.failed.saturating_add(1);
                status.retries = status.retries.saturating_add(u64::from(attempts.saturating_sub(1)));
                status.last_error = Some(error.what.clone());
                let was_dead = status.dead_since.is_some();
                status.dead_since.get_or_insert_with(SystemTime::now);
                drop(state);
                tracing::error!(
                    channel = name,
                    attempts,
                    "{:?} was not delivered: {error}",
                    message.subject()
                );
                if was_dead { Change::None } else { Change::Died { error, lost: Box::new(message) } }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

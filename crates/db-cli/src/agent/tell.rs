//! What people are told of jobs: failures and what has not run for long at once, successes once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use db_platform::notify::{Message, Notifier, Severity};
use db_platform::schedule::{Event, Observer};

use super::ground::Ground;
use super::warnings::Warnings;
use super::watch::Change;

/// Tells people what happens to jobs.
pub(super) struct Tell {
    notifier: Notifier,
    place: String,
    host: String,
    /// The incidents that were told and are not over.
    open: Mutex<BTreeSet<String>>,
    /// Whether this host tells what others see as well.
    speaks: AtomicBool,
    warnings: Arc<Warnings>,
}

impl Tell {
    pub(super) fn new(notifier: Notifier, ground: &Ground) -> Self {
        Tell {
            notifier,
            place: ground.place.clone(),
            host: ground.host.clone(),
            open: Mutex::new(BTreeSet::new()),
            speaks: AtomicBool::new(true),
            warnings: Arc::clone(&ground.warnings),
        }
    }

    /// Whether this host is the one that tells what others see as well.
    pub(super) fn speak(&self, speaks: bool) {
        self.speaks.store(speaks, Ordering::Relaxed);
    }

    fn bad(&self, severity: Severity, key: String, title: String, text: String) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        self.send(Message::new(severity, title, text).key(key));
    }

    /// Ends the incidents of a job that has succeeded.
    fn good(&self, job: &str, title: String, text: String) {
        let keys = [format!("job:{job}"), format!("overdue:{job}")];
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let over: Vec<&String> = keys.iter().filter(|key| open.remove(*key)).collect();
        drop(open);
        if over.is_empty() {
            return self.send(Message::new(Severity::Info, title, text));
        }
        for key in over {
            self.send(Message::new(Severity::Critical, title.clone(), text.clone()).key(key).resolved());
        }
    }

    /// Something about the archive has begun or is over.
    pub(super) fn archive(&self, change: Change) {
        let title = format!("the archived log of {}", self.place);
        match change {
            Change::Began { key, text } => {
                tracing::error!("{title}: {text}");
                self.bad(Severity::Critical, format!("archive:{key}"), format!("{title} needs a look"), text);
            }
            Change::Over { key, text } => {
                let key = format!("archive:{key}");
                self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                let title = format!("{title} is mended");
                self.send(
                    Message::new(Severity::Critical, title, format!("no longer: {text}")).key(key).resolved(),
                );
            }
        }
    }

    fn send(&self, message: Message) {
        self.notifier.notify(message.fact("server", &self.place).fact("host", &self.host));
    }
}

impl Observer for Tell {
    fn on_event(&self, event: &Event<'_>) {
        let (job, place) = (event.job(), &self.place);
        match event {
            Event::Finished { outcome, .. } if outcome.is_success() => {
                self.good(job, format!("{job} of {place} succeeded"), event.to_string());
                let found = self.warnings.take(job);
                if !found.is_empty() {
                    let title = format!("{job} of {place} has less than the one before");
                    let message = Message::new(Severity::Warning, title, found.join("\n"));
                    self.send(message.key(format!("less:{job}")));
                }
            }
            Event::Finished { .. } if event.is_bad() => {
                let title = format!("{job} of {place} failed");
                self.bad(Severity::Critical, format!("job:{job}"), title, event.to_string());
            }
            // All hosts see in the repository how old the last backup is.
            Event::Overdue { .. } if self.speaks.load(Ordering::Relaxed) => {
                let title = format!("{job} of {place} has not run for too long");
                self.bad(Severity::Critical, format!("overdue:{job}"), title, event.to_string());
            }
            Event::Missed { .. } => {
                let title = format!("{job} of {place} missed a time");
                let message = Message::new(Severity::Warning, title, event.to_string());
                self.send(message.key(format!("missed:{job}")));
            }
            _ => {}
        }
    }
}

//! A way to people, and what can go wrong on it.

use std::pin::Pin;
use std::time::Duration;

use crate::Message;

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One way to people.
///
/// ```
/// use db_notify::{BoxFuture, Channel, Message, SendError};
///
/// struct Print;
/// impl Channel for Print {
///     fn name(&self) -> &str {
///         "print"
///     }
///     fn send<'a>(&'a self, message: &'a Message, _id: &'a str) -> BoxFuture<'a, Result<(), SendError>> {
///         Box::pin(async move {
///             println!("{}\n{}", message.subject(), message.text);
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait Channel: Send + Sync {
    /// What statuses and errors call it. It holds no secret.
    fn name(&self) -> &str;

    /// Whether the receiver keeps incidents by their key, as PagerDuty does. Then each message goes alone,
    /// because an incident that went in a digest could not be resolved, and repetitions do no harm.
    fn keeps_incidents(&self) -> bool {
        false
    }

    /// Makes one attempt. Attempts at one message have one `id`, so that a receiver can tell that it has it
    /// already.
    ///
    /// # Errors
    /// [`SendError`], which says whether another attempt may help, and holds no secret.
    fn send<'a>(&'a self, message: &'a Message, id: &'a str) -> BoxFuture<'a, Result<(), SendError>>;
}

/// An attempt that did not come through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SendError {
    /// What happened, without a secret.
    pub what: String,
    /// Whether every other attempt would fail alike: the address is wrong, the receiver refuses the message.
    pub is_permanent: bool,
    /// How long the receiver asks to wait.
    pub retry_after: Option<Duration>,
}

/// A channel that cannot be made of what was given. It quotes none of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidChannel(pub(crate) String);

impl SendError {
    /// Another attempt may help.
    pub fn transient(what: impl Into<String>) -> Self {
        SendError { what: what.into(), is_permanent: false, retry_after: None }
    }

    /// No other attempt helps.
    pub fn permanent(what: impl Into<String>) -> Self {
        SendError { what: what.into(), is_permanent: true, retry_after: None }
    }

    /// The same, where the receiver asks to wait.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }
}

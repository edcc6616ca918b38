//! Says "I am alive" to somebody else, who tells people when that stops: the watch over the watcher.

use crate::channel::InvalidChannel;
use crate::http::Receiver;
use crate::{SendError, Severity};

/// An address that is called as long as all is well, as services for cron jobs and dead man's switches have
/// it.
///
/// ```
/// let heartbeat = db_notify::Heartbeat::new("https://watch.example/ping/secret")?;
/// # Ok::<(), db_notify::InvalidChannel>(())
/// ```
pub struct Heartbeat {
    receiver: Receiver,
}

impl Heartbeat {
    /// The heartbeat of this address, which is a secret.
    ///
    /// # Errors
    /// [`InvalidChannel`] if the address is no web address.
    pub fn new(url: &str) -> Result<Self, InvalidChannel> {
        Ok(Heartbeat { receiver: Receiver::new("the heartbeat", url, true)? })
    }

    /// Calls the address once with an empty object; `gravest` is what is open now.
    ///
    /// # Errors
    /// [`SendError`], which holds no secret.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the call.
    pub async fn beat(&self, gravest: Option<Severity>) -> Result<(), SendError> {
        let open = gravest.map_or("nothing", Severity::as_str);
        self.receiver.post(serde_json::json!({ "open": open }).to_string(), &[]).await
    }
}

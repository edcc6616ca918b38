//! How often people are told, and how hard a delivery is tried.

use std::time::Duration;

/// How often people are told, and how hard a delivery is tried. The same for all channels of a notifier.
///
/// ```
/// use std::time::Duration;
/// use db_notify::NotifyConfig;
///
/// let config = NotifyConfig { repeat_after: Duration::from_secs(6 * 3600), ..NotifyConfig::default() };
/// assert_eq!(config.burst, 20);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NotifyConfig {
    /// A message with the key of one that was sent less than this ago, and no greater severity, is counted
    /// and not sent. An incident that lasts is so repeated at most this often.
    pub repeat_after: Duration,
    /// So many messages go to a channel within [`window`](NotifyConfig::window); what is more is gathered in
    /// one. A receiver that is flooded blocks us, and people stop reading. One in four is kept for what is
    /// critical and begins. Too few, and what begins waits for up to a minute behind what has come before.
    pub burst: usize,
    /// The time in which [`burst`](NotifyConfig::burst) messages go to a channel.
    pub window: Duration,
    /// One attempt may take this long.
    pub attempt_timeout: Duration,
    /// A message that has not come through for this long is given up: by then the channel counts as dead.
    pub deadline: Duration,
    /// The first pause between two attempts; it doubles, with jitter, up to
    /// [`longest_pause`](NotifyConfig::longest_pause).
    pub first_pause: Duration,
    /// The longest pause between two attempts, unless the receiver asks for a longer one.
    pub longest_pause: Duration,
    /// So many messages wait for a channel; beyond it the least grave go.
    pub queue: usize,
}

impl Default for NotifyConfig {
    fn default() -> Self {
        NotifyConfig {
            repeat_after: Duration::from_secs(3600),
            burst: 20,
            window: Duration::from_secs(60),
            attempt_timeout: Duration::from_secs(15),
            deadline: Duration::from_secs(600),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            queue: 500,
        }
    }
}

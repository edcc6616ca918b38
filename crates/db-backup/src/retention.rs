//! Which backups a policy keeps.

/// How long backups are kept. Each rule keeps what it names; what no rule keeps is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Every backup of so many days, and the write-ahead log to reach any moment since.
    pub days: u32,
    /// So many of the newest, however old.
    pub last: u32,
    /// The newest backup of each of so many hours.
    pub hourly: u32,
    /// The newest backup of each of so many days.
    pub daily: u32,
    /// The newest backup of each of so many weeks.
    pub weekly: u32,
    /// The newest backup of each of so many months.
    pub monthly: u32,
}

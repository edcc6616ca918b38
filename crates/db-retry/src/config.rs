//! How often, how far apart, for how long, and out of which budget.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::backoff::{Backoff, Jitter};
use crate::budget::BudgetConfig;

/// How often, how far apart, for how long, and out of which budget.
///
/// The default is [`RetryConfig::operation`].
#[derive(Debug, Clone, PartialEq)]
pub struct RetryConfig {
    /// How many attempts there are at most, the first included.
    pub attempts: NonZeroU32,
    /// The first pause.
    pub base: Duration,
    /// The longest pause.
    pub max: Duration,
    /// How much longer each pause is than the one before.
    pub multiplier: f64,
    /// How pauses are spread.
    pub jitter: Jitter,
    /// Within this time of the first attempt every other one must be able to end; none means that only
    /// `attempts` counts.
    ///
    /// An attempt that could not end in time, going by the quickest before it, does not start. Waiting for a
    /// connection ends then. Work that is under way does not: what limits it are the two timeouts below. A
    /// call inside another one's work ends no later than that one.
    pub deadline: Option<Duration>,
    /// The longest that one attempt at a read may take once it has its connection; none means for ever.
    ///
    /// The caller's own guard against a server that has stopped: `statement_timeout` is the server's.
    pub read_timeout: Option<Duration>,
    /// The longest that one attempt at a transaction may take once it has its connection, from BEGIN to the
    /// answer to COMMIT; none means for ever.
    ///
    /// Before COMMIT is sent it ends the transaction with
    /// [`DeadlineExceeded`](db_core::Error::DeadlineExceeded), and its connection is given up. After that it
    /// counts as an answer that was lost.
    pub transaction_timeout: Option<Duration>,
    /// The server's `statement_timeout`, where it is known: a statement that was cancelled (57014) well
    /// before was cancelled by somebody, who is not made to do it again. None where it is not known. Work
    /// that sets a shorter one for itself (`SET LOCAL statement_timeout`) is not tried again when that has
    /// passed.
    pub statement_timeout: Option<Duration>,
    /// Whether a lock that was not to be had (55P03: `lock_timeout`, NOWAIT) is waited for again.
    ///
    /// The caller has said how long it waits, so by default it is told at once.
    pub lock_timeouts: bool,
    /// The longest that it may take to find out what became of a COMMIT whose answer was lost, within
    /// `deadline`.
    pub resolve_timeout: Duration,
    /// Whether every transaction that may write leaves a [marker row](crate::marker), which does not say
    /// otherwise itself: for whoever builds transactions to go by. It is then known also after a failover
    /// whether it committed.
    pub commit_markers: bool,
    /// The schema of the table of [marker rows](crate::marker), not quoted; none means the one that has it.
    ///
    /// Name it where several schemas of a database have such a table, as with a schema for each tenant.
    pub marker_schema: Option<String>,
    /// What retries may cost the server; none means that they are not limited in sum.
    ///
    /// The first configuration of a [`Retry`](crate::Retry) decides; in one given to
    /// [`Retry::with`](crate::Retry::with) only whether there is a budget matters.
    pub budget: Option<BudgetConfig>,
}

impl Default for RetryConfig {
    fn default() -> Self {
        RetryConfig::operation()
    }
}

impl RetryConfig {
    /// For one operation that a caller waits for: four attempts within half a minute.
    pub fn operation() -> Self {
        RetryConfig {
            attempts: at_most(4),
            base: Duration::from_millis(50),
            max: Duration::from_secs(2),
            multiplier: 2.0,
            jitter: Jitter::Full,
            deadline: Some(Duration::from_secs(30)),
            read_timeout: None,
            transaction_timeout: None,
            statement_timeout: None,
            lock_timeouts: false,
            resolve_timeout: Duration::from_secs(5),
            commit_markers: false,
            marker_schema: None,
            budget: Some(BudgetConfig::default()),
        }
    }

    /// For transactions that contend for the same rows: more attempts, closer together.
    pub fn transaction() -> Self {
        RetryConfig {
            attempts: at_most(10),
            base: Duration::from_millis(10),
            max: Duration::from_secs(1),
            ..RetryConfig::operation()
        }
    }

    /// For connecting when a program starts: patient, and never in step with the programs that start beside
    /// it.
    pub fn connecting() -> Self {
        RetryConfig {
            attempts: at_most(30),
            base: Duration::from_millis(100),
            max: Duration::from_secs(5),
            jitter: Jitter::Decorrelated,
            deadline: Some(Duration::from_secs(60)),
            budget: None,
            ..RetryConfig::operation()
        }
    }

    /// One attempt only.
    pub fn never() -> Self {
        RetryConfig { attempts: NonZeroU32::MIN, ..RetryConfig::operation() }
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff::new(self.base, self.max, self.multiplier, self.jitter)
    }
}

fn at_most(attempts: u32) -> NonZeroU32 {
    NonZeroU32::new(attempts).unwrap_or(NonZeroU32::MIN)
}

//! What can go wrong with an operation of a second tier.

use std::time::Duration;

use crate::random::Random;
use crate::tier_error::{TierError, TierFailure};

/// One operation of a second tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are named as the operations are")]
pub enum Operation {
    Read,
    Open,
    Store,
    Lease,
    Release,
    Mark,
    Bump,
    Abort,
    Epoch,
    Feed,
    Members,
    Relayed,
    Usage,
}

/// How often what goes wrong, each from 0 (never) to 1 (always).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    /// The longest time that a request takes to the server; each takes a random part of it.
    pub slowest_request: Duration,
    /// The longest time that an answer takes back.
    pub slowest_answer: Duration,
    /// The request is lost: it did not happen.
    pub lose_request: f64,
    /// The answer is lost: it happened.
    pub lose_answer: f64,
    /// Nothing comes back, ever.
    pub hang: f64,
    /// The server refuses with this.
    pub refuse: Option<TierFailure>,
}

impl Faults {
    /// All is well, and at once.
    pub const NONE: Faults = Faults {
        slowest_request: Duration::ZERO,
        slowest_answer: Duration::ZERO,
        lose_request: 0.0,
        lose_answer: 0.0,
        hang: 0.0,
        refuse: None,
    };

    /// The server is gone.
    pub const DOWN: Faults = Faults { refuse: Some(TierFailure::Unreachable), ..Faults::NONE };

    /// What happens to a request on its way.
    pub(super) async fn request(&self, random: &Random) -> Result<(), TierError> {
        pause(self.slowest_request, random).await;
        if random.next_fraction() < self.hang {
            std::future::pending::<()>().await;
        }
        if let Some(failure) = self.refuse {
            return Err(TierError::new(failure, "it was told to"));
        }
        lose(self.lose_request, random, "the request was lost")
    }

    /// What happens to an answer on its way.
    pub(super) async fn answer(&self, random: &Random) -> Result<(), TierError> {
        pause(self.slowest_answer, random).await;
        lose(self.lose_answer, random, "the answer was lost")
    }
}

async fn pause(slowest: Duration, random: &Random) {
    if !slowest.is_zero() {
        tokio::time::sleep(slowest.mul_f64(random.next_fraction())).await;
    }
}

fn lose(rate: f64, random: &Random, what: &str) -> Result<(), TierError> {
    match rate > 0.0 && random.next_fraction() < rate {
        true => Err(TierError::new(TierFailure::Unreachable, what)),
        false => Ok(()),
    }
}

//! What retries may cost one target, all its callers together.
//!
//! A token bucket: each call that the server answers pays in a fraction of a token, each retry takes a whole
//! one. While nothing is answered nothing is paid in, so an outage costs what was saved before it, once.
//! Source: M. Brooker, "Fixing retries with token buckets and circuit breakers", 2022. Tokens are counted in
//! millionths: a bucket in whole tokens would make 30 % of 33 % (tower 0.5 does).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// How many retries of conflicts each call pays for that comes through: with 60 % of all attempts in conflict
/// there are one and a half to each, with 75 % three.
const CONFLICTS: f64 = 3.0;

/// One token.
const TOKEN: u64 = 1_000_000;

/// What retries may cost one target.
///
/// Retries of conflicts have a budget of their own, which only calls that come through pay into, and
/// generously: a conflict means that another transaction came through, so the server is well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetConfig {
    /// How many retries each call pays for that the server answers, well or not: 0.1 for one retry to ten
    /// calls. Exact to a millionth.
    pub fraction: f64,
    /// How many retries a second are paid for at the least, as long as calls are answered now and then.
    ///
    /// Without it a service with few calls could not retry at all.
    pub floor_per_second: f64,
    /// How many retries that floor may save up, and how many there are to begin with.
    pub reserve: u32,
    /// How many retries may be saved up in all.
    ///
    /// This is what a sudden outage may cost at once. It must bridge a failover, in which every transaction
    /// under way fails once: take at least the size of the pool.
    pub max: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        BudgetConfig { fraction: 0.1, floor_per_second: 1.0, reserve: 10, max: 200 }
    }
}

/// What a budget has and what it has refused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetStatus {
    /// Retries that may be made now.
    pub available: f64,
    /// Retries that were refused so far.
    pub refused: u64,
}

/// The budget of one target.
#[derive(Debug)]
pub(crate) struct Budget {
    fraction: u64,
    floor_per_second: f64,
    reserve: u64,
    max: u64,
    tokens: AtomicU64,
    started: Instant,
    /// Up to when the floor has been paid in, in microseconds since `started`.
    paid_until: AtomicU64,
    refused: AtomicU64,
}

impl Budget {
    pub(crate) fn new(config: BudgetConfig) -> Self {
        let max = u64::from(config.max) * TOKEN;
        let reserve = (u64::from(config.reserve) * TOKEN).min(max);
        Budget {
            fraction: millionths(config.fraction),
            floor_per_second: config.floor_per_second.max(0.0),
            reserve,
            max,
            tokens: AtomicU64::new(reserve),
            started: Instant::now(),
            paid_until: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// The budget of conflicts: each call that comes through pays for several retries, since others came
    /// through in the place of those that conflicted. Where none comes through, retries cost what was saved,
    /// and the floor.
    pub(crate) fn of_conflicts(config: BudgetConfig) -> Self {
        Budget::new(BudgetConfig { fraction: CONFLICTS, ..config })
    }

    /// Pays in for a call that was answered.
    pub(crate) fn pay_in(&self) {
        let before = AtomicU64::load(&self.tokens, Ordering::Relaxed);
        // The usual case: nothing to write, so nothing for cores to quarrel about.
        if before >= self.max {
            return;
        }
        self.add(self.fraction, self.max);
        if before < self.reserve {
            self.pay_floor();
        }
    }

    /// Takes a token for a retry; false where there is none.
    pub(crate) fn take(&self) -> bool {
        let less = |tokens: u64| tokens.checked_sub(TOKEN);
        let taken = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if !taken {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    pub(crate) fn status(&self) -> BudgetStatus {
        let available = AtomicU64::load(&self.tokens, Ordering::Relaxed) as f64 / TOKEN as f64;
        BudgetStatus { available, refused: AtomicU64::load(&self.refused, Ordering::Relaxed) }
    }

    /// Pays for the time since the last payment, up to the reserve.
    fn pay_floor(&self) {
        let now = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        // Whoever moves the mark pays: no stretch of time is paid for twice.
        let since = now.saturating_sub(self.paid_until.fetch_max(now, Ordering::Relaxed));
        let earned = Duration::from_micros(since).as_secs_f64() * self.floor_per_second;
        self.add(millionths(earned), self.reserve);
    }

    fn add(&self, amount: u64, limit: u64) {
        let more =
            |tokens: u64| (amount > 0 && tokens < limit).then(|| tokens.saturating_add(amount).min(limit));
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// The cast saturates, and makes nothing of what is not a number.
fn millionths(tokens: f64) -> u64 {
    (tokens * TOKEN as f64).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spend(budget: &Budget) -> u32 {
        (0..u32::MAX).take_while(|_| budget.take()).count().try_into().unwrap()
    }

    #[track_caller]
    fn check(fraction: f64, retries: u32) {
        let config = BudgetConfig { fraction, floor_per_second: 0.0, reserve: 0, max: 1_000 };
        let budget = Budget::new(config);
        (0..1_000).for_each(|_| budget.pay_in());
        assert_eq!(spend(&budget), retries, "{fraction}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_fraction_is_exact() {
        for (fraction, retries) in [(0.1, 100), (0.3, 300), (0.4, 400), (0.7, 700), (0.9, 900), (0.001, 1)] {
            check(fraction, retries);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_service_may_retry_and_an_outage_spends_what_was_saved_once() {
        let budget = Budget::new(BudgetConfig::default());
        assert_eq!(spend(&budget), 10, "to begin with");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(spend(&budget), 0, "nothing has succeeded since");
        budget.pay_in();
        assert_eq!(spend(&budget), 10, "one success in an hour");
        tokio::time::advance(Duration::from_secs(3)).await;
        budget.pay_in();
        assert_eq!(spend(&budget), 3);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Succeed(u16),
        Spend,
        Wait(u16),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0_u16..500).prop_map(Step::Succeed),
            Just(Step::Spend),
            (0_u16..30_000).prop_map(Step::Wait)
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn never_more_is_spent_than_was_paid_in(
            steps in steps(), fraction in 0.0..1.0_f64, floor_per_second in 0.0..20.0_f64, reserve in 0_u32..50,
        ) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                let config = BudgetConfig { fraction, floor_per_second, reserve, max: 100 };
                let (budget, mut paid, mut spent) = (Budget::new(config), f64::from(reserve), 0.0);
                for step in steps {
                    match step {
                        Step::Succeed(times) => {
                            (0..times).for_each(|_| budget.pay_in());
                            paid += f64::from(times) * fraction;
                        }
                        Step::Spend => {
                            let now = spend(&budget);
                            prop_assert!(now <= 100);
                            spent += f64::from(now);
                        }
                        Step::Wait(ms) => {
                            tokio::time::advance(Duration::from_millis(ms.into())).await;
                            paid += f64::from(ms) / 1_000.0 * floor_per_second;
                        }
                    }
                    prop_assert!(spent <= paid + 0.1, "{spent} of {paid}");
                }
                Ok(())
            })?;
        }
    }
}

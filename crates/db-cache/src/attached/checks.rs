//! What a cache tells monitoring of itself: that its second tier answers, and that its slot does not fill the
//! disk.

use db_core::{CheckStatus, PartCheck};

use crate::relay::Relay;
use crate::stats::CacheStats;

/// From so many bytes of log on that the relay's slot holds back, someone should look at it, and must.
const WARN_BYTES: u64 = 1 << 30;
const CRITICAL_BYTES: u64 = 10 << 30;

/// One check of the cache, and one of its relay where there is one; also what is well.
pub(crate) fn of(stats: &CacheStats, relay: Option<&Relay>) -> Vec<PartCheck> {
    let tier = match stats.breaker_open {
        true => (CheckStatus::Warn, "the second tier does not answer: values are kept in each process only"),
        false => (CheckStatus::Ok, "the cache answers"),
    };
    let lag = stats.feed_lag.unwrap_or_default().as_secs_f64();
    let cache_check = PartCheck::new("cache", "Cache", tier.0).figure("feed_lag", lag, "s").saying(tier.1);
    let Some(relay) = relay else { return vec![cache_check] };
    let status = relay.status();
    vec![cache_check, relay_check(status.problem.as_deref(), status.is_leader, status.retained_bytes)]
}

fn relay_check(problem: Option<&str>, is_leader: bool, retained: Option<u64>) -> PartCheck {
    let held = retained.unwrap_or(0);
    let status = match problem {
        _ if held >= CRITICAL_BYTES => CheckStatus::Critical,
        Some(_) => CheckStatus::Warn,
        None if held >= WARN_BYTES => CheckStatus::Warn,
        None if !is_leader => CheckStatus::Skipped("another process relays".to_owned()),
        None => CheckStatus::Ok,
    };
    let said = match problem {
        Some(problem) => problem.to_owned(),
        None => format!("the relay's slot holds back {held} bytes of log"),
    };
    let check = PartCheck::new("cache-relay", "Relay of the cache", status);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let check = check.figure("retained", held as f64, "By").saying(said);
    check.fix(
        "dbctl cache stats",
        "where no service relays any more, drop the slot: the server keeps its log until then",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_holds_back_the_log_is_told_before_the_disk_is_full() {
        let status = |problem, leads, held| relay_check(problem, leads, held).status;
        assert_eq!(status(None, true, Some(16 << 20)), CheckStatus::Ok);
        assert_eq!(status(None, true, Some(WARN_BYTES)), CheckStatus::Warn);
        assert_eq!(status(None, true, Some(CRITICAL_BYTES)), CheckStatus::Critical);
        assert_eq!(status(Some("it cannot read"), true, None), CheckStatus::Warn);
        assert!(matches!(status(None, false, None), CheckStatus::Skipped(_)), "not known here is not well");
    }
}

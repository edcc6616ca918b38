//! Which transactions a snapshot sees: a commit is in the log before readers see it.
//!
//! A commit that waits for a synchronous standby is decoded while every reader still sees the old row. A
//! generation that was fresh at that moment would be taken by a load of the old row, and never end. So the
//! relay waits until it is visible.

use std::str::FromStr;

/// What `pg_current_snapshot()` answers, as far as it tells which transactions are still under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    next: u32,
    under_way: Vec<u32>,
}

impl Seen {
    /// Whether a transaction that has committed is visible. Ids are compared as PostgreSQL compares them:
    /// around the corner.
    pub(crate) fn shows(&self, xid: u32) -> bool {
        let is_later = xid.wrapping_sub(self.next) < 1 << 31;
        !is_later && !self.under_way.contains(&xid)
    }
}

impl FromStr for Seen {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let (Some(_), Some(next), Some(under_way)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(());
        };
        let low = |id: &str| id.parse::<u64>().map(|id| (id & u64::from(u32::MAX)) as u32).map_err(|_| ());
        let ids = under_way.split(',').filter(|id| !id.is_empty());
        Ok(Seen { next: low(next)?, under_way: ids.map(low).collect::<Result<_, ()>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_left_the_list_of_running_transactions_is_visible() {
        let seen: Seen = "215645:215650:215645,215647".parse().unwrap();
        for (xid, visible) in
            [(215_644, true), (215_645, false), (215_646, true), (215_647, false), (215_650, false)]
        {
            assert_eq!(seen.shows(xid), visible, "{xid}");
        }
        let wrapped: Seen = "4294967290:4294967301:".parse().unwrap();
        assert!(wrapped.shows(u32::MAX) && wrapped.shows(4) && !wrapped.shows(5));
        assert!("".parse::<Seen>().is_err() && "1:x:".parse::<Seen>().is_err());
    }
}

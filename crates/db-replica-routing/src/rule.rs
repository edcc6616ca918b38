//! What a standby must have to answer a read: how old what it has may be at most, and the caller's own writes.

use std::time::{Duration, Instant, SystemTime};

use crate::freshness::Freshness;
use crate::node::{Allowed, Node};
use crate::token::Token;

/// The clocks of two machines differ by less than half of this, and with `synchronous_commit = off` a commit is in the log that a
/// standby can have after less than the other half: three times `wal_writer_delay` (200 ms).
const DOUBT: Duration = Duration::from_secs(2);

/// What a standby must have to answer a read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    allowed: Allowed,
    own: Own,
}

/// What it must have of what the caller wrote.
#[derive(Debug, Clone, Copy)]
enum Own {
    Nothing,
    Token(Token),
    /// All that was committed before then.
    Before {
        moment: Instant,
        /// Whether that is longer ago than any lag that is allowed.
        long_ago: bool,
    },
}

impl Rule {
    /// The rule of this freshness, where `max_lag` is the most that is allowed; none where no standby may answer.
    pub(crate) fn of(freshness: Freshness, max_lag: Duration) -> Option<Rule> {
        let (lag, own) = match freshness {
            Freshness::Primary => return None,
            Freshness::Default => (max_lag, Own::Nothing),
            Freshness::Within(lag) => (lag, Own::Nothing),
            Freshness::AtLeast(token) => (max_lag, Own::Token(token)),
            Freshness::Since(moment) => (max_lag, before(moment, max_lag)?),
            Freshness::Any => (Duration::MAX, Own::Nothing),
        };
        Some(Rule { allowed: Allowed::from(lag), own })
    }

    /// Whether this node may answer.
    pub(crate) fn admits<A>(&self, node: &Node<A>) -> bool {
        node.is_fresh_for(self.allowed) && self.still_admits(node)
    }

    /// Whether it may after a wait: its server may have crashed meanwhile, and gone back to an earlier position.
    pub(crate) fn still_admits<A>(&self, node: &Node<A>) -> bool {
        match self.own {
            Own::Nothing => true,
            Own::Token(token) => node.has_replayed(&token),
            Own::Before { moment, .. } if node.config.one_server => node.covers(moment),
            // Nobody can tell what the server has that answers next, but how far behind it is at most.
            Own::Before { long_ago, .. } => long_ago,
        }
    }
}

fn before(moment: SystemTime, max_lag: Duration) -> Option<Own> {
    // A moment that is yet to come was forged, or told by a clock that is wrong.
    let elapsed = moment.elapsed().ok()?;
    let now = Instant::now();
    let long_ago = elapsed > max_lag.saturating_add(DOUBT * 2);
    // None: before this machine was started.
    let moment = now.checked_sub(elapsed).map(|moment| moment + DOUBT);
    Some(moment.map_or(Own::Nothing, |moment| Own::Before { moment, long_ago }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::{Seen, Sighting};
    use crate::{NodeConfig, Token};
    use db_core::{Endpoint, Lsn, Role};
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);
    const MAX_LAG: Duration = Duration::from_secs(10);

    /// A standby at position 100 of timeline 2 that surely has what was committed a second ago.
    fn standby(one_server: bool) -> Node<()> {
        let config = NodeConfig { one_server, ..Endpoint::new("db", 5432).into() };
        let (node, now) = (Node::new(0, config, true, (), Arc::default()), Instant::now());
        node.see(Seen::Up(Sighting {
            role: Role::Standby,
            system: Some(7),
            started: None,
            timeline: 2,
            position: Some(Lsn(100)),
            lag: Some(SECOND),
            covers: now.checked_sub(SECOND),
            asked: now,
            since: now,
        }));
        node
    }

    fn check(freshness: Freshness, one_server: bool, admitted: bool) {
        let rule = Rule::of(freshness, MAX_LAG);
        let admits = rule.is_some_and(|rule| rule.admits(&standby(one_server)));
        assert_eq!(admits, admitted, "{freshness:?}");
    }

    #[test]
    fn lag_and_position_decide() {
        check(Freshness::Primary, true, false);
        check(Freshness::Default, true, true);
        check(Freshness::Within(SECOND / 2), true, false);
        let token =
            |timeline, position| Freshness::AtLeast(Token { system: 7, timeline, position: Lsn(position) });
        check(token(2, 100), true, true);
        check(token(2, 101), true, false);
        check(token(1, 100), true, true);
        check(token(1, 101), true, false);
        check(token(3, 1), true, false);
        check(token(2, 100), false, false);
    }

    #[test]
    fn what_was_written_a_moment_ago_may_be_missing_and_clocks_may_differ() {
        let ago = |elapsed| Freshness::Since(SystemTime::now() - elapsed);
        check(ago(SECOND), true, false);
        check(ago(SECOND * 5 / 2), true, false);
        check(ago(SECOND * 7 / 2), true, true);
        check(ago(SECOND * 7 / 2), false, false);
        check(ago(MAX_LAG + SECOND * 5), false, true);
        check(Freshness::Since(SystemTime::now() + SECOND), true, false);
    }
}

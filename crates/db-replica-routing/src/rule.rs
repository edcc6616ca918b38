//! What a standby must have to answer a read: how old what it has may be at most, and the caller's own
//! writes.

use std::time::{Duration, Instant, SystemTime};

use db_core::Role;

use crate::freshness::Freshness;
use crate::moment::Moment;
use crate::node::Node;
use crate::seen::Sighting;
use crate::token::Token;

/// The clocks of two machines differ by less than half of this, and with `synchronous_commit = off` a commit
/// is in the log that a standby can have after less than the other half: three times `wal_writer_delay` (200
/// ms).
const DOUBT: Duration = Duration::from_secs(2);

/// What a standby must have to answer a read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// The staleness that is allowed; none where any is.
    allowed: Option<Duration>,
    own: Own,
}

/// What it must have of what the caller wrote.
#[derive(Debug, Clone, Copy)]
enum Own {
    Nothing,
    Token(Token),
    /// All that was committed before then.
    Before(Instant),
}

impl Rule {
    /// The rule of this freshness, where `max_lag` is the most that is allowed; none where no standby may
    /// answer.
    pub(crate) fn of(freshness: Freshness, max_lag: Duration) -> Option<Rule> {
        let (allowed, own) = match freshness {
            Freshness::Primary => return None,
            Freshness::Default => (Some(max_lag), Own::Nothing),
            Freshness::Within(lag) => (Some(lag), Own::Nothing),
            Freshness::AtLeast(token) => (Some(max_lag), Own::Token(token)),
            Freshness::Since(moment) => (Some(max_lag), before(moment)?),
            Freshness::Any => (None, Own::Nothing),
        };
        Some(Rule { allowed, own })
    }

    /// The rule for this moment: the same node may answer a read now, and no longer a second later.
    pub(crate) fn now(&self) -> RuleNow {
        RuleNow { as_of: self.allowed.map(|allowed| Moment::now().before(allowed)), own: self.own }
    }

    /// Whether a node may answer that was admitted a moment ago: its server may have crashed meanwhile, and
    /// gone back to an earlier position.
    pub(crate) fn still_admits<A>(&self, node: &Node<A>) -> bool {
        self.own.is_met_by(node) || node.has_backend(|backend| self.own.is_met(backend))
    }

    /// Whether what one server is known to have is asked for: the connection must lead to that very server.
    pub(crate) fn is_about_one_server(&self) -> bool {
        !matches!(self.own, Own::Nothing)
    }
}

/// What a standby must have to answer a read at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RuleNow {
    /// It must surely have had everything as of then.
    as_of: Option<Moment>,
    own: Own,
}

impl RuleNow {
    /// Whether this node may answer; one whose name leads to several servers where one of them may.
    pub(crate) fn admits<A>(&self, node: &Node<A>) -> bool {
        let is_fresh = match self.as_of {
            Some(moment) => node.is_current_as_of(moment),
            None => node.is_standby(),
        };
        (is_fresh && self.own.is_met_by(node)) || node.has_backend(|backend| self.admits_server(backend))
    }

    /// Whether the server that told this may answer.
    pub(crate) fn admits_server(&self, told: &Sighting) -> bool {
        let is_fresh = |moment| told.current_as_of().is_some_and(|current| current >= moment);
        told.role == Role::Standby && self.as_of.is_none_or(is_fresh) && self.own.is_met(told)
    }
}

impl Own {
    fn is_met_by<A>(&self, node: &Node<A>) -> bool {
        matches!(self, Own::Nothing) || node.surely(|seen| self.is_met(seen))
    }

    fn is_met(&self, told: &Sighting) -> bool {
        match *self {
            Own::Nothing => true,
            Own::Token(token) => told.has_replayed(&token),
            Own::Before(moment) => told.has_covered(moment),
        }
    }
}

fn before(moment: SystemTime) -> Option<Own> {
    // A moment that is yet to come was forged, or told by a clock that is wrong.
    let elapsed = moment.elapsed().ok()?;
    // None: before this machine was started.
    let moment = Instant::now().checked_sub(elapsed).map(|moment| moment + DOUBT);
    Some(moment.map_or(Own::Nothing, Own::Before))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seen::Seen;
    use db_core::{Endpoint, Lsn};
    use std::sync::Arc;

    const SECOND: Duration = Duration::from_secs(1);
    const MAX_LAG: Duration = Duration::from_secs(10);

    /// A standby at position 100 of timeline 2 that surely has what was committed a second ago.
    fn standby() -> Node<()> {
        let config = Endpoint::new("db", 5432).into();
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

    fn check(freshness: Freshness, admitted: bool) {
        let rule = Rule::of(freshness, MAX_LAG);
        let admits = rule.is_some_and(|rule| rule.now().admits(&standby()));
        assert_eq!(admits, admitted, "{freshness:?}");
    }

    #[test]
    fn lag_and_position_decide() {
        check(Freshness::Primary, false);
        check(Freshness::Default, true);
        check(Freshness::Within(SECOND / 2), false);
        let token =
            |timeline, position| Freshness::AtLeast(Token { system: 7, timeline, position: Lsn(position) });
        check(token(2, 100), true);
        check(token(2, 101), false);
        check(token(1, 100), true);
        check(token(1, 101), false);
        check(token(3, 1), false);
    }

    #[test]
    fn what_was_written_a_moment_ago_may_be_missing_and_clocks_may_differ() {
        let ago = |elapsed| Freshness::Since(SystemTime::now() - elapsed);
        check(ago(SECOND), false);
        check(ago(SECOND * 5 / 2), false);
        check(ago(SECOND * 7 / 2), true);
        check(Freshness::Since(SystemTime::now() + SECOND), false);
    }
}

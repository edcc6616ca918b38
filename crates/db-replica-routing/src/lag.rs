//! How far a standby is behind, from its own answer and the writer's positions.

use std::time::{Duration, Instant};

use db_core::Role;

use crate::cluster::Cluster;
use crate::positions::Behind;
use crate::probe::Answer;
use crate::seen::Sighting;

impl<A> Cluster<A> {
    /// What a server's answer says, now that the writer's positions are known.
    pub(crate) fn sighting(&self, answer: &Answer) -> Sighting {
        let (lag, covers) = match answer.role {
            Role::Primary => (Some(Duration::ZERO), None),
            Role::Standby => self.lateness(answer),
        };
        let Answer { role, system, started, timeline, position, asked, .. } = *answer;
        Sighting { role, system, started, timeline, position, lag, covers, asked, since: asked }
    }

    /// How far a standby is behind, and the moment before which whatever was committed is surely on it.
    fn lateness(&self, answer: &Answer) -> (Option<Duration>, Option<Instant>) {
        let behind = answer.position.map(|position| self.positions.behind(position, Instant::now()));
        let covered = answer.position.and_then(|position| self.positions.covered(position));
        let writer = self.writer().and_then(|writer| writer.seen.borrow().primary());
        let timeline = writer.map(|writer| writer.timeline);
        (lag(answer, behind.unwrap_or_default(), timeline), covers(answer, covered, timeline))
    }
}

/// A standby's lag; none where it is unknown, which counts as infinite.
///
/// Its own word is the last resort: one that is cut off has replayed all that it received, and one of an idle
/// primary replayed its last transaction long ago.
pub(crate) fn lag(answer: &Answer, behind: Behind, writer_timeline: Option<u32>) -> Option<Duration> {
    let own_word = if answer.has_all_received { Some(Duration::ZERO) } else { answer.age };
    let Some(timeline) = writer_timeline.filter(|timeline| *timeline > 0) else { return own_word };
    match behind {
        // It follows another primary than we do: how far is no question of time.
        _ if answer.streamed.is_some_and(|streamed| streamed != timeline) => None,
        // Positions of two timelines do not compare, and what it receives may be the old primary's.
        _ if answer.timeline != timeline => answer.age,
        Behind::By(lag) => Some(lag),
        Behind::Beyond => answer.age,
        Behind::Unknown => own_word,
    }
}

/// The moment before which whatever was committed is surely on a standby; none where nothing is sure.
///
/// `covered` is what the writer's positions say. Where the writer does not tell any, the last transaction
/// that the standby has replayed tells when it was committed.
pub(crate) fn covers(
    answer: &Answer,
    covered: Option<Instant>,
    writer_timeline: Option<u32>,
) -> Option<Instant> {
    match writer_timeline? {
        0 => answer.asked.checked_sub(answer.age?),
        timeline if answer.streamed.is_some_and(|streamed| streamed != timeline) => None,
        timeline if answer.timeline != timeline => None,
        _ => covered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const AGE: Option<Duration> = Some(Duration::from_secs(60));

    fn answer(timeline: u32, streamed: Option<u32>, has_all_received: bool) -> Answer {
        Answer {
            role: Role::Standby,
            system: None,
            started: None,
            timeline,
            streamed,
            position: None,
            age: AGE,
            has_all_received,
            asked: Instant::now(),
        }
    }

    #[test]
    fn the_writers_positions_come_first_and_the_standbys_own_word_last() {
        let check =
            |answer: Answer, behind, writer, expected| assert_eq!(lag(&answer, behind, writer), expected);
        check(answer(1, Some(1), true), Behind::By(SECOND), Some(1), Some(SECOND));
        check(answer(1, None, true), Behind::Beyond, Some(1), AGE);
        check(answer(1, Some(1), true), Behind::Unknown, Some(1), Some(Duration::ZERO));
        check(answer(1, Some(1), false), Behind::Unknown, None, AGE);
        // After a failover: it still streams from the old primary, or has not told where it is.
        check(answer(1, Some(1), true), Behind::By(Duration::ZERO), Some(2), None);
        check(answer(1, None, false), Behind::By(Duration::ZERO), Some(2), AGE);
        check(answer(1, None, true), Behind::By(Duration::ZERO), Some(2), AGE);
    }

    #[test]
    fn what_is_sure_is_what_the_writer_or_the_last_transaction_told() {
        let covered = Some(Instant::now());
        let check = |answer: &Answer, writer, expected| assert_eq!(covers(answer, covered, writer), expected);
        check(&answer(1, Some(1), true), Some(1), covered);
        check(&answer(1, Some(1), true), Some(2), None);
        check(&answer(1, None, true), Some(2), None);
        check(&answer(1, None, true), None, None);
        let hidden = answer(0, None, true);
        check(&hidden, Some(0), hidden.asked.checked_sub(SECOND * 60));
    }
}

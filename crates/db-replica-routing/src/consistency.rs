//! What a read sees that does not say how fresh it must be, and runs in no session of a request.

use crate::freshness::Freshness;
use crate::session::Session;

/// What a read sees that does not say how fresh it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ReadConsistency {
    /// What a standby has that lags by at most [`max_lag`](crate::RouterConfig::max_lag): a write that was
    /// just acknowledged may be missing, unless a [`Session`] remembers it.
    #[default]
    Lag,
    /// As `Lag`, and whatever this process has committed: the whole process is one session. Writes of other
    /// processes may be missing.
    Process,
    /// Whatever was committed: the primary answers.
    Primary,
}

/// What reads of the whole process have to see.
#[derive(Debug, Default)]
pub(crate) struct Unsaid {
    consistency: ReadConsistency,
    process: Option<Session>,
}

impl Unsaid {
    pub(crate) fn new(consistency: ReadConsistency) -> Self {
        let process = (consistency == ReadConsistency::Process).then(Session::new);
        Unsaid { consistency, process }
    }

    pub(crate) fn process(&self) -> Option<&Session> {
        self.process.as_ref()
    }

    /// How fresh the answer must be, for a caller in this session.
    pub(crate) fn freshness(&self, session: Option<&Session>) -> Freshness {
        let own = session.map_or(Freshness::Default, Session::freshness);
        match (&self.process, self.consistency) {
            (None, ReadConsistency::Primary) => Freshness::Primary,
            (None, _) => own,
            (Some(process), _) => match session.filter(|session| session.has_written_elsewhere()) {
                // What a session has written here, the process has.
                None => process.freshness(),
                Some(session) => session.with(process).freshness(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use db_core::Lsn;

    use super::*;
    use crate::token::Token;
    use crate::written::Written;

    fn token(position: u64) -> Token {
        Token { system: 7, timeline: 1, position: Lsn(position) }
    }

    #[test]
    fn the_primary_answers_whatever_a_session_has_written() {
        let unsaid = Unsaid::new(ReadConsistency::Primary);
        let session = Session::resume(Written::UpTo(token(9)));
        assert_eq!(unsaid.freshness(None), Freshness::Primary);
        assert_eq!(unsaid.freshness(Some(&session)), Freshness::Primary);
    }

    #[test]
    fn a_session_sees_what_the_process_has_written_and_what_it_wrote_elsewhere() {
        let unsaid = Unsaid::new(ReadConsistency::Process);
        let process = unsaid.process().unwrap();
        assert_eq!(unsaid.freshness(None), Freshness::Default);
        let request = Session::new();
        request.wrote(token(5), SystemTime::now());
        process.hear(&request);
        for session in [None, Some(&request), Some(&Session::new())] {
            assert_eq!(unsaid.freshness(session), Freshness::AtLeast(token(5)));
        }
        assert!(!process.has_written_elsewhere());
        let resumed = |position| Session::resume(Written::UpTo(token(position)));
        assert_eq!(unsaid.freshness(Some(&resumed(3))), Freshness::AtLeast(token(5)));
        assert_eq!(unsaid.freshness(Some(&resumed(8))), Freshness::AtLeast(token(8)));
        request.forget();
        process.hear(&request);
        assert!(matches!(unsaid.freshness(None), Freshness::Since(_)));
        // A commit since then stands for it, also when the old one is heard of again.
        let later = Session::new();
        later.wrote(token(12), SystemTime::now());
        process.hear(&later);
        process.hear(&request);
        assert_eq!(unsaid.freshness(None), Freshness::AtLeast(token(12)));
    }

    /// A client may write anything into its cookie.
    #[test]
    fn what_one_request_brings_delays_no_other() {
        let unsaid = Unsaid::new(ReadConsistency::Process);
        let process = unsaid.process().unwrap();
        let forged = Session::resume(Written::UpTo(token(u64::MAX)));
        process.hear(&forged);
        assert_eq!(unsaid.freshness(None), Freshness::Default);
        forged.wrote(token(5), SystemTime::now());
        process.hear(&forged);
        assert_eq!(unsaid.freshness(None), Freshness::AtLeast(token(5)));
        let unreadable = Session::resume(Written::Before(SystemTime::now()));
        process.hear(&unreadable);
        assert_eq!(unsaid.freshness(None), Freshness::AtLeast(token(5)));
    }

    #[test]
    fn lag_leaves_a_session_what_it_asks_for() {
        let unsaid = Unsaid::new(ReadConsistency::Lag);
        assert!(unsaid.process().is_none());
        assert_eq!(unsaid.freshness(None), Freshness::Default);
        let session = Session::resume(Written::UpTo(token(9)));
        assert_eq!(unsaid.freshness(Some(&session)), Freshness::AtLeast(token(9)));
    }
}

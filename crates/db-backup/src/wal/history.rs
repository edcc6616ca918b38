//! The history of a timeline: from which older ones it comes, and where it left each.
//!
//! Source: PostgreSQL's timeline.c. A history file has a line for each ancestor: its number, the position at
//! which it was left, and a reason.

use db_core::Lsn;

use super::WalError;

/// A timeline with its ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The timeline.
    pub timeline: u32,
    /// Its ancestors, the oldest first.
    pub ancestors: Vec<Ancestor>,
}

/// An older timeline that a history goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ancestor {
    /// The older timeline.
    pub timeline: u32,
    /// The position at which it was left.
    pub left_at: Lsn,
}

impl History {
    /// The first timeline of a cluster has no ancestors and no file.
    pub fn first() -> History {
        History { timeline: 1, ancestors: Vec::new() }
    }

    /// Reads the content of a history file.
    ///
    /// # Errors
    /// [`WalError::NotHistory`] where a line is none, or the order of timelines is impossible.
    pub fn parse(timeline: u32, content: &str) -> Result<History, WalError> {
        let refused = |line: &str| WalError::NotHistory { timeline, line: line.to_owned() };
        let mut ancestors: Vec<Ancestor> = Vec::new();
        for line in content.lines() {
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let mut words = text.split_whitespace();
            let number = words.next().and_then(|word| word.parse::<u32>().ok());
            let left_at = words.next().and_then(|word| word.parse::<Lsn>().ok());
            let (number, left_at) = number.zip(left_at).ok_or_else(|| refused(line))?;
            let after = ancestors.last().is_none_or(|last| last.timeline < number && last.left_at <= left_at);
            if number >= timeline || !after {
                return Err(refused(line));
            }
            ancestors.push(Ancestor { timeline: number, left_at });
        }
        Ok(History { timeline, ancestors })
    }

    /// The timeline on which a position lies. A segment in which one was left belongs to the later one.
    pub fn timeline_at(&self, at: Lsn) -> u32 {
        let found = self.ancestors.iter().find(|ancestor| at < ancestor.left_at);
        found.map_or(self.timeline, |ancestor| ancestor.timeline)
    }

    /// Where it left an older timeline; `None` where it never was on it, or still is.
    pub fn left(&self, timeline: u32) -> Option<Lsn> {
        self.ancestors.iter().find(|ancestor| ancestor.timeline == timeline).map(|ancestor| ancestor.left_at)
    }

    /// Whether what happened on `timeline` up to `at` is part of it.
    pub fn contains(&self, timeline: u32, at: Lsn) -> bool {
        timeline == self.timeline || self.left(timeline).is_some_and(|left_at| at <= left_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THIRD: &str =
        "1\t0/3000148\tno recovery target specified\n\n# a comment\n2\t0/5000000\tbefore 2026-11-28\n";

    #[test]
    fn a_history_says_on_which_timeline_a_position_lies() {
        let history = History::parse(3, THIRD).unwrap();
        let at = |text: &str| history.timeline_at(text.parse().unwrap());
        assert_eq!([at("0/3000147"), at("0/3000148"), at("0/4FFFFFF"), at("0/5000000")], [1, 2, 2, 3]);
        assert!(history.contains(1, Lsn(0x300_0148)) && !history.contains(1, Lsn(0x300_0149)));
        assert!(history.contains(3, Lsn(u64::MAX)) && !history.contains(4, Lsn(0)));
    }

    #[test]
    fn what_no_server_wrote_is_refused() {
        for content in ["1", "x 0/1", "1 0/G", "3 0/1", "2 0/9\n1 0/10", "1 0/9\n2 0/8"] {
            assert!(History::parse(3, content).is_err(), "{content:?}");
        }
    }
}

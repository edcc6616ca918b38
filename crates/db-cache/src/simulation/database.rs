//! A database of numbered rows with a standby behind it, whose COMMIT may lose its answer and which may fail
//! over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::load::{LoadFrom, ReadAt};
use crate::position::{History, Position};
use crate::random::Random;
use crate::tag::Slot;

/// Rows with versions that only grow, a log, and a standby that replays it.
#[derive(Debug)]
pub struct Database {
    state: Mutex<State>,
    random: Random,
}

/// COMMIT got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

#[derive(Debug)]
struct State {
    history: History,
    /// Each commit of this history: its position, its writes, and the slots that its message names.
    log: Vec<Commit>,
    next_lsn: u64,
    next_version: u64,
    visible: BTreeMap<u32, u64>,
    replayed: u64,
    paused: bool,
    unwell: bool,
    locked: BTreeSet<u32>,
    lost: Vec<u64>,
    committed: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Commit {
    lsn: u64,
    versions: Vec<(u32, u64)>,
    slots: Vec<Slot>,
    /// Whether it shows on the primary: it is in the log before.
    shows: bool,
}

impl Database {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        let history = History { system: 1, timeline: 1 };
        let state = State {
            history,
            log: Vec::new(),
            next_lsn: 1,
            next_version: 1,
            visible: BTreeMap::new(),
            replayed: 0,
            paused: false,
            unwell: false,
            locked: BTreeSet::new(),
            lost: Vec::new(),
            committed: Vec::new(),
        };
        Database { state: Mutex::new(state), random: Random::seeded(seed) }
    }

    /// The history of the primary.
    pub fn history(&self) -> History {
        self.lock().history
    }

    /// Whether it fails some of the loads now.
    pub fn is_unwell(&self) -> bool {
        self.lock().unwell
    }

    /// From now on it fails some of the loads, or none.
    pub fn set_unwell(&self, unwell: bool) {
        self.lock().unwell = unwell;
    }

    /// The version of a row that the primary shows.
    pub fn version(&self, row: u32) -> u64 {
        self.lock().visible.get(&row).copied().unwrap_or_default()
    }

    /// Whether this version was committed once, and whether a failover has lost it since.
    pub fn was_committed(&self, version: u64) -> (bool, bool) {
        let state = self.lock();
        (version == 0 || state.committed.contains(&version), state.lost.contains(&version))
    }

    /// Reads rows in one snapshot, where a load was told to.
    pub async fn read(&self, from: LoadFrom, rows: &[u32]) -> (Vec<u64>, ReadAt) {
        self.pause(8).await;
        let on_standby = matches!(from, LoadFrom::Replayed(_)) && self.random.next_fraction() < 0.7;
        let (read, replayed) = {
            let state = self.lock();
            match on_standby {
                true => {
                    (rows.iter().map(|row| state.replayed_version(*row)).collect(), Some(state.replayed_at()))
                }
                false => {
                    (rows.iter().map(|row| state.visible.get(row).copied().unwrap_or(0)).collect(), None)
                }
            }
        };
        self.pause(8).await;
        let read_at = match replayed {
            Some(replayed) => ReadAt::Standby(replayed),
            None => ReadAt::Primary(Some(self.position())),
        };
        (read, read_at)
    }

    /// The primary's position, at or behind every commit that shows.
    pub fn position(&self) -> Position {
        let state = self.lock();
        Position::new(state.history, state.next_lsn)
    }

    /// Takes the locks of rows.
    pub async fn lock_rows(&self, rows: &[u32]) {
        loop {
            {
                let mut state = self.lock();
                if rows.iter().all(|row| !state.locked.contains(row)) {
                    state.locked.extend(rows);
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Gives the locks of rows back.
    pub fn unlock_rows(&self, rows: &[u32]) {
        let mut state = self.lock();
        state.locked.retain(|row| !rows.contains(row));
    }

    /// Commits new versions of rows, which are locked: the log has the commit first, then it shows, then it
    /// is answered.
    ///
    /// # Errors
    /// [`Unanswered`]: it may have committed.
    pub async fn commit(&self, rows: &[u32], slots: &[Slot], answered: bool) -> Result<Vec<u64>, Unanswered> {
        let history = self.history();
        self.pause(4).await;
        let commit = {
            let mut state = self.lock();
            if state.history != history {
                return Err(Unanswered);
            }
            let first = state.next_version;
            state.next_version += rows.len() as u64;
            state.next_lsn += 1;
            let versions = rows.iter().copied().zip(first..).collect();
            let commit = Commit { lsn: state.next_lsn, versions, slots: slots.to_vec(), shows: false };
            // A standby may show it before the primary does.
            state.committed.extend(commit.versions.iter().map(|(_, version)| *version));
            state.log.push(commit.clone());
            commit
        };
        self.pause(6).await;
        {
            let mut state = self.lock();
            if state.history != history {
                return Err(Unanswered);
            }
            if let Some(logged) = state.log.iter_mut().find(|logged| logged.lsn == commit.lsn) {
                logged.shows = true;
            }
            for (row, version) in &commit.versions {
                state.visible.insert(*row, *version);
            }
        }
        self.pause(2).await;
        match answered {
            true => Ok(commit.versions.into_iter().map(|(_, version)| version).collect()),
            false => Err(Unanswered),
        }
    }

    /// The standby replays some of what it has not.
    pub fn replay(&self) {
        let mut state = self.lock();
        if !state.paused {
            state.replayed = state.next_lsn;
        }
    }

    /// The standby stops replaying, or goes on.
    pub fn pause_replay(&self, paused: bool) {
        self.lock().paused = paused;
    }

    /// The standby takes over: what it has not replayed is lost.
    pub fn fail_over(&self) -> History {
        let mut state = self.lock();
        let kept = state.replayed;
        let lost: Vec<Commit> = state.log.iter().filter(|commit| commit.lsn > kept).cloned().collect();
        let lost = lost.iter().flat_map(|commit| commit.versions.iter().map(|(_, version)| *version));
        let lost: Vec<u64> = lost.collect();
        state.lost.extend(lost);
        state.log.retain(|commit| commit.lsn <= kept);
        state.log.iter_mut().for_each(|commit| commit.shows = true);
        state.visible = BTreeMap::new();
        let kept: Vec<Commit> = state.log.clone();
        for (row, version) in kept.iter().flat_map(|commit| commit.versions.clone()) {
            state.visible.insert(row, version);
        }
        state.history.timeline += 1;
        // The new timeline's log grows by its own: a position says nothing about the old one's.
        state.next_lsn = kept.last().map_or(1, |commit| commit.lsn);
        state.replayed = state.next_lsn;
        state.paused = false;
        state.history
    }

    /// What a relay reads: the slots of every commit that shows, from the first on.
    pub fn messages(&self, from: usize) -> Vec<Vec<Slot>> {
        let state = self.lock();
        state
            .log
            .iter()
            .take_while(|commit| commit.shows)
            .skip(from)
            .map(|commit| commit.slots.clone())
            .collect()
    }

    async fn pause(&self, up_to_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.next_u64() % (up_to_ms + 1))).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replayed_version(&self, row: u32) -> u64 {
        let replayed = self.log.iter().filter(|commit| commit.lsn <= self.replayed);
        let of_row = replayed.flat_map(|commit| &commit.versions).filter(|(other, _)| *other == row);
        of_row.map(|(_, version)| *version).next_back().unwrap_or_default()
    }

    fn replayed_at(&self) -> Position {
        Position::new(self.history, self.replayed)
    }
}

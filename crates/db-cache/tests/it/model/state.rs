//! What the model consists of: a database with a standby, a second tier with a replica, two processes with a
//! first tier, a writer and a reader in each.
//!
//! One entry is made from two tags. Generations, runs and versions are small numbers that only grow.

/// The tags, by place: each stands for one row.
pub(super) const TAGS: usize = 2;

/// One value for each tag.
pub(super) type Both<T> = [T; TAGS];

/// A position in the log: its timeline, and how many commits lie before its end.
pub(super) type Place = (u8, u8);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) database: Database,
    pub(super) tier: Tier,
    /// What another server would have that takes over.
    pub(super) replica: Option<Tier>,
    pub(super) processes: [Process; 2],
    pub(super) writers: [Writer; 2],
    pub(super) readers: [Reader; 2],
    /// What callers of transactions were told, and what reads have returned that promise not to lead back in
    /// time.
    pub(super) acknowledged: Both<u8>,
    pub(super) seen: Both<u8>,
    /// What fenced transactions have committed and were told.
    pub(super) fenced: Both<u8>,
    pub(super) relay: Relay,
    pub(super) next_generation: u8,
    /// Whether a commit went without a mark: until it is answered, reads may see it at different times.
    pub(super) is_unmarked: bool,
    /// Whether anybody reads the first tiers: else what they hold is left out.
    pub(super) uses_first_tiers: bool,
    pub(super) left: Left,
}

/// How often each may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Left {
    pub(super) crashes: u8,
    pub(super) lost_messages: u8,
    pub(super) tier_failovers: u8,
    pub(super) flushes: u8,
    pub(super) evictions: u8,
    pub(super) outages: u8,
    pub(super) failovers: u8,
    pub(super) unknown_outcomes: u8,
    pub(super) failed_loads: u8,
    pub(super) rollbacks: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Database {
    pub(super) timeline: u8,
    pub(super) log: Vec<Commit>,
    /// How many commits the standby has replayed.
    pub(super) replayed: u8,
    pub(super) has_standby: bool,
    pub(super) next_version: u8,
    /// Which versions a failover has lost, as bits.
    pub(super) lost: u32,
    /// Who has each row's lock.
    pub(super) locks: Both<Option<u8>>,
}

/// One commit in the log, which readers of the primary do not see before it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Commit {
    pub(super) writer: u8,
    pub(super) versions: Both<u8>,
    pub(super) shows: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Tier {
    pub(super) run: u8,
    /// Which feed it is: one that was emptied begins another.
    pub(super) feed: u8,
    pub(super) is_down: bool,
    pub(super) epoch: Option<Epoch>,
    pub(super) slots: Both<Option<Slot>>,
    pub(super) entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Epoch {
    pub(super) generation: u8,
    pub(super) timeline: u8,
    pub(super) run: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Slot {
    pub(super) generation: u8,
    pub(super) floor: Option<Place>,
    /// Writers in doubt, as bits.
    pub(super) doubts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) epoch: u8,
    pub(super) generations: Both<u8>,
    pub(super) value: Both<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) timeline: u8,
    pub(super) words: Both<Word>,
    /// The epoch that it trusts; 0 is none.
    pub(super) epoch: u8,
    /// Which feed it reads: of which run, and which.
    pub(super) cursor: Option<(u8, u8)>,
    /// How often it has forgotten everything.
    pub(super) incarnation: u8,
    pub(super) has_lease: bool,
    /// What has changed since it read the feed.
    pub(super) pending: Both<bool>,
    pub(super) epoch_pending: bool,
    pub(super) in_quarantine: bool,
    /// What had been acknowledged when its lease was confirmed, or ended.
    pub(super) owed: Both<u8>,
    pub(super) entry: Option<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Word {
    Unknown,
    Generation(u8),
    Doubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Writer {
    pub(super) at: Writing,
    pub(super) tags: Both<bool>,
    pub(super) is_fenced: bool,
    pub(super) versions: Both<u8>,
    pub(super) place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Writing {
    /// It has nothing to write in this run.
    Never,
    Idle,
    Locked,
    Marked,
    /// In the log; the answer comes when it shows.
    Logged,
    Committed,
    /// Its caller was told, and the second tier was not.
    Untold,
    /// Nobody knows what became of it.
    Unknown,
    Over,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) at: Reading,
    pub(super) is_strict: bool,
    pub(super) reads_left: u8,
    /// A store on its way to the second tier, and how far the primary was when it was read there.
    pub(super) store: Option<(Entry, Option<Place>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    Idle,
    Began { owed: Both<u8>, knew: u8 },
    Opened { owed: Both<u8>, knew: u8, token: Option<Token> },
    Loaded { owed: Both<u8>, knew: u8, token: Option<Token>, value: Both<u8>, primary: Option<Place> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token {
    pub(super) epoch: Epoch,
    pub(super) generations: Both<u8>,
    pub(super) in_doubt: bool,
    pub(super) floors: Both<Option<Place>>,
    pub(super) incarnation: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Relay {
    pub(super) runs: bool,
    /// How many commits of this timeline it has bumped.
    pub(super) done: u8,
    pub(super) timeline: u8,
}

impl State {
    /// A cache that has been used: the entry is in the second tier, and the feed has been read.
    pub(super) fn new(left: Left) -> State {
        let slot = |generation| Some(Slot { generation, floor: Some((1, 0)), doubts: 0 });
        let entry = Entry { epoch: 1, generations: [2, 3], value: [0, 0] };
        let process = Process {
            timeline: 1,
            words: [Word::Generation(2), Word::Generation(3)],
            epoch: 1,
            cursor: Some((1, 1)),
            incarnation: 0,
            has_lease: true,
            pending: [false; TAGS],
            epoch_pending: false,
            in_quarantine: false,
            owed: [0; TAGS],
            entry: Some(entry),
        };
        let writer =
            |tags| Writer { at: Writing::Idle, tags, is_fenced: false, versions: [0; TAGS], place: (1, 0) };
        let reader = Reader { at: Reading::Idle, is_strict: true, reads_left: 1, store: None };
        State {
            database: Database {
                timeline: 1,
                log: Vec::new(),
                replayed: 0,
                has_standby: false,
                next_version: 1,
                lost: 0,
                locks: [None; TAGS],
            },
            tier: Tier {
                run: 1,
                feed: 1,
                is_down: false,
                epoch: Some(Epoch { generation: 1, timeline: 1, run: 1 }),
                slots: [slot(2), slot(3)],
                entry: Some(entry),
            },
            replica: None,
            processes: [process.clone(), process],
            writers: [writer([true, false]), writer([true, true])],
            readers: [reader.clone(), reader],
            acknowledged: [0; TAGS],
            seen: [0; TAGS],
            fenced: [0; TAGS],
            relay: Relay { runs: false, done: 0, timeline: 1 },
            next_generation: 4,
            is_unmarked: false,
            uses_first_tiers: false,
            left,
        }
    }
}

impl State {
    /// Leaves out what nobody looks at, so that states that differ in nothing else are one.
    pub(super) fn without_what_is_unused(mut self) -> State {
        if self.uses_first_tiers {
            return self;
        }
        for process in &mut self.processes {
            let Process { timeline, in_quarantine, .. } = *process;
            *process = Process { timeline, in_quarantine, ..Process::new(timeline) };
        }
        self
    }

    /// Whether an entry that was valid is so after nothing but a rollback; true of any other state.
    pub(super) fn rolled_back_and_kept(&self) -> bool {
        let only_rolled_back = self.writers[0].at == Writing::Over && self.database.log.is_empty();
        let is_kept = self.tier.entry.is_some_and(|entry| {
            (0..TAGS).all(|tag| {
                self.tier.slots[tag]
                    .is_some_and(|slot| slot.generation == entry.generations[tag] && slot.doubts == 0)
            })
        });
        !only_rolled_back || is_kept
    }
}

impl Process {
    /// One that has just begun.
    pub(super) fn new(timeline: u8) -> Process {
        Process {
            timeline,
            words: [Word::Unknown; TAGS],
            epoch: 0,
            cursor: None,
            incarnation: 0,
            has_lease: false,
            pending: [false; TAGS],
            epoch_pending: false,
            in_quarantine: false,
            owed: [0; TAGS],
            entry: None,
        }
    }
}

impl Database {
    /// What the primary shows.
    pub(super) fn shown(&self) -> Both<u8> {
        self.newest(self.log.iter().filter(|commit| commit.shows))
    }

    /// What the standby shows.
    pub(super) fn replayed(&self) -> Both<u8> {
        self.newest(self.log.iter().take(usize::from(self.replayed)))
    }

    fn newest<'a>(&self, commits: impl Iterator<Item = &'a Commit>) -> Both<u8> {
        commits.fold([0; TAGS], |newest, commit| max(newest, commit.versions))
    }

    /// What is left of versions, where a failover has lost some: what the log has instead.
    pub(super) fn newest_kept(&self, versions: Both<u8>, lost: u32) -> Both<u8> {
        let kept = self.newest(self.log.iter());
        std::array::from_fn(|tag| {
            let version = versions[tag];
            if lost & (1 << version) != 0 { kept[tag].min(version) } else { version }
        })
    }

    pub(super) fn is_lost(&self, version: u8) -> bool {
        self.lost & (1 << version) != 0
    }
}

pub(super) fn max(one: Both<u8>, other: Both<u8>) -> Both<u8> {
    std::array::from_fn(|tag| one[tag].max(other[tag]))
}

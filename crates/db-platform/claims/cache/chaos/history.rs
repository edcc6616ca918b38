//! What processes wrote down, and whether reads were as new as their mode promises.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

/// One thing that a process wrote down, as a line of its log. Moments are nanoseconds of the machine's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The caller of a transaction was told, before `at`, that it has committed this version.
    Committed { row: i64, version: i64, at: u64, fenced: bool },
    /// A read that began then has answered with this version.
    Read { promise: Promise, row: i64, version: i64, began: u64 },
}

/// What a read promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Promise {
    Ttl,
    Bounded,
    Strict,
    /// At least this version, which the session has written.
    Session(i64),
}

/// All that was written down.
#[derive(Debug, Default)]
pub(super) struct History {
    committed: HashMap<i64, Vec<Commit>>,
    reads: Vec<Event>,
}

#[derive(Debug, Clone, Copy)]
struct Commit {
    at: u64,
    version: i64,
    fenced: bool,
}

/// What the comparison came to.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// Rows that were read.
    rows: u64,
    pub(super) commits: u64,
    pub(super) fenced_commits: u64,
    /// By what was promised: how many were read, and how many were too old.
    by_promise: BTreeMap<&'static str, [u64; 2]>,
    after_fenced: [u64; 2],
    oldest_bounded: Duration,
    examples: Vec<String>,
}

/// How many wrong reads are shown.
const EXAMPLES: usize = 10;

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Committed { row, version, at, fenced } => {
                write!(f, "c {row} {version} {at} {}", u8::from(fenced))
            }
            Event::Read { promise, row, version, began } => {
                let (letter, owed) = match promise {
                    Promise::Ttl => ('t', 0),
                    Promise::Bounded => ('b', 0),
                    Promise::Strict => ('s', 0),
                    Promise::Session(owed) => ('o', owed),
                };
                write!(f, "{letter} {row} {version} {began} {owed}")
            }
        }
    }
}

impl Event {
    fn parse(line: &str) -> Option<Event> {
        let mut words = line.split(' ');
        let letter = words.next()?;
        let mut number = || words.next()?.parse::<i64>().ok();
        let (row, version, moment, last) = (number()?, number()?, number()?.cast_unsigned(), number()?);
        let promise = match letter {
            "c" => return Some(Event::Committed { row, version, at: moment, fenced: last == 1 }),
            "t" => Promise::Ttl,
            "b" => Promise::Bounded,
            "s" => Promise::Strict,
            "o" => Promise::Session(last),
            _ => return None,
        };
        Some(Event::Read { promise, row, version, began: moment })
    }
}

impl History {
    /// Reads the logs of all processes. One that was killed may have written half of its last line.
    pub(super) fn read(logs: &Path) -> History {
        let mut history = History::default();
        for file in std::fs::read_dir(logs).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().filter_map(Event::parse).for_each(|event| history.add(event));
        }
        history.committed.values_mut().for_each(|commits| commits.sort_by_key(|commit| commit.at));
        history
    }

    fn add(&mut self, event: Event) {
        match event {
            Event::Committed { row, version, at, fenced } => {
                self.committed.entry(row).or_default().push(Commit { at, version, fenced });
            }
            Event::Read { .. } => self.reads.push(event),
        }
    }

    /// Compares every read with what had been told when it began. Each read is of two rows.
    pub(super) fn check(&self, bound: Duration) -> Checked {
        let mut checked = Checked::default();
        for commit in self.committed.values().flatten() {
            checked.commits += 1;
            checked.fenced_commits += u64::from(commit.fenced);
        }
        let bound = u64::try_from(bound.as_nanos()).unwrap();
        for event in &self.reads {
            if let Event::Read { promise, row, version, began } = *event {
                self.check_read(&mut checked, bound, (promise, row, version, began));
            }
        }
        checked
    }

    fn check_read(
        &self,
        checked: &mut Checked,
        bound: u64,
        (promise, row, version, began): (Promise, i64, i64, u64),
    ) {
        checked.rows += 1;
        let commits = self.committed.get(&row).map(Vec::as_slice).unwrap_or_default();
        let told_before = |moment: u64| &commits[..commits.partition_point(|commit| commit.at < moment)];
        let newest = |commits: &[Commit]| commits.iter().map(|commit| commit.version).max().unwrap_or(0);
        let (name, owed) = match promise {
            Promise::Ttl => ("ttl", 0),
            Promise::Bounded => ("bounded", newest(told_before(began.saturating_sub(bound)))),
            Promise::Strict => ("strict", newest(told_before(began))),
            Promise::Session(owed) => ("session", owed),
        };
        let is_stale = version < owed;
        let [read, stale] = checked.by_promise.entry(name).or_default();
        (*read, *stale) = (*read + 1, *stale + u64::from(is_stale));
        // After a fenced transaction nobody reads older, in any mode but Ttl.
        let fenced = told_before(began).iter().filter(|commit| commit.fenced && promise != Promise::Ttl);
        let owed_by_fenced = fenced.map(|commit| commit.version).max();
        checked.after_fenced[0] += u64::from(owed_by_fenced.is_some());
        let is_behind_fenced = owed_by_fenced.is_some_and(|owed| version < owed);
        checked.after_fenced[1] += u64::from(is_behind_fenced);
        if promise == Promise::Bounded {
            let newer = told_before(began).iter().filter(|commit| commit.version > version);
            let age = newer.map(|commit| began - commit.at).max().unwrap_or(0);
            checked.oldest_bounded = checked.oldest_bounded.max(Duration::from_nanos(age));
        }
        if (is_stale || is_behind_fenced) && checked.examples.len() < EXAMPLES {
            let newer = told_before(began).iter().filter(|commit| commit.version > version);
            let since = newer.map(|commit| (began - commit.at) / 1_000).max().unwrap_or(0);
            checked.examples.push(format!(
                "{promise:?}: row {row} at {began} was {version} and not {}, {since} us after that",
                owed.max(owed_by_fenced.unwrap_or(0))
            ));
        }
    }
}

impl Checked {
    pub(super) fn add(&mut self, other: Checked) {
        self.rows += other.rows;
        self.commits += other.commits;
        self.fenced_commits += other.fenced_commits;
        self.oldest_bounded = self.oldest_bounded.max(other.oldest_bounded);
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
        for (name, [read, stale]) in other.by_promise {
            let sum = self.by_promise.entry(name).or_default();
            *sum = [sum[0] + read, sum[1] + stale];
        }
        self.after_fenced =
            [self.after_fenced[0] + other.after_fenced[0], self.after_fenced[1] + other.after_fenced[1]];
    }

    /// Reads that were checked.
    pub(super) fn reads(&self) -> u64 {
        self.rows / 2
    }

    /// Rows that were older than promised.
    pub(super) fn wrong(&self) -> u64 {
        self.by_promise.values().map(|[_, stale]| stale).sum::<u64>() + self.after_fenced[1]
    }

    /// Whether every promise was put to the test.
    pub(super) fn is_enough(&self) -> bool {
        let read = |name| self.by_promise.get(name).is_some_and(|[read, _]| *read > 1_000);
        read("strict")
            && read("bounded")
            && read("ttl")
            && self.fenced_commits > 0
            && self.after_fenced[0] > 1_000
    }

    /// How consistent reads are at least, in nines, with 95 % confidence: the rule of three, where none was
    /// wrong.
    pub(super) fn nines(&self) -> f64 {
        -((self.wrong().max(1) as f64 * 3.0 / self.reads().max(1) as f64).log10())
    }

    pub(super) fn detail(&self) -> Value {
        let by_promise: BTreeMap<_, _> = self
            .by_promise
            .iter()
            .map(|(name, [read, stale])| (*name, json!({ "reads": read, "stale": stale })))
            .collect();
        json!({
            "reads": self.reads(), "rows_by_promise": by_promise, "commits": self.commits, "fenced_commits": self.fenced_commits,
            "after_fenced": { "reads": self.after_fenced[0], "stale": self.after_fenced[1] },
            "oldest_bounded_ms": self.oldest_bounded.as_millis(), "nines": self.nines(), "examples": self.examples,
        })
    }
}

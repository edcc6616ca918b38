//! What a transaction writes, as far as a cache must know: the tags it touches, and the tables that its
//! statements name.
//!
//! A transaction's closure has a connection and nothing else, so what it touches is kept with the task:
//! whatever runs within the transaction's future finds it there.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use diesel::connection::{Instrumentation, InstrumentationEvent};

use crate::tag::Tag;

tokio::task_local! {
    static OPEN: Arc<Writes>;
}

/// How many different statements are remembered by what they write.
const MOST_STATEMENTS: usize = 4_096;

/// What one transaction writes, over all attempts at it: one attempt too many drops entries and is never
/// wrong.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tags: HashSet<Tag>,
    /// The declared tables that it wrote to, each with a statement that did.
    tables: HashMap<&'static str, Arc<str>>,
}

impl Writes {
    /// Those of the transaction that this task is in.
    pub(crate) fn current() -> Option<Arc<Writes>> {
        OPEN.try_with(Arc::clone).ok()
    }

    /// Runs a transaction.
    pub(crate) async fn scope<F: Future>(transaction: F) -> F::Output {
        OPEN.scope(Arc::default(), transaction).await
    }

    pub(crate) fn touch(&self, tags: impl IntoIterator<Item = Tag>) {
        self.lock().tags.extend(tags);
    }

    pub(crate) fn tags(&self) -> Vec<Tag> {
        self.lock().tags.iter().cloned().collect()
    }

    /// The tables that it wrote to and touched no tag of, each with a statement that did.
    pub(crate) fn untouched(&self) -> Vec<(&'static str, Arc<str>)> {
        let state = self.lock();
        let touched: BTreeSet<_> = state.tags.iter().filter_map(Tag::table_name).collect();
        let written = state.tables.iter().filter(|(table, _)| !touched.contains(**table));
        written.map(|(table, statement)| (*table, Arc::clone(statement))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a table that entries are made from is tagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tagged {
    /// Entries carry the table's tag: each write to it touches that.
    Whole,
    /// Entries carry tags of rows: transactions touch these themselves.
    Rows,
}

/// The tables that entries are made from, and which statements write to them.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) declared: HashMap<&'static str, Tagged>,
    statements: Mutex<HashMap<u64, Arc<Written>>>,
}

#[derive(Debug, Default)]
struct Written {
    tables: Vec<(&'static str, Tagged)>,
    /// Without literals, so that it can be shown.
    statement: Arc<str>,
}

impl Tables {
    /// The same, with one more.
    pub(crate) fn declaring(&self, table: &'static str, tagged: Tagged) -> Self {
        let mut declared = self.declared.clone();
        declared.insert(table, tagged);
        Tables { declared, statements: Mutex::default() }
    }

    /// Notes what a statement writes.
    fn note(&self, writes: &Writes, text: &str) {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let hash = hasher.finish();
        let mut statements = self.statements.lock().unwrap_or_else(PoisonError::into_inner);
        if statements.len() >= MOST_STATEMENTS {
            statements.clear();
        }
        let written = Arc::clone(statements.entry(hash).or_insert_with(|| Arc::new(self.written(text))));
        drop(statements);
        for (table, tagged) in &written.tables {
            match tagged {
                Tagged::Whole => writes.touch([Tag::table(table)]),
                Tagged::Rows => {
                    writes.lock().tables.entry(table).or_insert_with(|| Arc::clone(&written.statement));
                }
            }
        }
    }

    fn written(&self, text: &str) -> Written {
        let named = db_statement::touched(text).writes;
        let is_named = |declared: &str| {
            named.iter().any(|table| table.name == declared || table.to_string() == declared)
        };
        let tables: Vec<_> = self
            .declared
            .iter()
            .filter(|(name, _)| is_named(name))
            .map(|(name, tagged)| (*name, *tagged))
            .collect();
        let statement = if tables.is_empty() { "".into() } else { db_statement::normalize(text).into() };
        Written { tables, statement }
    }
}

/// Hears of the statements of a connection while a transaction is open on it.
pub(crate) struct Recorder {
    tables: Arc<Tables>,
    writes: Weak<Writes>,
}

impl Recorder {
    pub(crate) fn new(tables: &Arc<Tables>, writes: &Arc<Writes>) -> Self {
        Recorder { tables: Arc::clone(tables), writes: Arc::downgrade(writes) }
    }
}

/// What diesel puts between a statement and its values when it prints both.
const VALUES: &str = " -- binds: ";

impl Instrumentation for Recorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        let InstrumentationEvent::StartQuery { query, .. } = event else { return };
        // Over with the transaction, while the connection goes on.
        let Some(writes) = self.writes.upgrade() else { return };
        let text = query.to_string();
        self.tables.note(&writes, text.rsplit_once(VALUES).map_or(&*text, |(text, _)| text));
    }
}

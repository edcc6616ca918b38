//! What would run: a printable value, made by reading only.

use std::fmt;

use crate::ledger::State;
use crate::run::Direction;
use crate::segments::{How, segments};
use crate::source::{Migration, Migrations, Version};

/// What would run, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The migrations that are not applied yet, in order, and then the repeatable ones that changed.
    pub pending: Vec<Planned>,
    /// The versions whose undoing was cut off: it is finished first.
    pub unfinished_undo: Vec<Version>,
}

/// One migration that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Planned {
    /// Its version.
    pub version: Version,
    /// Its name.
    pub name: String,
    /// Whether what can run in one transaction does.
    pub run_in_transaction: bool,
    /// How many of its parts have run already, where it was cut off.
    pub parts_done: usize,
    /// Its statements.
    pub statements: Vec<PlannedStatement>,
}

/// One statement that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedStatement {
    /// Its line in the file.
    pub line: usize,
    /// How it begins.
    pub head: String,
    /// Which part of the migration it belongs to, from 0: a part commits as one.
    pub part: u32,
    /// Whether it runs in a transaction.
    pub in_transaction: bool,
    /// The strongest lock that it takes on what exists, as far as its text tells.
    pub lock: Option<&'static str>,
}

impl Plan {
    pub(crate) fn of(migrations: &Migrations, state: &State) -> Self {
        let new = migrations.iter().filter(|migration| {
            !state.applied.contains(&migration.version) || state.is_undone_half(&migration.version)
        });
        let changed = migrations
            .repeatable()
            .iter()
            .filter(|migration| state.checksums.get(&migration.version) != Some(&migration.checksum));
        Plan {
            pending: new.chain(changed).map(|migration| planned(migration, state)).collect(),
            unfinished_undo: state
                .under_way
                .iter()
                .filter(|under_way| under_way.direction == Direction::Down)
                .map(|under_way| under_way.version.clone())
                .collect(),
        }
    }

    /// Whether nothing would run.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.unfinished_undo.is_empty()
    }
}

impl State {
    fn is_undone_half(&self, version: &Version) -> bool {
        self.under_way
            .iter()
            .any(|under_way| under_way.version == *version && under_way.direction == Direction::Down)
    }
}

fn planned(migration: &Migration, state: &State) -> Planned {
    let cut_off = state
        .under_way
        .iter()
        .find(|under_way| under_way.version == migration.version && under_way.direction == Direction::Up);
    // What is refused is said when it is run; the plan shows what there is.
    let parts = segments(&migration.up, migration.run_in_transaction, true).unwrap_or_default();
    let statements = parts.iter().enumerate().flat_map(|(part, segment)| {
        segment.statements.iter().map(move |statement| PlannedStatement {
            line: statement.line,
            head: statement.head(),
            part: u32::try_from(part).unwrap_or(u32::MAX),
            in_transaction: matches!(segment.how, How::Together(_)),
            lock: crate::documented_lock::of(statement.text),
        })
    });
    let mut statements: Vec<_> = statements.collect();
    statements.shrink_to_fit();
    Planned {
        version: migration.version.clone(),
        name: migration.name.clone(),
        run_in_transaction: migration.run_in_transaction,
        parts_done: cut_off.map_or(0, |cut_off| cut_off.done),
        statements,
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing to apply");
        }
        let mut newline = "";
        for version in &self.unfinished_undo {
            write!(f, "{newline}finish undoing {version}")?;
            newline = "\n";
        }
        for planned in &self.pending {
            write!(f, "{newline}{planned}")?;
            newline = "\n";
        }
        Ok(())
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "apply {}", self.version.with_name(&self.name))?;
        if !self.run_in_transaction {
            f.write_str(" (each statement by itself)")?;
        }
        if self.parts_done > 0 {
            write!(f, " (from part {})", self.parts_done + 1)?;
        }
        for statement in &self.statements {
            write!(f, "\n  {:>4}  {}", statement.line, statement.head)?;
            match (statement.lock, statement.in_transaction) {
                (Some(lock), true) => write!(f, "  [{lock}]")?,
                (Some(lock), false) => write!(f, "  [{lock}, outside a transaction]")?,
                (None, true) => {}
                (None, false) => f.write_str("  [outside a transaction]")?,
            }
        }
        Ok(())
    }
}

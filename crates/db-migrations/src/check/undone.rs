//! What a down left over or lost, and what the up behind it made.

use db_core::{Class, Classify, Error};

use super::error::CheckError;
use super::known_schema::KnownSchema;
use super::play::Failure;
use super::report::{MigrationCheck, Outcome, RoundTrip};

/// The schema after a down, where there is one, and after the up behind it.
pub(super) struct Undone {
    pub(super) undone: Option<KnownSchema>,
    pub(super) redone: Result<KnownSchema, Failure>,
}

impl Undone {
    /// Notes what is not as it was.
    pub(super) fn note(&self, check: &mut MigrationCheck, before: &KnownSchema, applied: &KnownSchema) {
        let (again, what) = match &self.undone {
            Some(_) => ("after up, down, up: ", "after down.sql"),
            None => {
                ("when it runs again: ", "when it runs again (CREATE OR REPLACE, or DROP … IF EXISTS first)")
            }
        };
        check.down = if self.undone.is_some() { Outcome::Ok } else { Outcome::NotChecked };
        if let Some(undone) = &self.undone {
            check.differs("", &before.diff(undone));
        }
        match &self.redone {
            Err(failure) => {
                check.lost.push(format!("up.sql fails {what}: {}", failure.message));
                check.error = Some(format!("up.sql:{}: {what}: {}", failure.line, failure.message));
            }
            // What down left over is still there: it is not told twice.
            Ok(_) if !check.lost.is_empty() => {}
            Ok(redone) => check.differs(again, &applied.diff(redone)),
        }
        check.round_trip = if check.lost.is_empty() { RoundTrip::Same } else { RoundTrip::Differs };
    }
}

/// Notes that a file fails.
pub(super) fn failed(check: &mut MigrationCheck, file: &str, failure: &Failure) {
    let outcome = if file == "up.sql" { &mut check.up } else { &mut check.down };
    *outcome = Outcome::Error;
    check.error = Some(format!("{file}:{}: {}", failure.line, failure.message));
}

/// Nothing was undone where the server refuses a statement; a lost connection is an error.
pub(super) fn refused(error: diesel::result::Error) -> Result<Option<Undone>, CheckError> {
    let error = Error::from(error);
    if error.class() == Class::Unavailable { Err(error.into()) } else { Ok(None) }
}

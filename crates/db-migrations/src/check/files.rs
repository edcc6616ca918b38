//! The two files of a migration.

use super::play::{self, Failure};
use crate::segments::Segment;
use crate::source::Migration;
use crate::split::Statement;

/// Both files of a migration, cut into what commits together.
pub(super) struct Files<'a> {
    pub(super) up: Vec<Segment<'a>>,
    pub(super) down: Result<Option<Vec<Segment<'a>>>, Failure>,
}

impl<'a> Files<'a> {
    pub(super) fn of(migration: &'a Migration) -> Result<Self, Failure> {
        let cut = |sql: &'a str| play::cut(sql, migration.run_in_transaction);
        Ok(Files { up: cut(&migration.up)?, down: migration.down.as_deref().map(cut).transpose() })
    }

    /// The statements of both, where each file is one transaction.
    pub(super) fn in_one_transaction(&self) -> Option<(Vec<Statement<'a>>, Option<Vec<Statement<'a>>>)> {
        let up = play::one_transaction(&self.up)?;
        match &self.down {
            Ok(Some(down)) => Some((up, Some(play::one_transaction(down)?))),
            _ => Some((up, None)),
        }
    }
}

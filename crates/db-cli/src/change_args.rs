//! The command line of `dbctl migrate expand` and `dbctl migrate contract`.

use clap::{Subcommand, ValueEnum};
use db_platform::migrations::online_change::{OnDelete, OnlineChange};

/// What is added, so that old and new code run side by side.
#[derive(Subcommand)]
pub(crate) enum Expand {
    /// A column may not be NULL any more: a check, its validation, NOT NULL.
    NotNull {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A foreign key to another table's primary key: NOT VALID, then validated.
    ForeignKey {
        /// The table that refers.
        table: String,
        /// Its columns, in the order of the primary key there.
        #[arg(required = true)]
        columns: Vec<String>,
        /// The table that is referred to.
        #[arg(long, value_name = "TABLE")]
        references: String,
        /// What is done with rows that refer to a row that goes; without it, the row may not go.
        #[arg(long, value_enum)]
        on_delete: Option<Deleted>,
    },
    /// A unique constraint, from an index that is built concurrently.
    Unique {
        /// The table.
        table: String,
        /// The columns.
        #[arg(required = true)]
        columns: Vec<String>,
    },
    /// A table's name; a view keeps the old one for the code that still runs.
    Rename {
        /// The table.
        table: String,
        /// Its new name.
        to: String,
    },
    /// A column's type: a second column of the new type, which a trigger keeps in step.
    Type {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The new type, as in SQL.
        to: String,
        /// How a value is made of the old one, as SQL over the row, which is called t; without it, it is
        /// cast.
        #[arg(long, value_name = "EXPRESSION")]
        using: Option<String>,
    },
}

/// What goes, once no code needs it.
#[derive(Subcommand)]
pub(crate) enum Contract {
    /// The view that kept a table's old name.
    Rename {
        /// The old name.
        table: String,
        /// The table's name.
        to: String,
    },
    /// The old type: the second column takes the first one's name. The old column stays, in step, for the
    /// way back.
    Type {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// The column of the old type.
    OldType {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
}

/// What is done with rows that refer to a row that goes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Deleted {
    /// They go, too.
    Cascade,
    /// Their columns become NULL.
    SetNull,
    /// The row may not go.
    Restrict,
}

impl From<Expand> for OnlineChange {
    fn from(expand: Expand) -> Self {
        match expand {
            Expand::NotNull { table, column } => OnlineChange::NotNull { table, column },
            Expand::ForeignKey { table, columns, references, on_delete } => {
                let on_delete = on_delete.map(|on_delete| match on_delete {
                    Deleted::Cascade => OnDelete::Cascade,
                    Deleted::SetNull => OnDelete::SetNull,
                    Deleted::Restrict => OnDelete::Restrict,
                });
                OnlineChange::ForeignKey { table, columns, references, on_delete }
            }
            Expand::Unique { table, columns } => OnlineChange::Unique { table, columns },
            Expand::Rename { table, to } => OnlineChange::Rename { table, to },
            Expand::Type { table, column, to, using } => OnlineChange::Type { table, column, to, using },
        }
    }
}

impl From<Contract> for OnlineChange {
    fn from(contract: Contract) -> Self {
        match contract {
            Contract::Rename { table, to } => OnlineChange::EndRename { table, to },
            Contract::Type { table, column } => OnlineChange::SwapType { table, column },
            Contract::OldType { table, column } => OnlineChange::EndType { table, column },
        }
    }
}

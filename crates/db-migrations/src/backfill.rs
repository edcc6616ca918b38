//! Fills columns of a large table in batches beside an application.
//!
//! Rows are visited by key, each once, and each batch commits together with a note of how far it came.
//! Nothing is held between two batches: no snapshot, no lock. What ends it is the greatest key at the
//! beginning: rows that come later are the application's, which must fill them itself before the backfill
//! begins.

mod batch;
mod definition;
mod error;
mod ledger;
mod report;
mod run;
mod sql;
mod table;
mod unfilled;

pub use db_throttle as throttle;
pub use definition::{Backfill, BackfillConfig, Fill};
pub use error::BackfillError;
pub use ledger::BackfillStatus;
pub use report::{BackfillOutcome, BackfillPlan, BackfillProgress, Unfilled};

//! A deterministic simulation: a second tier, a database with a standby, processes and what goes wrong with
//! each of them, on virtual time, all of it following from a seed.

mod checker;
mod database;
mod faults;
mod many;
mod tier;
mod trouble;
mod way;
mod world;

pub use checker::{Promise, Violation};
pub use database::{Database, Unanswered};
pub use faults::{Faults, Operation};
pub use tier::{SimulatedTier, TierState};
pub use way::{Reach, Way};
pub use world::{Report, Setting, simulate};

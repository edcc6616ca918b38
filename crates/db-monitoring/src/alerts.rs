//! Tells people what is wrong with the database, once for each incident, and when it is over.
//!
//! [`Incidents`] decides, and knows no clock and no database. [`Alerts`] runs it: one replica of the service
//! leads, keeps incidents in the schema `dbp`, and owes each message until it has come through.

mod config;
mod delivery;
mod incidents;
mod part;
mod reading;
mod readings;
mod runner;
mod silence;
mod status;
mod store;
mod store_sql;
mod told;

pub use config::AlertConfig;
pub use delivery::AlertChannel;
pub use incidents::{Incidents, Open, OpenIncident};
pub use part::{Alerts, Beat, Evaluate, Evaluation};
pub use reading::{Level, Reading};
pub use readings::{Readings, of_checks};
pub use silence::{InvalidSilence, Silence};
pub use status::AlertStatus;
pub use store::open_in;
pub use told::{Told, What};

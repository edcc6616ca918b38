//! Checks migrations before anyone runs them: what a down loses, which locks a statement takes, what it
//! rewrites.
//!
//! A check runs the migrations on a real server, on databases of its own that it makes and drops, and looks
//! at what the server did: the catalogs before and after, the locks held, the rows read. It knows no rules
//! about SQL; the rules of the static layer (feature `lint`) are overruled by what was seen.

mod accepted;
mod alteration;
mod alterations;
mod base;
mod config;
mod difference;
mod drift;
mod error;
mod files;
mod findings;
mod fingerprint;
mod gates;
mod halves;
mod known_schema;
mod lawful;
#[cfg(feature = "lint")]
mod lint;
mod marks;
mod output;
mod past;
mod play;
mod prepared;
mod question;
mod rehearse;
mod report;
mod rules;
mod run;
mod server;
mod snapshot;
mod statement_text;
mod trace;
mod undone;

pub use accepted::Accepted;
pub use alteration::{Alteration, AlterationKind};
pub use config::CheckConfig;
pub use difference::{Change, Difference};
pub use drift::{Drift, DriftConfig, drift};
pub use error::CheckError;
pub use findings::{FailOn, Finding, Severity};
pub use fingerprint::Fingerprint;
#[cfg(feature = "lint")]
pub use lint::{LintConfig, lint};
pub use output::{annotations, human, markdown, sarif};
pub use past::Past;
pub use report::{CheckReport, FileFinding, MigrationCheck, Outcome, RoundTrip, Summary};
pub use rules::{Rule, rules};
pub use run::{check, check_until};
pub use server::Databases;
pub use trace::{Lock, Mode, Scan, StatementTrace, Written};

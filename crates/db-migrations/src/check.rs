//! Checks migrations before anyone runs them: what a down loses, which locks a statement takes, what it rewrites.
//!
//! A check runs the migrations on a real server, on databases of its own that it makes and drops, and looks at what
//! the server did: the catalogs before and after, the locks held, the rows read. It knows no rules about SQL; the
//! rules of the static layer (feature `lint`) are overruled by what was seen.

mod difference;
mod drift;
mod error;
mod findings;
mod fingerprint;
mod gates;
#[cfg(feature = "lint")]
mod lint;
mod output;
mod past;
mod play;
mod rehearse;
mod report;
mod run;
mod server;
mod snapshot;
mod trace;

pub use difference::{Change, Difference};
pub use drift::{Drift, drift};
pub use error::CheckError;
pub use findings::{Finding, Severity};
pub use fingerprint::Fingerprint;
#[cfg(feature = "lint")]
pub use lint::lint;
pub use output::{annotations, human, markdown, sarif};
pub use past::Past;
pub use report::{CheckReport, FileFinding, MigrationCheck, Outcome, RoundTrip, Summary};
pub use run::{CheckConfig, check};
pub use server::Databases;
pub use trace::{Lock, Mode, Scan, StatementTrace};

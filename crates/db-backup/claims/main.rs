//! Measures what backups claim of their repository.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod corruptions;
#[path = "../tests/it/emulators.rs"]
mod emulators;
#[path = "../tests/it/gcs_stub.rs"]
mod gcs_stub;
#[path = "../tests/it/history.rs"]
mod history;
mod retention;
#[path = "../tests/it/spoil.rs"]
mod spoil;
mod store_faults;
mod stores;
#[expect(dead_code, reason = "it is the tests' own, and they use more of it")]
#[path = "../tests/it/world.rs"]
mod world;

use std::process::ExitCode;

use db_testkit::claims::Claim;

const CLAIMS: [Claim; 4] = [
    Claim {
        id: "backup-4",
        sentence: "Bits flip, objects are cut, lost, swapped or replaced by older ones: verification and reading notice each, \
                   nothing wrong is ever read, and a gap in the log is found at once.",
        target: "0 of 10,000 corruptions (500 in CI) missed; a gap found within 10 s",
        fails_without: "crates/db-backup/src/cluster.rs: self.add_vanished(&mut backups, &tombstones).await?;",
        measure: corruptions::measure,
    },
    Claim {
        id: "backup-5",
        sentence: "The store fails before or after it did its work, hangs, is busy, cuts or flips its answers: what was \
                   acknowledged is there, what fails says so within its deadline, and a store that lies about conditional puts \
                   is refused.",
        target: "2,000 bad days (60 in CI): 0 acknowledged segments or backups lost, 0 late answers, 0 permanent errors for \
                 what is temporary; 3 of 3 liars refused",
        fails_without: "crates/db-backup/src/store.rs: Ok(Some(there)) if there == bytes => Ok(Put::Created),",
        measure: store_faults::measure,
    },
    Claim {
        id: "backup-7",
        sentence: "Whatever the history and the policy: no expiry removes what a kept backup needs, any moment of the days \
                   that are promised can be reached, and each hour, day and week keeps a backup if it had one.",
        target: "150,000 random histories (6,000 in CI), 0 promises broken",
        fails_without: "crates/db-backup/src/retention.rs: keep_what_is_needed(backups, &mut keep);",
        measure: retention::measure,
    },
    Claim {
        id: "backup-8",
        sentence: "A local directory, S3 and Azure by their emulators, and Google Cloud Storage by a stub pass one suite, a \
                   backup with its log, verification, a lock and expiry included.",
        target: "4 of 4 kinds of store",
        fails_without: "crates/db-backup/src/store.rs: Ok(()) | Err(Fault::Missing) => Ok(()),",
        measure: stores::measure,
    },
];

fn main() -> ExitCode {
    db_testkit::claims::run(&CLAIMS)
}

/// A runtime for one measurement.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

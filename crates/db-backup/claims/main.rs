//! Measures the claims of the area `backup`.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

#[path = "../tests/it/commands.rs"]
mod commands;
mod corruptions;
mod dump;
#[expect(dead_code, reason = "it is the tests' own, and they use more of it")]
#[path = "../tests/it/emulators.rs"]
mod emulators;
#[path = "../tests/it/front.rs"]
mod front;
mod full_disk;
#[expect(dead_code, reason = "it is the tests' own, and they use more of it")]
#[path = "../tests/it/gcs_stub.rs"]
mod gcs_stub;
#[path = "../tests/it/history.rs"]
mod history;
mod incremental;
mod kills;
mod kills_import;
mod kills_repository;
mod ledger;
#[path = "../tests/it/live.rs"]
mod live;
mod peak;
#[path = "../tests/it/pgbackrest.rs"]
mod pgbackrest;
mod pitr;
mod recovery;
mod rehearsals;
mod retention;
mod rpo;
mod rto;
mod speed;
#[path = "../tests/it/spoil.rs"]
mod spoil;
mod store_faults;
mod stores;
mod versions;
#[path = "../tests/it/world.rs"]
mod world;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "backup-1",
        sentence: "An encrypted full backup of realistic data takes at most 0.60 times pgBackRest's time at two processes and \
                   zstd 3, a restore at most 0.65 times, at most 64 MB of memory whatever the size, and the log is archived at least \
                   1.3 times as fast as by its asynchronous mode (5 pairs; nightly 30).",
        target: "0.60 and 0.65 times, 64 MB, 1.3 times",
        fails_without: "crates/db-backup/src/wal/push.rs: wanted.extend(ready_behind(path, segment, config.ahead));",
        measure: speed::measure,
    },
    Claim {
        id: "backup-1b",
        sentence: "An encrypted full backup at zstd 3 takes at most 0.20 times the time of pg_dump | gzip (3 pairs; nightly 15).",
        target: "0.20 times",
        fails_without: "crates/db-backup/src/take/stream.rs: format!(\"CHECKPOINT '{checkpoint}'\"),",
        measure: dump::measure,
    },
    Claim {
        id: "backup-1c",
        sentence: "An incremental backup of PostgreSQL 17 takes at most 0.5 s where 2 % of the pages changed, log included (5 times; \
                   nightly 15).",
        target: "0.5 s",
        fails_without: "crates/db-backup/src/take/stream.rs: options.extend(incremental.then(|| \"INCREMENTAL true\".to_owned()));",
        measure: incremental::measure,
    },
    Claim {
        id: "backup-2",
        sentence: "A database that is restored to a random time, position, transaction or restore point, over three timelines \
                   under load, holds exactly the commits up to there (60 targets; nightly 500).",
        target: "0 targets with another commit, or one less",
        fails_without: "crates/db-backup/src/restore/configure.rs: settings.extend(own);",
        measure: pitr::measure,
    },
    Claim {
        id: "backup-3",
        sentence: "kill -9 of a backup, an archive_command, a restore, an expiry or a copy at a random point breaks no published \
                   backup and loses no log, and the next run goes on and cleans up (200 points; nightly 1,000).",
        target: "0 broken backups, 0 lost commits, 0 runs that do not go on, 0 objects that stay",
        fails_without: "crates/db-backup/src/restore/place.rs: return Ok(Place::Unfinished);",
        measure: kills::measure,
    },
    Claim {
        id: "backup-3b",
        sentence: "kill -9 of an import from pgBackRest at a random point breaks no published backup and publishes none without \
                   its log, and the next import goes on and cleans up (30 points; nightly 300).",
        target: "0 broken backups, 0 imports that do not go on, 0 objects that stay",
        fails_without: "crates/db-backup/src/import/apply.rs: done.log = plan.files.import(source, &cluster, compression, workers, observer).await?;",
        measure: kills_import::measure,
    },
    Claim {
        id: "backup-4",
        sentence: "Bits flip, objects are cut, lost, swapped or replaced by older ones: verification and reading notice each, and \
                   a rehearsal each kind of them; nothing wrong is ever read, and a gap in the log is found at once.",
        target: "0 of 10,000 corruptions (500 in CI) missed, 0 of 120 rehearsals green (24 in CI); a gap found within 10 s",
        fails_without: "crates/db-backup/src/cluster.rs: self.add_vanished(&mut backups, &tombstones).await?;",
        measure: corruptions::measure,
    },
    Claim {
        id: "backup-5",
        sentence: "The store fails before or after it did its work, hangs, is busy, cuts or flips its answers: what was \
                   acknowledged is there, what fails says so within its deadline, and a store that lies about conditional puts \
                   is refused. A disk that is full stops the archive and loses nothing; with room again it catches up.",
        target: "2,000 bad days (60 in CI): 0 acknowledged segments or backups lost, 0 late answers, 0 permanent errors for \
                 what is temporary; 3 of 3 liars refused; 0 commits lost and 0 half objects left on a full disk",
        fails_without: "crates/db-backup/src/store.rs: Ok(Some(there)) if there == bytes => return Ok(Put::Created),",
        measure: store_faults::measure,
    },
    Claim {
        id: "backup-6",
        sentence: "kill -9 of a server under load loses commits of at most the last 100 ms with a receiver to a local \
                   repository and of the last second to an object store, none with a synchronous receiver, and with \
                   archive_command alone at most those of archive_timeout and of the archive_command under way; a restore \
                   takes at most 0.7 times pgBackRest's time from nothing to the first answer (5 crashes each, 200 MB and 8 \
                   segments, 5 pairs; nightly 100 and 30 pairs).",
        target: "p99 100 ms and 1 s, 0 synchronous, archive_timeout and one push, 0.7 times",
        fails_without: "crates/db-backup/src/wal/receive.rs: self.waiting_since.get_or_insert_with(Instant::now);",
        measure: recovery::measure,
    },
    Claim {
        id: "backup-6b",
        sentence: "A restore of 1 GB and 30 segments takes at most 0.7 times pgBackRest's time from nothing to the first answer \
                   (median of 7 pairs; nightly 30).",
        target: "0.7 times",
        fails_without: "crates/db-backup/src/wal/fetch.rs: spool.ask(Asked { segment, size });",
        measure: recovery::of_a_gigabyte,
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
                   backup with its log, verification, a lock and expiry included; and a server is backed up to each, verified, \
                   and restored to a point in time and to the end of its log.",
        target: "4 of 4 kinds of store",
        fails_without: "crates/db-backup/src/store.rs: Err(Fault::Missing) => Ok(()),",
        measure: stores::measure,
    },
    Claim {
        id: "backup-9",
        sentence: "PostgreSQL 15 to 18 are backed up, restored to a point in time and rehearsed, 17 and 18 with a chain of \
                   incremental backups; so is 19 where it is at hand, and 14 is told to be dumped, and is.",
        target: "0 versions with another content",
        fails_without: "crates/db-backup/src/take/stream.rs: options.extend(incremental.then(|| \"INCREMENTAL true\".to_owned()));",
        measure: versions::measure,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    if asked("commands::push") {
        commands::push_for_the_server();
        return ExitCode::SUCCESS;
    }
    if asked("commands::fetch") {
        commands::fetch_for_the_server();
        return ExitCode::SUCCESS;
    }
    if asked(kills::CHILD) {
        return kills::child(&arguments);
    }
    db_testkit::claims::run(CLAIMS)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

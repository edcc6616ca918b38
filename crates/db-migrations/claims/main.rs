//! Measures the claims of the area `migrations`, and of `maintenance` what is online change.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod backfills;
mod blocked;
mod boot_storm;
#[path = "../tests/corpus/cases.rs"]
mod cases;
#[path = "../tests/it/check_server.rs"]
mod check_server;
mod drifts;
mod fixture;
#[path = "../tests/corpus/judge.rs"]
mod judge;
mod kills;
mod lock_traces;
mod online_changes;
mod policies;
#[path = "../tests/corpus/printed_cases.rs"]
mod printed_corpus;
mod printed_schemas;
#[path = "../tests/corpus/random_schema.rs"]
mod random_schema;
#[path = "../tests/corpus/round_trip.rs"]
mod round_trip;
mod round_trips;
mod splitter;
#[path = "../tests/it/to.rs"]
mod to;
mod verdicts;
mod versions;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "migrations-1",
        sentence: "32 services that boot at once, on a fresh or a half-migrated database, with CONCURRENTLY among the \
                   migrations, all come up, and each migration runs once (10 rounds of each; nightly 20).",
        target: "0 failed boots, 0 deadlocks, 0 migrations that ran twice or never",
        fails_without: "crates/db-migrations/src/lock.rs: pg_catalog.pg_try_advisory_lock($1)",
        measure: boot_storm::measure,
    },
    Claim {
        id: "migrations-2",
        sentence: "After kill -9 of the client or of its server process at a random point (100 points; nightly 200) the next \
                   boot converges by itself.",
        target: "0 failed boots, 0 different schemas, 0 INVALID indexes",
        fails_without: "crates/db-migrations/src/leftovers.rs: drop_invalid(conn, &found).await?;",
        measure: kills::measure,
    },
    Claim {
        id: "migrations-3",
        sentence: "A migration that waits 6 s for a table's lock holds nobody up for longer than its lock_timeout, and is \
                   done as soon as the table is free.",
        target: "worst read at most lock_timeout + 50 ms, done at most 1 s after the blocker, best of three runs",
        fails_without: "crates/db-migrations/src/session.rs: SET lock_timeout = {milliseconds}",
        measure: blocked::measure,
    },
    Claim {
        id: "migrations-4",
        sentence: "300 migrations are played up, down and up, one behind 299 that a kept database holds is checked, a change of \
                   one migration is checked with a server's start, every planted fault in a down.sql is found, and nothing \
                   is found where there is none.",
        target: "300 in at most 15 s and 10 times psql's time for their ups, one behind a kept base in at most 1 s, one with a \
                 server in at most 15 s (best of three runs), 0 faults missed, 0 false findings",
        fails_without: "crates/db-migrations/src/check/undone.rs: check.differs(\"\", &before.diff(undone))",
        measure: round_trips::measure,
    },
    Claim {
        id: "migrations-5",
        sentence: "The lock trace sees the lock, the rewrite, the reads and the index builds of every statement of known \
                   effect, and charges nothing that the check itself does, on PostgreSQL 15 and 18, and on 19 where it is at \
                   hand (nightly 14 to 19).",
        target: "100 % of at least 120 statements on each",
        fails_without: "crates/db-migrations/src/check/snapshot.rs: trace.locks.extend(self.dropped_under_lock(after, origin));",
        measure: lock_traces::measure,
    },
    Claim {
        id: "migrations-6",
        sentence: "The splitter takes a million random texts without a panic and without losing a character (nightly ten \
                   million), and agrees with squawk-syntax on every statement of our corpus.",
        target: "0 panics, 0 losses, 0 differences",
        fails_without: "crates/db-migrations/src/split/lexer.rs: b'-' if self.starts(at, \"--\") =>",
        measure: splitter::measure,
    },
    Claim {
        id: "migrations-7",
        sentence: "Edited, out of order, unknown, duplicate, an empty or misspelt metadata.toml, and a transaction-pooling \
                   PgBouncer are each an error of their own that says the way out.",
        target: "7 of 7",
        fails_without: "crates/db-migrations/src/policy.rs: found.push(MigrationError::OutOfOrder",
        measure: policies::measure,
    },
    Claim {
        id: "migrations-8",
        sentence: "The reference migrations go up, down and up, pass their check, and stand a boot storm on PostgreSQL 14, 15, \
                   16, 17 and 18.",
        target: "5 of 5 versions",
        fails_without: "crates/db-migrations/src/session.rs: if facts.version >= 170_000 {",
        measure: versions::measure,
    },
    Claim {
        id: "migrations-9",
        sentence: "The check says no to what makes statements of the application wait for as long as a table is large, loses \
                   data, or breaks code that still runs, and to nothing else: each change of a corpus is made beside readers \
                   and writers on a table of 1.5 million rows, and measured (every other change; nightly all, at least 60 \
                   bad and 60 good ones).",
        target: "at least 97 % of its noes are right, and at least 97 % of the bad changes are refused",
        fails_without: "crates/db-migrations/src/check/snapshot.rs: trace.alterations.extend(alterations::between(self, after, origin));",
        measure: verdicts::measure,
    },
    Claim {
        id: "migrations-10",
        sentence: "`schema print` writes the schema.rs that diesel's own program writes, byte for byte: of the reference \
                   schema, of one with enums, domains, arrays and views in three ways, of one with hostile names, and of \
                   strangers' (SQL files in DB_PLATFORM_SCHEMAS, where it is set); and `new --diff-schema` leads from one \
                   random schema to the file of another, and back (25 pairs; nightly 200).",
        target: "0 differences, 0 ways that lead elsewhere",
        fails_without: "crates/db-migrations/src/schema/diff/keys.rs: keys.restored.push(key);",
        measure: printed_schemas::measure,
    },
    Claim {
        id: "migrations-11",
        sentence: "Drift is clean after every lawful way to a schema: apply at once and one by one, redo, reset and apply, \
                   baseline, seed, partitions made and dropped by the schema's own function, another search_path, other line \
                   ends; and it finds each of at least 60 changes by hand.",
        target: "0 lawful ways that are told, 0 changes that are not",
        fails_without: "crates/db-migrations/src/check/catalog/1_relations.sql: pg_get_triggerdef(tg.oid)",
        measure: drifts::measure,
    },
    Claim {
        id: "maintenance-3",
        sentence: "A backfill of 2 million rows is fast alone, slows nobody down beside an application, fills each row \
                   once however often it is killed (10 kills; nightly 40), and ends while rows are inserted.",
        target: "at least 30,000 rows a second alone; p99 of statements at most 2 times that without it, median of 5 \
                 pairs of windows (nightly 10); 0 rows twice or never",
        fails_without: "crates/db-migrations/src/backfill/batch.rs: self.move_on(conn, from, &next).await?;",
        measure: backfills::measure,
    },
    Claim {
        id: "maintenance-8",
        sentence: "NOT NULL, a foreign key, a unique constraint, a new type with its backfill and a rename are made on a \
                   table of a million rows that four clients read and write.",
        target: "no statement takes longer than 100 ms, best of two runs (nightly three); every change is there",
        fails_without: "crates/db-migrations/src/online_change/sql.rs: CHECK ({column} IS NOT NULL) NOT VALID;",
        measure: online_changes::measure,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match &words[..] {
        [word, url] if word == kills::CHILD => kills::boot(url),
        [word, url] if word == backfills::CHILD => backfills::child(url),
        _ => db_testkit::claims::run(CLAIMS),
    }
}

//! Measures the claims of the area `monitoring`.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod bloat;
mod blocking;
mod cost;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/dashboard/browser/devtools.rs"]
mod devtools;
mod flaps;
#[path = "../tests/it/host.rs"]
mod host;
mod load;
mod pages;
mod pairs;
mod roles;
mod setup;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/dashboard/shop.rs"]
mod shop;
mod versions;
#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/it/dashboard/browser/walk.rs"]
mod walk;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "monitoring-3",
        sentence: "Collecting 1,000 tables costs the server at most a tenth of the CPU time of a scrape by postgres_exporter 0.19, in \
                   turns on the same server, with all that the exporter tells each time, and so does a minute of collecting as it is \
                   by default against a scrape every 15 s (10 pairs; nightly 40).",
        target: "0.10 times",
        fails_without: "crates/db-monitoring/src/server/session.rs: self.run(Sql { text, comes_again: true }).await",
        measure: cost::measure,
    },
    Claim {
        id: "monitoring-3b",
        sentence: "/metrics of 1,000 tables answers within 5 ms at p99, compressed and plain, also while the server is stopped, and \
                   one stuck database of five delays no other (the best of three runs of 500 requests each; nightly 5,000).",
        target: "5 ms; 0 late databases",
        fails_without: "crates/db-monitoring/src/server/text_at_hand.rs: if was_wanted && self.is_kept.load(Ordering::Relaxed) || kept.is_of(snapshot) {",
        measure: cost::measure_answers,
    },
    Claim {
        id: "monitoring-5",
        sentence: "The estimate of bloat is what pgstattuple says of at least 30 tables and B-trees of many kinds, alignment padding \
                   included, on 15 and 18 (60,000 rows each; nightly 400,000 on 15 to 18).",
        target: "at most 5 points apart, on each of at least 30 relations",
        fails_without: "crates/db-monitoring/src/bloat/widths.rs: let start = if short { offset } else { aligned(offset, column.align) };",
        measure: bloat::measure,
    },
    Claim {
        id: "monitoring-6b",
        sentence: "1,000 conditions come and go while receivers fail in every way, refuse, and are out, while replicas are killed and \
                   end, and the server restarts: each beginning and end is told, none twice, but under its own id where the \
                   answer to it was lost (1,000 flaps with 18 accidents; nightly 10,000 with 180).",
        target: "0 lost, 0 twice",
        fails_without: "crates/db-monitoring/src/alerts/runner.rs: store.done(&self.done).await",
        measure: flaps::measure,
    },
    Claim {
        id: "monitoring-7",
        sentence: "The blocking tree is exact for a chain of five, a star of twenty, a prepared transaction and a queue behind a \
                   change of a table, with one look a second, on 15 and 18 (nightly 15 to 18).",
        target: "exact, and shown within 1.5 s",
        fails_without: "crates/db-monitoring/src/blocking.rs: let parent = known.min_by_key(|blocker| (blocker.how, waiting(&blocker.owner)));",
        measure: blocking::measure,
    },
    Claim {
        id: "monitoring-7b",
        sentence: "Average active sessions are within 5 % of a known load of eight sessions over 60 s, by wait event, and history \
                   survives a restart (60 s; nightly three times).",
        target: "5 %",
        fails_without: "crates/db-monitoring/src/server/history/load.rs: self.seconds += seconds;",
        measure: load::measure,
    },
    Claim {
        id: "monitoring-7c",
        sentence: "A report on 1,000 tables, in text, HTML and JSON with each of them, takes at most 10 s (best of 3; nightly 10).",
        target: "10 s",
        fails_without: "crates/db-monitoring/src/sections/tables.rs: rows.push((database, table, table.bytes(page), indexes.get(&table.oid).copied().unwrap_or(0)));",
        measure: pages::measure_report,
    },
    Claim {
        id: "monitoring-7e",
        sentence: "The setup with all that the server may log, for a new role, for one that is there and for one that sees everything \
                   already, applied twice and undone twice, leaves roles, rights, settings, extensions and objects as they were, on \
                   15 and 18 (nightly 15 to 18).",
        target: "0 differences",
        fails_without: "crates/db-monitoring/src/setup.rs: steps.push(step(\"take the mark away\", format!(\"ALTER ROLE {name} RESET {mark}\")));",
        measure: setup::measure,
    },
    Claim {
        id: "monitoring-8",
        sentence: "The dashboard's pages render in headless Chromium at 1280 and 375 px, light and dark, with nothing on the \
                   console, no request to others and nothing wider than the window; Tab alone reaches everything; the first \
                   page takes at most 100 kB with all that it loads (once; nightly three times).",
        target: "0 faults; 100 kB",
        fails_without: "crates/db-monitoring/src/assets/dashboard.js: box.tabIndex = 0;",
        measure: pages::measure_pages,
    },
    Claim {
        id: "monitoring-10b",
        sentence: "Bind values, constants of statements, a password and a token that were planted are in no page, in HTML or \
                   JSON, and in no report, in any form (once; nightly ten times).",
        target: "0 places",
        fails_without: "crates/db-monitoring/src/server/collect.rs: backend.query = backend.query.take().map(|text| db_statement::normalize(&text));",
        measure: pages::measure_secrets,
    },
    Claim {
        id: "monitoring-9",
        sentence: "All checks on PostgreSQL 15 to 18 (19 where it is at hand), as superuser, with pg_monitor and with neither, and on a \
                   catalogue whose columns were renamed: nothing that is wrong is ok, and the server logs no error.",
        target: "0 false answers, 0 errors",
        fails_without: "crates/db-monitoring/src/checks/evidence.rs: if known(&self.now.access)?.reads_all_stats {",
        measure: roles::measure,
    },
    Claim {
        id: "monitoring-9b",
        sentence: "PostgreSQL 15 to 18 are collected as superuser, with pg_monitor and with neither, without an error in the \
                   server's log over all rounds; so is 19 where it is at hand.",
        target: "0 errors",
        fails_without: "crates/db-monitoring/src/server/record.rs: None if optional => Ok(format!(\"NULL::{cast}\")),",
        measure: versions::measure,
    },
];

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some(flaps::process::REPLICA) {
        return flaps::process::replica();
    }
    db_testkit::claims::run(CLAIMS)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

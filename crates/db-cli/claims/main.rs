//! Measures what `dbctl` claims in the areas `backup`, `maintenance` and `migrations`.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod alarms;
#[path = "../../db-backup/tests/it/front.rs"]
mod front;
mod large_sets;
mod memory;
mod moto;
#[path = "../../db-monitoring/claims/pairs.rs"]
mod pairs;
#[path = "../../db-backup/claims/peak.rs"]
mod peak;
mod put_only;
#[path = "../tests/it/run.rs"]
mod run;
#[path = "../tests/it/server.rs"]
mod server;
mod upkeep;
mod waits;
#[path = "../tests/it/webhook.rs"]
mod webhook;

use std::io::Read;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use db_testkit::claims::{Claim, Figure, Size};
use serde_json::json;

use crate::server::{DBCTL, Live};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "backup-1d",
        sentence: "dbctl takes, verifies, restores and rehearses backups and archives and fetches the log in at most 64 MB of memory, of \
                   a database of 1 GB as of one of 100 MB, whether its rows compress or not.",
        target: "64 MB",
        fails_without: "crates/db-backup/src/buffers.rs: self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);",
        measure: memory::measure,
    },
    Claim {
        id: "backup-4b",
        sentence: "An agent tells within 10 s of a segment that was deleted, of one that another server has archived, of an \
                   archive_command that fails, and, as soon as a segment has waited as long as BACKUP_LATE_AFTER says, of that \
                   (3 times each; nightly 20).",
        target: "10 s",
        fails_without: "crates/db-backup/src/wal/status.rs: status.findings.extend(of_server(&side, &segments, segment_bytes, late_after));",
        measure: alarms::measure,
    },
    Claim {
        id: "backup-10",
        sentence: "Two agents to whom a backup is due at once take one, and the other says which host it waits for (3 times; nightly \
                   30); with credentials that may only put, a host archives and takes backups, and no command of its removes or \
                   overwrites anything.",
        target: "0 times with two backups, or without a word; 0 objects removed or overwritten",
        fails_without: "crates/db-cli/src/agent/jobs.rs: jobs.push(leased(ground, job, Some(Kind::Full)));",
        measure: several_hosts,
    },
    Claim {
        id: "maintenance-6",
        sentence: "On a database with a bloated table, a bloated B-tree, a bloated GIN index, stale statistics, dead rows, an INVALID \
                   index, what an interrupted REINDEX left, and stale materialized views, dbctl maintain plan names each \
                   and nothing else (beside healthy ones, an index under construction and one that waits for its leaves), \
                   and apply mends them in at most three runs under four clients.",
        target: "0 named wrongly or not mended; no statement longer than 100 ms, best of three runs",
        fails_without: "crates/db-maintenance/src/routine/look.rs: () if built.contains(&table) =>",
        measure: upkeep::measure,
    },
    Claim {
        id: "migrations-12",
        sentence: "A migration that waits ten seconds for a table, for a row, for older transactions or for another runner \
                   says through dbctl for whom: pid, application, since when and the query without its constants; and \
                   again every few seconds.",
        target: "the first word at most 1.5 s after the start, at most 6 s between two, best of three runs",
        fails_without: "crates/db-migrations/src/waiting.rs: list(&blockers)",
        measure: waits::told,
    },
    Claim {
        id: "migrations-13",
        sentence: "A data migration of 200,000 rows, five of which others hold for a while, takes about as long as in psql \
                   (median of 30 pairs).",
        target: "at most 1.5 times psql's time",
        fails_without: "crates/db-migrations/src/row_locks.rs: What::Rows if self.rows_only => self.long,",
        measure: waits::data_migration,
    },
    Claim {
        id: "migrations-14",
        sentence: "dbctl plans, applies and validates a set of 100 MB, be it of a million statements or of a thousand files, in \
                   at most 300 MB of memory, and resets 6,000 tables on a server with room for few locks.",
        target: "300 MB; reset, or an error that says what to set",
        fails_without: "crates/db-migrations/src/plan.rs: statements.shrink_to_fit();",
        measure: large_sets::measure,
    },
];

fn main() -> ExitCode {
    db_testkit::claims::run(CLAIMS)
}

/// An agent that is to take a backup now, and what it logs.
struct Agent {
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Agent {
    fn start(live: &Live, arguments: &[&str]) -> Agent {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new(DBCTL);
        command.arg("--settings").arg(live.path("dbctl.env")).args(["agent", "--metrics", "off"]);
        command.args(arguments);
        command.env("RUST_LOG", "info").stdin(Stdio::null()).stdout(Stdio::null());
        Agent { child: command.stderr(log.reopen().unwrap()).spawn().unwrap(), log }
    }

    fn said(&self) -> String {
        let mut text = String::new();
        self.log.reopen().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn several_hosts(size: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let times = match size {
        Size::Ci => 3,
        Size::Nightly => 30,
    };
    let (mut wrong, mut seen) = (0_u32, Vec::new());
    for _ in 0..times {
        let (backups, waited) = runtime.block_on(once());
        wrong += u32::from(backups != 1 || waited.is_none());
        seen.push(json!({ "backups": backups, "the other one": waited }));
    }
    let put_only = runtime.block_on(put_only::put_only());
    let needs = put_only.is_none().then_some("moto_server on PATH");
    let put_only = put_only.unwrap_or_default();
    let value = f64::from(wrong) + put_only.problems.len() as f64;
    Figure {
        value,
        unit: "times, and objects removed or overwritten",
        holds: value == 0.0 && needs.is_none(),
        detail: json!({
            "two_agents": seen, "put_only": put_only.detail, "problems": put_only.problems, "needs": needs,
        }),
    }
}

/// How many backups two agents took, and what the one that took none said of the other.
async fn once() -> (usize, Option<String>) {
    let live = Live::start("BACKUP_SCHEDULE=@yearly\nBACKUP_JITTER=0s\nAPP_ENV=test").await;
    live.json(&["backup", "init"]).await;
    live.run("CREATE TABLE filler AS SELECT g, md5(g::text) FROM generate_series(1, 300000) g").await;
    let now = ["--now", "backup"];
    let mut agents = [Agent::start(&live, &now), Agent::start(&live, &now)];
    let began = Instant::now();
    // One that ends by itself has nothing to do, or cannot do it.
    let is_over = |agent: &mut Agent| {
        let said = agent.said();
        let has_ended = !matches!(agent.child.try_wait(), Ok(None));
        has_ended || said.contains("backup succeeded") || said.contains("was taken for it")
    };
    while !agents.iter_mut().all(is_over) && began.elapsed() < Duration::from_secs(180) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let listed = live.json(&["backup", "list"]).await;
    let backups = listed["clusters"][0]["backups"].as_array().map_or(0, Vec::len);
    let sentence = |said: &str| {
        let line = said
            .lines()
            .find(|line| line.contains("backup waits: "))
            .or_else(|| said.lines().find(|line| line.contains("was taken for it")))?;
        let at = line.find("backup ")?;
        Some(line[at..].to_owned())
    };
    (backups, agents.iter().find_map(|agent| sentence(&agent.said())))
}

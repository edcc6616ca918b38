//! Measures the claims of the area `first`, a workspace that runs its main job with one command, and those of
//! other areas that take the whole stack.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod amplification;
mod begin_cuts;
mod cache;
mod clone_time;
mod connect_errors;
mod database_down;
mod demo;
mod interruptions;
mod lost_commits;
mod median;
mod monitoring;
mod oldest;
mod round_trips;
mod routing;
mod schema_changes;
mod tenants;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: &[Claim] = &[
    Claim {
        id: "first-1",
        sentence: "On a machine with no PostgreSQL, `cargo xtask demo --seconds 10` fetches one and passes.",
        target: "exit status 0 and 0 errors, on a fetched server",
        fails_without: "crates/db-server/src/find.rs: Some(\"wheel\") => Ok(true)",
        measure: demo::from_a_wheel,
    },
    Claim {
        id: "first-2",
        sentence: "`cargo xtask demo --json` prints one object with every figure, and both standbys answered reads.",
        target: "0 figures missing",
        fails_without: "crates/db-platform/examples/demo/report.rs: \"reads_by_node\": self.reads_by_node",
        measure: demo::every_figure,
    },
    Claim {
        id: "first-3",
        sentence: "kill -9 of a standby during a demo costs no failed read, and Ctrl-C leaves no process and no directory.",
        target: "0 errors and 0 leftovers",
        fails_without: "xtask/src/interrupt.rs: db_server::end_everything();",
        measure: interruptions::measure,
    },
    Claim {
        id: "first-4",
        sentence: "A database that cannot be reached is reported in time, with what to do about it and without the password.",
        target: "5 of 5 cases",
        fails_without: "crates/db-core/src/connect_error.rs: is PostgreSQL running there",
        measure: connect_errors::measure,
    },
    Claim {
        id: "first-5",
        sentence: "A test database of the reference schema is cloned in at most 60 ms on PostgreSQL 15.",
        target: "median at most 60 ms, best of three runs",
        fails_without: "crates/db-testkit/src/hub.rs: self.give_back(client);",
        measure: clone_time::measure,
    },
    Claim {
        id: "cache-3",
        sentence: "Redis, application processes, their connections and COMMITs' answers are killed, stopped, emptied, cut and \
                   delayed while several processes read and write: no read is older than its mode promises, and when all is \
                   over no key is.",
        target: "0 stale of 200,000 checked reads (10,000,000 nightly, over several runs): none older than an acknowledged \
                 commit in Strict and after a fenced one, none by more than 1 s in Bounded, and 0 keys stale for good",
        fails_without: "crates/db-cache/src/token.rs: if record.generation != *generation {",
        measure: cache::chaos::measure,
    },
    Claim {
        id: "cache-4",
        sentence: "A failover that loses commits serves no cached value that the new primary does not hold, once a process knows \
                   the new writer, 10 runs (50 nightly); a relay's slot that is missing, lost, timed out or shadowed leaves no \
                   value stale for good.",
        target: "0 values",
        fails_without: "crates/db-cache/src/token.rs: if stamps.epoch != self.epoch.generation {",
        measure: cache::failover::measure,
    },
    Claim {
        id: "cache-7",
        sentence: "A standby whose replay is frozen fills no old row, and still answers the loads of rows that nobody wrote.",
        target: "0 stale reads; at least 95 % of the loads of 495 rows of 500 (9,900 of 10,000 nightly)",
        fails_without: "crates/db-platform/src/db/cached.rs: LoadFrom::Replayed(Floor::At(position)) => Freshness::AtLeast(Token {",
        measure: cache::frozen_standby::measure,
    },
    Claim {
        id: "cache-11",
        sentence: "That an invalidation survives a crash costs few commits: 32 clients, flushed disks, the relay reading beside.",
        target: "at most 20 % fewer commits a second than with a mark and a bump alone, 30 interleaved pairs (60 nightly)",
        fails_without: "crates/db-cache/src/relay/leading.rs: let rest = started.elapsed().saturating_mul(REST).min(self.relay.config.longest_rest);",
        measure: cache::commit_cost::measure,
    },
    Claim {
        id: "monitoring-1",
        sentence: "The monitor tells of each statement what the test kit's proxy saw: time, rows, errors and cancellations, of \
                   streams, errors behind rows, callers that go away, timeouts, pipelines and long parameters.",
        target: "times at most 1 ms apart at p99, on loopback and 10 ms away, best of three runs; 0 statements, rows, errors or \
                 cancellations told wrongly",
        fails_without: "crates/db-monitoring/src/monitor.rs: self.tally.failed(event);",
        measure: monitoring::timing::measure,
    },
    Claim {
        id: "monitoring-2",
        sentence: "Watching a static statement costs next to nothing.",
        target: "at most 200 ns, best of three medians, and 0 allocations; `SELECT 1` through `Db` at most 1.03 times as long, \
                 median of 60 interleaved pairs (300 nightly)",
        fails_without: "crates/db-monitoring/src/statements.rs: return what(statement);",
        measure: monitoring::overhead::measure,
    },
    Claim {
        id: "monitoring-6",
        sentence: "With the settings of production, sessions that are blocked, a change of a table that waits for its lock, and a \
                   server that is down reach a webhook within 2 s at p99 of the moment in which they had lasted as long as \
                   they must, each once (8 rounds; nightly 60).",
        target: "2 s; 0 lost, 0 twice",
        fails_without: "crates/db-monitoring/src/checks/checker.rs: self.results();",
        measure: monitoring::alerting::measure,
    },
    Claim {
        id: "monitoring-7d",
        sentence: "`health()` with its JSON, of a thousand tables and all checks, answers within 5 ms at p99 under load and while the \
                   server is stopped (the best of three runs of 2,000 calls each; nightly 20,000).",
        target: "5 ms",
        fails_without: "crates/db-platform/src/watched.rs: if self.is_own { self.checker.last() } else { Some(self.checker.results()) }",
        measure: monitoring::health::measure,
    },
    Claim {
        id: "monitoring-10",
        sentence: "Bind values, constants, row values, passwords, keys and tokens that were planted are in no log line of any level, \
                   metric, health answer, check, incident, message, page, report, error or table of monitoring's own, with the \
                   server up and gone (once; nightly five times).",
        target: "0 places",
        fails_without: "crates/db-monitoring/src/server/collect.rs: backend.query = backend.query.take().map(|text| db_statement::normalize(&text));",
        measure: monitoring::secrets::measure,
    },
    Claim {
        id: "monitoring-4",
        sentence: "A slow line in the server's log leads to the span that caused it, of every sampled transaction and read, \
                   also where they failed, went away or rolled a savepoint back, on 15 and 18 (80 callers; nightly 400).",
        target: "every sampled one found and no other named; 0 round trips and 0 prepared statements more; nothing left on \
                 the connection",
        fails_without: "crates/db-pool/src/connection.rs: caller.trace = inner.connector.observers().trace_link(&caller);",
        measure: monitoring::trace_link::measure,
    },
    Claim {
        id: "cache-12",
        sentence: "The demo's load with the cache on against off, in turns: most reads are hits, the mean read is much shorter, \
                   and what the cache answers is what the database holds.",
        target: "hit rate at least 85 %, mean over all reads at least 70 % shorter, on loopback and with 1 ms more a round trip; \
                 0 of 4,000 cached pages stale",
        fails_without: "crates/db-cache/src/attached/commit_touch.rs: writes.tags().into_iter().for_each(|tag| self.transaction.touch(tag));",
        measure: demo::with_and_without_cache,
    },
    Claim {
        id: "pool-6",
        sentence: "A database that is down sees few attempts to connect, callers fail at once, and it is found when it is back.",
        target: "at most 10 connects a second, 5 ms at the 99th percentile, first success at most 500 ms after it is back",
        fails_without: "crates/db-retry/src/breaker/guarded.rs: return Err(shared.turned_away(refusal));",
        measure: database_down::measure,
    },
    Claim {
        id: "pool-8",
        sentence: "A COMMIT whose answer was lost or falsified is resolved: none is lost or doubled, whoever answers instead.",
        target: "0 lost, 0 doubled, at least 99.9 % resolved, of 2,000 COMMITs (10,000 nightly) and 20 failovers (100) that each lose answers; 0 told wrongly after a crash, without the synchronous standby, on another cluster, and where work ends its transaction",
        fails_without: "crates/db-retry/src/resolve.rs: (_, Some(false), ..) => {",
        measure: lost_commits::measure,
    },
    Claim {
        id: "pool-9",
        sentence: "When every attempt of reads or transactions fails, for whatever reason, retries cost the server at most a tenth of the load; a hot row is served, what nobody asked to try again is not, and an operator's wish is one.",
        target: "at most 1.1 attempts a call of 4,000 (20,000 nightly; a quarter where each takes a new connection) in each case, and of a million on a paused clock; NOWAIT 1.0; 98 % of calls at 60 % planted conflicts, 95 % on a row that is always busy, and 99.9 % at 1 % failures come through; a cancelled read ends at once, at a second termination too",
        fails_without: "crates/db-retry/src/budget.rs: tokens.checked_sub(TOKEN)",
        measure: amplification::measure,
    },
    Claim {
        id: "pool-11",
        sentence: "The schema changes under a warm pool and a router with traffic, and no call fails.",
        target: "0 errors in 100 changes (1,000 nightly) that a new connection would not have had",
        fails_without: "crates/db-pool/src/slot.rs: if std::mem::replace(&mut self.statements, now) != now {",
        measure: schema_changes::measure,
    },
    Claim {
        id: "routing-1",
        sentence: "A session's reads see its own writes while standbys lag at random, and standbys answer most of them.",
        target: "0 stale reads; at least 80 % by standbys at 5 % writes; at most 0.05 extra queries a read",
        fails_without: "crates/db-replica-routing/src/seen.rs: self.position.is_some_and(|position| position >= token.position)",
        measure: routing::tokens::measure,
    },
    Claim {
        id: "routing-2",
        sentence: "kill -9 of the primary under load: writes go on right after the promotion, none is doubled or lost beyond what replication lost, and no read fails.",
        target: "first write at most 150 ms after the promotion with warm connections, 1 s with none; 0 failed, doubled or lost",
        fails_without: "crates/db-replica-routing/src/monitor.rs: searching: self.cluster.searching(),",
        measure: routing::failover::crash,
    },
    Claim {
        id: "routing-3",
        sentence: "A planned switchover under load costs no error; without a marker row, commits in flight may end unknown.",
        target: "0 errors; with the marker row 0 unknown",
        fails_without: "crates/db-replica-routing/src/writer.rs: let left = self.config.writer_wait.saturating_sub(started.elapsed());",
        measure: routing::failover::switchover,
    },
    Claim {
        id: "routing-4",
        sentence: "kill -9, SIGSTOP, a network that swallows packets, paused replay or 30 s of lag on one of two standbys costs no read.",
        target: "0 failed reads; noticed within 1 s; traffic back within 5 s",
        fails_without: "crates/db-replica-routing/src/monitor.rs: awake::within(waited, tokio::time::sleep, ask(&mut conn, &mut self.manner))",
        measure: routing::faults::measure,
    },
    Claim {
        id: "routing-5",
        sentence: "An old primary that comes back writable gets no write from a process that has seen, or can reach, the new one.",
        target: "0 writes to it",
        fails_without: "crates/db-replica-routing/src/election.rs: claim.timeline > 0 && claim.timeline >= memory.best",
        measure: routing::split_brain::measure,
    },
    Claim {
        id: "routing-6",
        sentence: "Under Patroni with three nodes and etcd, the leader's machine is killed under load: writes go on right after Patroni's own election.",
        target: "first write at most 150 ms after the promotion; 0 failed, doubled or lost",
        fails_without: "crates/db-replica-routing/src/router.rs: self.cluster.add(config)",
        measure: routing::patroni::measure,
    },
    Claim {
        id: "routing-7",
        sentence: "With all standbys gone the primary answers reads at once, with one warning; when they come back, so do reads.",
        target: "0 failed reads, 1 warning, no read longer than 500 ms",
        fails_without: "crates/db-replica-routing/src/cluster.rs: (before, after) if before == Some(after)",
        measure: routing::fallback::measure,
    },
    Claim {
        id: "routing-8",
        sentence: "Choosing a node costs at most 300 ns on top of the pool.",
        target: "at most 300 ns, best of three medians",
        fails_without: "crates/db-replica-routing/src/reader.rs: if let Poll::Ready(acquired) = poll_fn(",
        measure: routing::decision::measure,
    },
    Claim {
        id: "routing-9",
        sentence: "Behind a balancer over two standbys, one of which replays nothing, a session's reads see its own writes, and the other one answers its share: by address, by name, through HAProxy.",
        target: "0 stale of 2,000 reads each (20,000 nightly), at least 30 % of them answered by the standby that replays",
        fails_without: "crates/db-replica-routing/src/reader.rs: (!several && node.was_asked_of(server)) || rule.now().admits_server(&told)",
        measure: routing::balancers::turns,
    },
    Claim {
        id: "routing-10",
        sentence: "With every place for a connection taken and the monitors' sessions ended, calls go on over the connections that are open.",
        target: "0 errors in 2,000 calls (20,000 nightly)",
        fails_without: "crates/db-replica-routing/src/monitor.rs: Err(error) if is_refusal(&error) => match self.ask_on_pool().await {",
        measure: routing::slots::measure,
    },
    Claim {
        id: "routing-11",
        sentence: "Where the writer's name leads to another cluster, no write goes there unless that is wanted, the error says so, and the log stays readable.",
        target: "at most 10 log lines a minute; 0 writes where it is refused, all where it is followed",
        fails_without: "crates/db-replica-routing/src/monitor.rs: if answered {",
        measure: routing::new_cluster::measure,
    },
    Claim {
        id: "routing-12",
        sentence: "After a balancer led to a standby for a moment writes go on: by address, by name, through HAProxy.",
        target: "within 1 s",
        fails_without: "crates/db-replica-routing/src/monitor.rs: .min(self.look_again()",
        measure: routing::balancers::astray,
    },
    Claim {
        id: "routing-13",
        sentence: "No read is older than the lag that is allowed and one probe's timeout, whatever the pause between two probes.",
        target: "at most 1.5 s with a lag of 1 s, at pauses from 250 ms to 30 s",
        fails_without: "crates/db-replica-routing/src/node.rs: sighting.current_as_of().map_or(UNKNOWN, Moment::number)",
        measure: routing::staleness::measure,
    },
    Claim {
        id: "routing-14",
        sentence: "Two healthy standbys with ten times as much to do as they can keep the reads that are answered, and none moves to the primary.",
        target: "at least 95 %; 0 on the primary",
        fails_without: "crates/db-replica-routing/src/reader.rs: Err(error) if is_overload(&error) => overloaded = Some(error)",
        measure: routing::overload::measure,
    },
    Claim {
        id: "routing-15",
        sentence: "Beside a standby that is known to lag by seconds a session's read waits for nothing, and in a request's scope reads see what clones and spawned tasks wrote.",
        target: "0 stale of 1,000 requests (10,000 nightly); a median of at most 10 ms beside the standby that lags",
        fails_without: "crates/db-replica-routing/src/node.rs: lag.is_some_and(|lag| lag <= wait)",
        measure: routing::scopes::measure,
    },
    Claim {
        id: "transaction-1",
        sentence: "A transaction of n prepared statements costs n + 1 round trips and a batch of writes one, counted at the proxy; 2 ms away \
                   one statement takes at most 0.75 times diesel-async's transaction, a batch of three writes 0.32 times.",
        target: "n + 1 for 1, 2, 3 and 5 statements, 1 for a batch; at most 0.75 and 0.32 times in pairs",
        fails_without: "crates/db-retry/src/attempt.rs: if from.begin_with(conn, &opening)",
        measure: round_trips::measure,
    },
    Claim {
        id: "transaction-2",
        sentence: "Transactions that are given up, cancelled and cut while they begin leave no statement that ran outside of them, and \
                   no caller waits for ever.",
        target: "0 of 5,000 (100,000 nightly)",
        fails_without: "crates/db-pool/src/wire/opener.rs: Stage::Sent { .. } | Stage::AsOne(_) => break,",
        measure: begin_cuts::measure,
    },
    Claim {
        id: "moving-2",
        sentence: "Two tenants by search_path on one Db: calls of both, interleaved and given up half-way, find and write their own tables only, on the connections of one.",
        target: "0 leaks in 5,000 calls (100,000 nightly); at most one connection more than one tenant with its schema in the URL needs",
        fails_without: "crates/db-retry/src/receipt.rs: opening = opening.then(path.set_local());",
        measure: tenants::measure,
    },
    Claim {
        id: "moving-4",
        sentence: "db-pool and db-platform compile with the oldest versions that the manifests allow (nightly: and pass their tests), and a service with rustls 0.23.12 gets a resolver's answer.",
        target: "0 failures",
        fails_without: "crates/db-pool/Cargo.toml: rustls = { workspace = true, optional = true }",
        measure: oldest::measure,
    },
];

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    match words.next().as_deref() {
        Some(clone_time::CHILD) => {
            let nightly = std::env::args().any(|word| word == "--nightly");
            clone_time::child(if nightly { Size::Nightly } else { Size::Ci })
        }
        Some(cache::chaos::CHILD) => cache::chaos::child(),
        _ => db_testkit::claims::run(CLAIMS),
    }
}

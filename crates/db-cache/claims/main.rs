//! Measures what the cache claims, but for what needs a peer or a database beside it.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod damaged;
mod negatives;
mod outage;
mod sampler;
mod second_tier_hit;
mod server;
mod simulated;
mod stampede;
mod tag_invalidation;
mod warming;

use std::process::ExitCode;

use db_testkit::claims::{Claim, Figure, Size};

const CLAIMS: [Claim; 8] = [
    Claim {
        id: "cache-1b",
        sentence: "A hit in the second tier, re-validated, is one round trip and hardly dearer than a raw GET.",
        target: "exactly 1 read by the server a hit, at most 1.25 times a raw GET, best of three runs of 41 pairs",
        fails_without: "crates/db-cache/src/redis/clock.rs: self.last().is_none_or(|told| told.asked.elapsed() >= ASK_EVERY)",
        measure: second_tier_hit::measure,
    },
    Claim {
        id: "cache-2b",
        sentence: "Four processes that ask for the same cold keys at once load each of them once; a process that is killed \
                   while it loads costs one more load a key; and no process remembers that there is nothing where there is.",
        target: "4 processes, 64 tasks each, 1,000 keys: exactly 1,000 loads; holder killed: at most 2 a key, 0 errors; \
                 0 wrong negative entries while 400 rows are made",
        fails_without: "crates/db-cache/src/redis/scripts/lease.lua: then return left end",
        measure: stampede::measure,
    },
    Claim {
        id: "cache-2c",
        sentence: "A service that starts again is warmed from its saved hot keys, within the configured rate.",
        target: "100,000 keys by Zipf's law, all of them invalidated: at least 90 % of the hit rate, at most 1,000 keys a \
                 second and a batch",
        fails_without: "crates/db-cache/src/hot_keys.rs: within(self.tier.tier().store(&store)).await?;",
        measure: warming::measure,
    },
    Claim {
        id: "cache-12b",
        sentence: "The sampler finds stale values as often as it says it looks at hits, and takes no value that changed for \
                   a stale one.",
        target: "1 of 20 rows written past the cache, 1 of 50 hits looked at: as many found as the rate says, within 5 \
                 standard deviations, and 0 while only transactions write",
        fails_without: "crates/db-cache/src/sampler.rs: counts.wrong += u64::from(matches!(verdict, Verdict::Wrong(_)));",
        measure: sampler::measure,
    },
    Claim {
        id: "cache-5",
        sentence: "Redis is killed under load and comes back, with its data or without, while transactions commit: no read \
                   fails or waits for long, and none is older than a commit that was answered before it.",
        target: "50 times (10 in CI): 0 failed reads, at most 5 ms added at p99 until the breaker opens, closed again \
                 within 1 s, 0 stale",
        fails_without: "crates/db-cache/src/redis/server.rs: Ok(Run(xxh3_64(format!(\"{process} {}\", self.replication_id()).as_bytes())))",
        measure: outage::measure,
    },
    Claim {
        id: "cache-6",
        sentence: "Invalidating a tag takes one short script, however many entries carry it.",
        target: "over 1,000,000 entries (100,000 in CI): 1 script of at most 100 us, no sweep, 0 entries served after it",
        fails_without: "crates/db-cache/src/redis/scripts/bump.lua: changes[#changes + 1] = { slot, record }",
        measure: tag_invalidation::measure,
    },
    Claim {
        id: "cache-8",
        sentence: "Damaged bytes, and bytes of another key or schema, are a counted miss: never a wrong value, never a \
                   panic.",
        target: "0 wrong values and 0 panics in 1,000,000 envelopes",
        fails_without: "crates/db-cache/src/envelope.rs: if u64::from_le_bytes(*sum) != xxh3_64(rest) {",
        measure: damaged::measure,
    },
    Claim {
        id: "cache-9",
        sentence: "10,000 seeds of the deterministic simulation keep every promise, each replays, and each guard that is \
                   left out is noticed.",
        target: "0 promises broken in 10,000 seeds within 10 minutes; 18 of 18 mutants caught",
        fails_without: "crates/db-cache/src/token.rs: if record.generation != *generation {",
        measure: simulated::measure,
    },
];

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(stampede::CHILD) => stampede::child(),
        Some(negatives::CHILD) => negatives::child(),
        _ => db_testkit::claims::run(&CLAIMS),
    }
}

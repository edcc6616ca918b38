//! Measures what the crate claims of plans, of advice on indexes, and of repeated statements.
//!
//! `cargo xtask prove` runs this: `claims list`, or `claims run ID … [--nightly]`.
#![expect(clippy::print_stdout, reason = "the page goes to standard output")]
#![expect(clippy::unwrap_used, reason = "what cannot be measured must stop the measuring")]

mod advice;
mod advised_pages;
mod allowed;
mod cases;
mod flips;
mod introspected;
mod pages;
mod promises;
mod repeats;
mod served;
#[path = "../tests/it/shop.rs"]
#[expect(dead_code, reason = "what only the tests need")]
mod shop;
mod star;
mod tips;

use std::process::ExitCode;

use db_testkit::claims::{Claim, run};

const CLAIMS: [Claim; 7] = [
    Claim {
        id: "insight-1",
        sentence: "Of the statements of a shop and of a star schema with pgbench's tables, 74 that an index helps \
                   and 47 that none helps, the advisor's model finds what helps, each proven by building it, says \
                   nothing of the others, and drops the indexes that others hold. For a star schema that another \
                   author froze, its advice saves of the workload's cost nearly what an exhaustive greedy search \
                   over really built indexes saves in the same room (PostgreSQL 15; nightly 15 and 18).",
        target: "recall at least 90 %, precision at least 95 %, 0 suggestions on controls, exactly the planted \
                 drops; at least 95 % of the search's saving",
        fails_without: "crates/db-insight/src/indexes/select.rs: if self.exists(&specs, whole, &subject, query, notes) {",
        measure: advice::measure,
    },
    Claim {
        id: "insight-2",
        sentence: "Of at least 40 plans that PostgreSQL 15 and 18 really make, with planted faults and healthy ones, \
                   the tips name the faults and warn of nothing in the healthy ones; a plan of 200 nodes takes at \
                   most a millisecond.",
        target: "at least 95 % of the expected codes found, 0 warnings on healthy plans, at most 1 ms",
        fails_without: "crates/db-insight/src/plan/early.rs: \"Limit\" | \"Merge Join\" => true,",
        measure: tips::measure,
    },
    Claim {
        id: "insight-3",
        sentence: "Watching the statements of 100 requests at a time for N+1, their parameters hashed, costs a \
                   statement at most 100 ns and no allocation, and the one request that asks for each of ten rows \
                   alone is found.",
        target: "at most 100 ns, best of three medians, and 0 allocations",
        fails_without: "crates/db-insight/src/repeats/watch.rs: ran: spare.pop().unwrap_or_else(|| Vec::with_capacity(32)),",
        measure: repeats::measure,
    },
    Claim {
        id: "insight-4",
        sentence: "The history of plans finds statements that are run another way and got slower, and stays \
                   silent on new partitions, renamed indexes, more rows, and plans that depend on a parameter.",
        target: "20 of 20 planted flips found, 0 alarms on 20 controls",
        fails_without: "crates/db-insight/src/history.rs: if is_in_step(more_rows, more_time) {",
        measure: flips::measure,
    },
    Claim {
        id: "insight-5",
        sentence: "Every tip, every sort of advice and every finding of repeated statements has a section in \
                   docs/query-optimization.md with a plan before and after that a server really made, and the \
                   page is as a server makes it now.",
        target: "all codes, and no difference but in numbers",
        fails_without: "crates/db-insight/claims/pages.rs: page += &section(&mut conn, *code, &case).await;",
        measure: pages::measure,
    },
    Claim {
        id: "insight-6",
        sentence: "Once the advice for the frozen star schema is made by its migrations, the comparison says of each \
                   index whether what was promised came within 20 %, in cost and in size, and is right; and \
                   introspection of the reference schema is what the catalogue holds (15 and 18; nightly 15 to 18).",
        target: "every verdict right, no difference to the catalogue",
        fails_without: "crates/db-insight/src/indexes/promise.rs: if (came - promised).abs() <= KEPT_WITHIN * promised.abs() {",
        measure: promises::measure,
    },
    Claim {
        id: "insight-7",
        sentence: "What is there in another form is not suggested; what is to be dropped can be dropped, and every \
                   constraint, unique index, identity and order stands afterwards; and a role is told of exactly \
                   what it may not do (PostgreSQL 15; nightly 15 to 18).",
        target: "no suggestion too much, no rule broken, no role told the wrong thing",
        fails_without: "crates/db-insight/src/indexes/drops.rs: && !index.clustered",
        measure: allowed::measure,
    },
];

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "page") {
        print!("{}", pages::sections());
        return ExitCode::SUCCESS;
    }
    run(&CLAIMS)
}

//! pool-5: the tap and the whole of `Db::read`. At CI size 1,200 pairs of 20 statements and 60 of 200,000
//! rows, at full size four times as many.
//!
//! The line whose removal this must notice: `whole_row` in db-pool's `Frames::feed`, without which each row
//! is looked at by itself.

use db_benches::alone::{self, Cost, Side};
use db_benches::pairs::Compared;
use db_benches::{statement, tap};
use db_testkit::claims::{Figure, Size};
use serde_json::{Value, json};

const MOST_TAP: f64 = 1.02;
const MOST_READ: f64 = 1.075;
const MOST_INSTRUCTIONS: f64 = 22_000.0;
const MOST_ALLOCATIONS: f64 = 1.0;
const MOST_BYTES: f64 = 1_024.0;

pub(crate) fn measure(size: Size) -> Figure {
    let pairs = if size == Size::Nightly { 500 } else { 120 };
    let select_1 = tap::on_select_1(10 * pairs);
    let rows = tap::on_200_000_rows(pairs / 2);
    let read = statement::against_diesel(10 * pairs);
    let (of_read, of_bare) = (alone::cost(Side::Read), alone::cost(Side::Bare));
    let is_lean = of_read.instructions.is_some_and(|count| count <= MOST_INSTRUCTIONS)
        // Monitors work beside it, and ask for a little once a second.
        && of_read.allocations - of_bare.allocations < MOST_ALLOCATIONS + 0.5
        && of_read.bytes - of_bare.bytes < MOST_BYTES;
    let worse = select_1.ratio.max(rows.ratio);
    Figure {
        value: (worse - 1.0) * 100.0,
        unit: "% of the tap",
        holds: worse < MOST_TAP && read.ratio <= MOST_READ && is_lean,
        detail: json!({
            "tap_select_1": told(&select_1), "tap_200000_rows": told(&rows), "db_read": told(&read),
            "read_alone": each(of_read), "bare_alone": each(of_bare),
        }),
    }
}

fn told(compared: &Compared) -> Value {
    json!({
        "ratio": compared.ratio, "interval": compared.interval, "cpu_ratio": compared.cpu_ratio,
        "ns": compared.ours, "without_ns": compared.peer, "pairs": compared.pairs,
    })
}

fn each(cost: Cost) -> Value {
    json!({ "instructions": cost.instructions, "allocations": cost.allocations, "bytes": cost.bytes })
}

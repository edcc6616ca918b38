//! pool-5: the tap and the whole of `Db::read`. At CI size 1,200 pairs of 20 statements and 60 of 200,000
//! rows, at full size four times as many.
//!
//! The line whose removal this must notice: `whole_row` in db-pool's `Frames::feed`, without which each row
//! is looked at by itself.

use db_benches::pairs::Compared;
use db_benches::{statement, tap};
use db_testkit::claims::{Figure, Size};
use serde_json::{Value, json};

const MOST_TAP: f64 = 1.02;
const MOST_READ: f64 = 1.10;

pub(crate) fn measure(size: Size) -> Figure {
    let pairs = if size == Size::Nightly { 500 } else { 120 };
    let select_1 = tap::on_select_1(10 * pairs);
    let rows = tap::on_200_000_rows(pairs / 2);
    let read = statement::against_diesel(10 * pairs);
    let worse = select_1.ratio.max(rows.ratio);
    Figure {
        value: (worse - 1.0) * 100.0,
        unit: "% of the tap",
        holds: worse < MOST_TAP && read.ratio <= MOST_READ,
        detail: json!({
            "tap_select_1": told(&select_1), "tap_200000_rows": told(&rows), "db_read": told(&read),
        }),
    }
}

fn told(compared: &Compared) -> Value {
    json!({
        "ratio": compared.ratio, "interval": compared.interval, "cpu_ratio": compared.cpu_ratio,
        "ns": compared.ours, "without_ns": compared.peer, "pairs": compared.pairs,
    })
}

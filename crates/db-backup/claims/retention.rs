//! backup-7: random histories under random policies.
//!
//! It fails without the step that keeps what a kept backup builds on.

use db_testkit::claims::{Figure, Size};
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use crate::history::{
    each_period_keeps_one, nothing_needed_goes, policies, steps, the_last_days_are_reached,
};

pub(crate) fn measure(size: Size) -> Figure {
    let cases = if size == Size::Nightly { 50_000 } else { 2_000 };
    let mut broken = Vec::new();
    let runner = || TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let needs = runner().run(&(steps(), policies()), |(steps, policy)| nothing_needed_goes(&steps, policy));
    let days = runner().run(&(steps(), 1_u32..30), |(steps, days)| the_last_days_are_reached(&steps, days));
    let periods =
        runner().run(&(steps(), policies()), |(steps, policy)| each_period_keeps_one(&steps, policy));
    let told = [
        ("needs", needs.map_err(|error| error.to_string())),
        ("days", days.map_err(|error| error.to_string())),
        ("periods", periods.map_err(|error| error.to_string())),
    ];
    for (promise, held) in told {
        if let Err(error) = held {
            broken.push(format!("{promise}: {error}"));
        }
    }
    Figure {
        value: broken.len() as f64,
        unit: "promises broken",
        holds: broken.is_empty(),
        detail: json!({ "histories": cases * 3, "broken": broken }),
    }
}

//! What retries cost a server where every attempt fails, and what they are worth to callers where some do.
//!
//! The line to remove: `self.affords(class)` in `next_pause` of db-retry's attempts.rs makes four attempts a
//! call in every case; `LOCK_NOT_AVAILABLE if !config.lock_timeouts` in `judge` of said.rs tries NOWAIT
//! again; `fraction: CONFLICTS` in `of_conflicts` of budget.rs leaves a hot row's callers without retries;
//! `QUERY_CANCELED if …` and `ADMIN_SHUTDOWN` in said.rs undo what an operator wishes.

mod cases;
mod hot_row;
mod million_calls;
mod operator;

use db_testkit::claims::{Figure, Size};
use serde_json::json;

/// What retries may cost at the most.
const MOST: f64 = 1.1;

pub(crate) fn measure(size: Size) -> Figure {
    let nightly = size == Size::Nightly;
    let (outage, half, hiccups) =
        (million_calls::run(1.0), million_calls::run(0.5), million_calls::run(0.01));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (cases, hot, planted, operator) = runtime.block_on(async {
        let conflicts = if nightly { 10_000 } else { 1_000 };
        (
            cases::measure(if nightly { 20_000 } else { 4_000 }).await,
            hot_row::real(conflicts).await,
            hot_row::planted(conflicts).await,
            operator::count_undone(if nightly { 20 } else { 3 }).await,
        )
    });
    let worst = cases.iter().map(|case| case.attempts_a_call).fold(outage.amplification(), f64::max);
    Figure {
        value: worst,
        unit: "attempts a call",
        holds: worst <= MOST
            && cases.iter().all(cases::Case::is_right)
            && hiccups.success() >= 0.999
            && hot.is_right()
            && planted.is_right()
            && operator == 0,
        detail: json!({
            "cases": cases.iter().map(|case| (case.name(), case.detail())).collect::<serde_json::Map<_, _>>(),
            "hot_row": hot.detail(),
            "planted_conflicts": planted.detail(),
            "wishes_of_an_operator_undone": operator,
            "a_million_calls": {
                "all_fail": outage.detail(),
                "half_fail": half.detail(),
                "one_in_a_hundred_fails": hiccups.detail(),
            },
        }),
    }
}

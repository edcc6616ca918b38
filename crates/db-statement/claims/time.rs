//! How long the fingerprint of one statement takes.

use std::hint::black_box;
use std::time::Instant;

use db_statement::fingerprint;
use serde_json::json;

use crate::{Figure, Size};

/// As diesel writes them: every name quoted, constants as parameters; about 200 characters.
const PARAMETERS: &str = "SELECT \"users\".\"id\", \"users\".\"email\", \"users\".\"status\", \"users\".\"created_at\" FROM \"users\" \
     WHERE ((\"users\".\"status\" = $1) AND (\"users\".\"deleted_at\" IS NULL)) ORDER BY \"users\".\"id\" LIMIT $2";

/// As people write them, with constants and a list.
const CONSTANTS: &str = "SELECT u.id, u.email, o.total FROM users u JOIN orders o ON o.user_id = u.id WHERE u.status = 'active' \
     AND o.state IN ('paid', 'sent', 'open', 'late') AND o.total > 100.50 ORDER BY o.created_at DESC LIMIT 20";

const BATCH: u32 = 100;

// Fails when `needs_quotes` in keyword.rs walks through `QUOTED` instead of `contains(&DISTINCT, name)`.
pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 1_000_000 } else { 200_000 };
    let best = |text: &str| (0..3).map(|_| nanoseconds(text, rounds)).fold(f64::INFINITY, f64::min);
    let per_200 = |text: &str| best(text) * 200.0 / text.len() as f64;
    let (parameters, constants) = (per_200(PARAMETERS), per_200(CONSTANTS));
    let worst = parameters.max(constants);
    Figure {
        value: worst,
        unit: "ns for 200 characters, the slower of two statements",
        holds: worst <= 1_000.0,
        detail: json!({
            "parameters_ns": parameters,
            "constants_ns": constants,
            "characters": [PARAMETERS.len(), CONSTANTS.len()],
            "rounds": rounds,
        }),
    }
}

fn nanoseconds(text: &str, rounds: u32) -> f64 {
    // The median of short batches: most of them end before the system gives the core to another process.
    let mut batches: Vec<f64> = (0..rounds / BATCH)
        .map(|_| {
            let begun = Instant::now();
            for _ in 0..BATCH {
                black_box(fingerprint(black_box(text)));
            }
            begun.elapsed().as_nanos() as f64 / f64::from(BATCH)
        })
        .collect();
    batches.sort_by(f64::total_cmp);
    batches[batches.len() / 2]
}

//! backup-1c: an incremental backup takes the time of what changed, not of what there is.

use serde_json::json;

use crate::live::Live;
use crate::speed::{fill, ours};
use crate::{Figure, Size, runtime};

/// How much of the database is to be changed, at least.
const CHANGED: f64 = 0.02;

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 15 } else { 5 };
    runtime().block_on(async {
        let settings = [("archive_command", "true"), ("max_wal_size", "8GB"), ("summarize_wal", "on")];
        let live = Live::start(Some(17), &settings).await;
        let bytes = fill(&live, 1_100_000).await;
        let (full, _) = ours(&live, "take-included", &live.server.primary_url());
        let (mut seconds, mut changed) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            live.run("CHECKPOINT").await;
            let position = live.text("SELECT pg_current_wal_insert_lsn()::text AS t").await;
            // Rows far from each other, so that each of them is a page of the table and one of each index.
            live.run(&format!("UPDATE events SET at = at + interval '1 second' WHERE id % 1000 = {round}")).await;
            seconds.push(ours(&live, "take-incremental", &live.server.primary_url()).0);
            changed.push(pages_changed(&live, &position).await * 8192.0 / bytes as f64);
            eprintln!("backup-1c: {:.3} s for {:.1} %", seconds[round], changed[round] * 100.0);
        }
        seconds.sort_by(f64::total_cmp);
        let (median, least) = (seconds[seconds.len() / 2], changed.iter().copied().fold(1.0, f64::min));
        Figure {
            value: median,
            unit: "s for an incremental backup",
            holds: median <= 0.5 && least >= CHANGED,
            detail: json!({
                "database_bytes": bytes, "full_seconds": full, "seconds": seconds, "part_of_the_pages_changed": changed,
            }),
        }
    })
}

/// How many pages the log says were changed since this position. A backup has waited until the server has
/// summed that up.
async fn pages_changed(live: &Live, position: &str) -> f64 {
    let sql = format!(
        "SELECT count(DISTINCT (relfilenode, relforknumber, relblocknumber))::text AS t FROM pg_available_wal_summaries() AS s, \
         pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) WHERE s.end_lsn > '{position}' AND NOT is_limit_block"
    );
    live.text(&sql).await.parse().unwrap()
}

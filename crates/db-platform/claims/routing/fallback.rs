//! routing-7: all standbys go, and come back.

use std::time::Duration;

use db_platform::Db;
use db_testkit::Cluster;
use serde_json::json;

use crate::routing::log::{Line, Log};
use crate::routing::{Readers, block_on, config, endpoint, millis, urls, within};
use crate::{Figure, Size};

const READERS: usize = 8;
/// What one read may wait while a node dies under it: a retry or two.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The router's warning that reads fall back.
fn is_wanted(line: &Line) -> bool {
    line.level == tracing::Level::WARN && line.message.contains("reads fall back")
}

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 10 } else { 2 };
    let (mut holds, mut failed, mut seen) = (true, 0, Vec::new());
    for _ in 0..rounds {
        let log = Log::open();
        let round = block_on(round());
        let warned = log.count(is_wanted);
        holds &= warned == 1 && round.errors == 0 && round.back && round.longest <= AT_ONCE && round.moved;
        failed += round.errors;
        seen.push(json!({
            "warnings": warned,
            "errors": round.errors,
            "longest_read_ms": millis(round.longest),
            "primary_answered": round.moved,
            "standbys_answered_again": round.back,
        }));
    }
    Figure { value: failed as f64, unit: "failed reads", holds, detail: json!(seen) }
}

struct Round {
    errors: usize,
    longest: Duration,
    moved: bool,
    back: bool,
}

async fn round() -> Round {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let urls = urls(&cluster, 3);
    let db = Db::connect(config(&urls)).await.unwrap();
    let at: Vec<_> = urls.iter().map(|url| endpoint(url)).collect();
    let reads = |node: usize| db.topology().node(&at[node]).unwrap().reads.total();
    let readers = Readers::start(&db, READERS);
    within(Duration::from_secs(5), async || reads(1) > 100 && reads(2) > 100).await.unwrap();
    let (one, two) = tokio::join!(cluster.kill(1), cluster.kill(2));
    one.unwrap();
    two.unwrap();
    let before = reads(0);
    let moved = within(Duration::from_secs(1), async || reads(0) > before + 50).await.is_some();
    let (one, two) = tokio::join!(cluster.start(1), cluster.start(2));
    one.unwrap();
    two.unwrap();
    let (one, two) = (reads(1), reads(2));
    let back = within(Duration::from_secs(10), async || reads(1) > one + 100 && reads(2) > two + 100).await;
    let report = readers.finish().await;
    report.errors.iter().for_each(|error| eprintln!("{error}"));
    Round { errors: report.errors.len(), longest: report.longest, moved, back: back.is_some() }
}

//! routing-7: all standbys go, and come back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use db_platform::Db;
use db_testkit::Cluster;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use crate::routing::{Readers, block_on, config, endpoint, millis, urls, within};
use crate::{Figure, Size};

const READERS: usize = 8;
/// What one read may wait while a node dies under it: a retry or two.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Counts the router's warnings that reads fall back.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicU64>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let is_warning = *event.metadata().level() == tracing::Level::WARN;
        if is_warning && message.0.contains("reads fall back") {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 10 } else { 2 };
    let warnings = Warnings::default();
    // For the whole process: the monitors work in their own threads.
    let subscriber = tracing_subscriber::registry().with(warnings.clone());
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (mut holds, mut failed, mut seen) = (true, 0, Vec::new());
    for _ in 0..rounds {
        let before = AtomicU64::load(&warnings.0, Ordering::Relaxed);
        let round = block_on(round());
        let warned = AtomicU64::load(&warnings.0, Ordering::Relaxed) - before;
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

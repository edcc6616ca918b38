//! `/metrics` as a router of axum's: the text of the last snapshot, which waits for no server.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;

use crate::server::{Collector, METRICS_CONTENT_TYPE};

/// Adds what else the page shows: what the service itself counts.
pub type AlsoShown = Arc<dyn Fn() -> String + Send + Sync>;

/// A router with `/metrics`: what the collector knows, and what `also` adds to it.
///
/// It answers whoever reaches it, so nest it where only Prometheus does, or put a layer of the service's
/// before it.
///
/// ```
/// use std::sync::Arc;
/// use db_monitoring::server::{Collector, CollectorConfig, metrics_router};
///
/// let (collector, _part) = Collector::beside(CollectorConfig::default());
/// let router: axum::Router = metrics_router(collector, Some(Arc::new(|| "shop_up 1\n".to_owned())));
/// ```
pub fn metrics_router(collector: Collector, also: Option<AlsoShown>) -> Router {
    let answer = move || {
        let mut text = collector.metrics_text();
        if let Some(also) = &also {
            text.push_str(&also());
        }
        async move { ([(CONTENT_TYPE, METRICS_CONTENT_TYPE)], text) }
    };
    Router::new().route("/metrics", get(answer))
}

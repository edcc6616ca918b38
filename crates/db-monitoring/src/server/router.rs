//! `/metrics` as a router of axum's: the text of the last snapshot, which waits for no server.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response};
use axum::routing::get;

use crate::server::prometheus::{SlowText, gzip};
use crate::server::{Collector, METRICS_CONTENT_TYPE};

/// Adds what else the page shows: what the service itself counts.
pub type AlsoShown = Arc<dyn Fn() -> String + Send + Sync>;

/// A router with `/metrics`: what the collector knows, and what `also` adds to it. It is compressed for those
/// who take gzip, as Prometheus does.
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
    let answer = move |headers: HeaderMap| {
        let takes_gzip = takes_gzip(&headers);
        if takes_gzip {
            collector.shared.text.wants_gzip();
        }
        let (mut text, slow) = collector.metrics_parts();
        if let Some(also) = &also {
            text.push_str(&also());
        }
        async move { page(text, slow, takes_gzip) }
    };
    Router::new().route("/metrics", get(answer))
}

/// Whether the client takes gzip: it names it, and not with the weight 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f64>);
        name.trim().eq_ignore_ascii_case("gzip") && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// The answer: what was written now, and behind it what was at hand.
fn page(text: String, slow: Arc<SlowText>, takes_gzip: bool) -> Response<Body> {
    let (now, at_hand) = if takes_gzip {
        (Bytes::from(gzip(text.as_bytes())), Bytes::from_owner(Compressed(slow)))
    } else {
        (Bytes::from(text), Bytes::from_owner(Plain(slow)))
    };
    let length = now.len().saturating_add(at_hand.len());
    let parts = [now, at_hand].map(Ok::<_, Infallible>);
    let mut answer = Response::new(Body::from_stream(futures_util::stream::iter(parts)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_CONTENT_TYPE));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if takes_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

struct Plain(Arc<SlowText>);

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        self.0.text.as_bytes()
    }
}

struct Compressed(Arc<SlowText>);

impl AsRef<[u8]> for Compressed {
    fn as_ref(&self) -> &[u8] {
        self.0.gzip()
    }
}

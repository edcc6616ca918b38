//! How large the dashboard's pages are, and how long the service takes for each.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use db_monitoring::dashboard::{self, Access};
use db_monitoring::server::Resolution;
use db_monitoring::{Monitor, MonitoringConfig};
use db_testkit::until;
use serde_json::json;

use crate::alone;
use crate::shop::Shop;
use crate::walk;

/// So often each page is asked for.
const TIMES: usize = 200;

pub(crate) async fn measure() {
    let shop = Shop::start().await.unwrap();
    until("there is something to draw", async || shop.collector.history(Resolution::TenSeconds).len() >= 2)
        .await;
    let monitor = Monitor::new(MonitoringConfig::default());
    let router = dashboard::router(shop.source(monitor), Access::Layered).unwrap();
    for page in walk::PAGES {
        let (mut times, mut bytes) = (Vec::with_capacity(TIMES), 0);
        for _ in 0..TIMES {
            let began = Instant::now();
            bytes = get(&router, page).await;
            times.push(began.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        alone(&format!("page {page}: p99"), &json!(times[TIMES * 99 / 100]), "ms", json!(null), true);
        alone(&format!("page {page}: HTML, not compressed"), &json!(bytes), "bytes", json!(null), true);
    }
}

/// Asks for a page without a browser: its size.
async fn get(router: &Router, page: &str) -> usize {
    let request = Request::builder().uri(page).body(axum::body::Body::empty()).unwrap();
    let Ok(response) = tower_service::Service::call(&mut router.clone(), request).await;
    assert!(response.status().is_success(), "{page}: {}", response.status());
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().len()
}

//! The pages in a browser, the time that a report takes, and what must be in neither.

use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use db_monitoring::dashboard::{self, Access, Source};
use db_monitoring::report::Report;
use db_monitoring::server::{Collector, CollectorConfig, Resolution};
use db_monitoring::{Monitor, MonitoringConfig};
use db_testkit::{TestDatabase, until};
use diesel::sql_types::Text;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use serde_json::json;

use crate::devtools::Browser;
use crate::shop::{Shop, open};
use crate::{Figure, Size, devtools, runtime, walk};

const TABLES: usize = 1_000;
/// What is planted: as a bind value, as a constant, as a password, as a token.
const SECRETS: [&str; 4] =
    ["planted bind value", "planted constant", "planted-password", "planted token of 24 letters"];

pub(crate) fn measure_report(size: Size) -> Figure {
    let times = if size == Size::Nightly { 10 } else { 3 };
    runtime().block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let schema = format!(
            "DO $$ BEGIN FOR n IN 1..{TABLES} LOOP \
             EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, body text); CREATE INDEX ON t%s \
             (body)', n, n); \
             END LOOP; END $$"
        );
        database.connect().await.unwrap().batch_execute(&schema).await.unwrap();
        let (mut seconds, mut tables, mut bytes) = (Vec::new(), 0, [0; 3]);
        for _ in 0..times {
            let began = Instant::now();
            let collector = Collector::new(open(database.url()), CollectorConfig::default());
            let report = Report::of(&*collector.collect_once().await, None);
            let (text, html, json) = (report.to_text(), report.to_html(), report.to_json());
            seconds.push(began.elapsed().as_secs_f64());
            bytes = [text.len(), html.len(), json.to_string().len()];
            let sizes =
                json["sections"].as_array().unwrap().iter().find(|one| one["key"] == "sizes").unwrap();
            tables = sizes["tables"]["tables"].as_array().unwrap().len();
        }
        let best = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        Figure {
            value: best,
            unit: "s",
            holds: best <= 10.0 && tables == TABLES,
            detail: json!({ "seconds": seconds, "tables": tables, "bytes_of_text_html_json": bytes }),
        }
    })
}

pub(crate) fn measure_pages(size: Size) -> Figure {
    let times = if size == Size::Nightly { 3 } else { 1 };
    let program =
        devtools::program().unwrap_or_else(|| panic!("chromium is not installed: apt-get install chromium"));
    runtime().block_on(async {
        let shop = Shop::start().await.unwrap();
        let mut blocker = shop.database.connect().await.unwrap();
        blocker.batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut waiting = shop.database.connect().await.unwrap();
        let waits = tokio::spawn(async move { waiting.batch_execute("SELECT count(*) FROM orders").await });
        let monitor = Monitor::new(MonitoringConfig::default());
        let router = dashboard::router(shop.source(monitor).cores(2), Access::Layered).unwrap();
        let (port, sent) = walk::serve(Router::new().nest("/admin/performance", router)).await.unwrap();
        until(
            "there is something to \
            draw",
            async || shop.collector.history(Resolution::TenSeconds).len() >= 2,
        )
        .await;
        let home = format!("http://127.0.0.1:{port}/admin/performance");
        let statement = format!("/queries/{}", db_statement::fingerprint("SELECT count(*) FROM orders"));
        let (mut faults, mut usable) = (Vec::new(), 0);
        for _ in 0..times {
            let mut browser = Browser::start(&program).await.unwrap();
            faults.extend(walk::all_pages(&mut browser, &home, &statement, None).await.unwrap());
            browser.look(1280, 900, "light").await.unwrap();
            for page in walk::PAGES {
                let url = format!("{home}{}", if page == "/" { "" } else { page });
                let (missed, there) = walk::out_of_reach(&mut browser, &url).await.unwrap();
                usable += there;
                if missed > 0 {
                    faults.push(format!("{page}: Tab does not reach {missed} of {there}"));
                }
            }
        }
        let first = walk::first_page(&sent, "/admin/performance");
        blocker.batch_execute("ROLLBACK").await.unwrap();
        let _ = waits.await;
        Figure {
            value: faults.len() as f64,
            unit: "faults",
            holds: faults.is_empty() && first <= 100_000,
            detail: json!({ "faults": faults, "bytes_of_first_page": first, "looks": times * 56,
                "reached_by_tab": usable }),
        }
    })
}

pub(crate) fn measure_secrets(size: Size) -> Figure {
    let times = if size == Size::Nightly { 10 } else { 1 };
    runtime().block_on(async {
        let (mut places, mut looked_at) = (Vec::new(), 0);
        for _ in 0..times {
            let shop = Shop::start().await.unwrap();
            let mut conn = shop.database.connect().await.unwrap();
            let found: Vec<shop_row::Found> = diesel::sql_query("SELECT id FROM orders WHERE note = $1")
                .bind::<Text, _>(SECRETS[0])
                .load(&mut conn)
                .await
                .unwrap();
            assert!(found.is_empty());
            // One that runs while the pages look, and holds a constant.
            let mut sleeper = shop.database.connect().await.unwrap();
            let sleeps = tokio::spawn(async move {
                let text = format!("SELECT pg_sleep(600) FROM orders WHERE note <> '{}'", SECRETS[1]);
                sleeper.batch_execute(&text).await
            });
            until("the statement is seen", async || {
                let latest = shop.collector.latest();
                let active = |text: &str| text.contains("pg_sleep");
                latest
                    .activity
                    .get()
                    .is_ok_and(|all| all.iter().any(|one| one.query.as_deref().is_some_and(active)))
            })
            .await;
            // A server that cannot be reached, whose URL holds a password.
            let dead = format!("postgres://ann:{}@127.0.0.1:1/app", SECRETS[2]);
            let dead = Collector::new(open(dead), CollectorConfig::default());
            dead.collect_once().await;
            let outside = Source::named("dead").collector(dead.clone());
            let with_token = dashboard::router(outside, Access::token(SECRETS[3]).unwrap()).unwrap();
            let unreachable =
                dashboard::router(Source::named("dead").collector(dead.clone()), Access::Layered).unwrap();
            let router =
                dashboard::router(shop.source(Monitor::new(MonitoringConfig::default())), Access::Layered)
                    .unwrap();
            let mut outputs = Vec::new();
            for page in walk::PAGES {
                let json = format!("{}.json", if page == "/" { "/overview" } else { page });
                for (name, router) in [("here", &router), ("dead", &unreachable), ("signed out", &with_token)]
                {
                    for path in [page, &json] {
                        outputs.push((format!("{name} {path}"), get(router, path).await));
                    }
                }
            }
            for (name, collector) in [("here", &shop.collector), ("dead", &dead)] {
                let report = Report::of(&*collector.collect_once().await, None);
                outputs.push((format!("{name} text"), report.to_text()));
                outputs.push((format!("{name} html"), report.to_html()));
                outputs.push((format!("{name} json"), report.to_json().to_string()));
            }
            sleeps.abort();
            let shown = outputs.iter().any(|(_, text)| text.contains("pg_sleep"));
            assert!(shown, "the pages do not show the statement at all, so they prove nothing");
            looked_at += outputs.len();
            for (place, text) in &outputs {
                let secrets = SECRETS.iter().filter(|secret| text.contains(**secret));
                places.extend(secrets.map(|secret| format!("{secret:?} in {place}")));
            }
        }
        Figure {
            value: places.len() as f64,
            unit: "places",
            holds: places.is_empty(),
            detail: json!({ "places": places, "outputs": looked_at }),
        }
    })
}

/// What a page answers without a browser.
async fn get(router: &Router, path: &str) -> String {
    let request = Request::builder().uri(path).body(axum::body::Body::empty());
    let response = tower_service::Service::call(&mut router.clone(), request.unwrap_or_default()).await;
    let Ok(response) = response;
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

mod shop_row {
    /// A row that nobody looks at.
    #[derive(diesel::QueryableByName)]
    pub(super) struct Found {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        #[expect(dead_code, reason = "only that it comes back matters")]
        pub(super) id: i64,
    }
}

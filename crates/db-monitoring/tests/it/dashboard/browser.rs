//! The pages in Chromium: what it says on its console, what it asks of whom, how wide pages are, and what Tab
//! reaches.

mod devtools;
pub(crate) mod walk;

use std::path::PathBuf;

use axum::Router;
use db_monitoring::dashboard::{self, Access};
use db_monitoring::server::Resolution;
use db_testkit::{skip, until};
use diesel_async::SimpleAsyncConnection;
use serde_json::json;

use super::monitor;
use crate::dashboard::shop::{Shop, Tested};
use devtools::Browser;
use walk::{PAGES, becomes};

/// The most that the first page may transfer, with all that it loads.
const FIRST_PAGE: usize = 100_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_renders_without_a_word_on_the_console_and_a_request_to_others() -> Tested {
    let Some(program) = devtools::program() else {
        skip::this_test("chromium is not installed");
        return Ok(());
    };
    let shop = Shop::start().await?;
    // Load and a chain of waits, so that there is something to draw.
    let mut blocker = shop.database.connect().await?;
    blocker.batch_execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE").await?;
    let mut waiting = shop.database.connect().await?;
    let waits = tokio::spawn(async move { waiting.batch_execute("SELECT count(*) FROM orders").await });
    let monitor = monitor();
    let statement = format!("/queries/{}", monitor.slow_queries(1)[0].fingerprint);
    let router = dashboard::router(shop.source(monitor).cores(2), Access::Layered)?;
    let (port, sent) = walk::serve(Router::new().nest("/admin/performance", router)).await?;
    // History has a point for each ten seconds.
    until("there is something to draw", async || shop.collector.history(Resolution::TenSeconds).len() >= 2)
        .await;
    let mut browser = Browser::start(&program).await?;
    let home = format!("http://127.0.0.1:{port}/admin/performance");
    // For people to look at.
    let screenshots = std::env::var_os("DASHBOARD_SCREENSHOTS").map(PathBuf::from);
    let faults = walk::all_pages(&mut browser, &home, &statement, screenshots.as_deref()).await?;
    assert_eq!(faults, Vec::<String>::new());
    let first = walk::first_page(&sent, "/admin/performance");
    assert!(first <= FIRST_PAGE, "the first page takes {first} bytes");
    blocker.batch_execute("ROLLBACK").await?;
    waits.await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_alone_reaches_everything() -> Tested {
    let Some(program) = devtools::program() else {
        skip::this_test("chromium is not installed");
        return Ok(());
    };
    let shop = Shop::start().await?;
    let router = dashboard::router(shop.source(monitor()), Access::Layered)?;
    let (port, _) = walk::serve(router).await?;
    until("there is something to draw", async || shop.collector.history(Resolution::TenSeconds).len() >= 2)
        .await;
    let mut browser = Browser::start(&program).await?;
    browser.look(1280, 900, "light").await?;
    let home = format!("http://127.0.0.1:{port}");
    for page in PAGES {
        let (missed, there) = walk::out_of_reach(&mut browser, &format!("{home}{page}")).await?;
        assert!(missed == 0 && there > 15, "{page}: {missed} of {there}");
    }
    // A chart is zoomed with arrows and Enter, and a letter behind g leads to its page.
    browser.open(&home).await?;
    browser.eval("document.querySelector('.canvas').focus()").await?;
    browser.key("ArrowLeft").await?;
    browser.shift_key("ArrowLeft").await?;
    browser.key("Enter").await?;
    let has_from = |query: &serde_json::Value| query.as_str().is_some_and(|query| query.contains("from="));
    assert!(becomes(&mut browser, "location.search", has_from).await?, "it does not zoom");
    browser.eval("document.activeElement.blur()").await?;
    browser.key("g").await?;
    browser.key("l").await?;
    assert!(becomes(&mut browser, "location.pathname", |path| *path == json!("/locks")).await?);
    Ok(())
}

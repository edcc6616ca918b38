//! The pages in Chromium: what it says on its console, what it asks of whom, how wide pages are, and what Tab
//! reaches.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use db_monitoring::dashboard::{self, Access};
use db_monitoring::server::Resolution;
use db_testkit::{skip, until};
use diesel_async::SimpleAsyncConnection;
use serde_json::json;

use super::{PAGES, monitor};
use crate::dashboard::shop::{Shop, Tested};

mod devtools;
use devtools::Browser;

/// The most that the first page may transfer, with all that it loads.
const FIRST_PAGE: u64 = 100_000;

/// Serves a router on a port of its own, and counts what is asked for and how much is sent.
async fn serve(router: Router) -> Result<(u16, Arc<Mutex<BTreeMap<String, u64>>>), std::io::Error> {
    let sent: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
    let counted = Arc::clone(&sent);
    let router = router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let (path, counted) = (request.uri().path().to_owned(), Arc::clone(&counted));
        async move {
            let (parts, body) = next.run(request).await.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            *counted.lock().unwrap().entry(path).or_default() = bytes.len() as u64;
            axum::response::Response::from_parts(parts, axum::body::Body::from(bytes))
        }
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((port, sent))
}

/// Where screenshots go, for people to look at: `DASHBOARD_SCREENSHOTS`.
fn screenshots() -> Option<PathBuf> {
    std::env::var_os("DASHBOARD_SCREENSHOTS").map(PathBuf::from)
}

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
    let (port, sent) = serve(Router::new().nest("/admin/performance", router)).await?;
    until("the wait is seen", async || {
        let latest = shop.collector.latest();
        latest.activity.get().is_ok_and(|all| all.iter().any(|one| !one.blocked_by.is_empty()))
    })
    .await;
    // History has a point for each ten seconds.
    until("there is something to draw", async || shop.collector.history(Resolution::TenSeconds).len() >= 2)
        .await;
    let mut browser = Browser::start(&program).await?;
    let home = format!("http://127.0.0.1:{port}/admin/performance");
    for (width, height) in [(1280, 900), (375, 812)] {
        for theme in ["light", "dark"] {
            browser.look(width, height, theme).await?;
            for page in PAGES.iter().copied().chain([&*statement]) {
                let url = format!("{home}{}", if page == "/" { "" } else { page });
                browser.open(&url).await?;
                check(&mut browser, page, width).await?;
                if let Some(directory) = screenshots() {
                    let name = if page == "/" {
                        "overview"
                    } else {
                        page.trim_start_matches('/').split('/').next().unwrap()
                    };
                    let name = if page == statement { "query" } else { name };
                    save(&mut browser, &directory, &format!("{name}-{width}-{theme}.png")).await?;
                }
            }
        }
    }
    let sent = sent.lock().unwrap().clone();
    let assets =
        sent.iter().filter(|(path, _)| path.contains("/assets/")).map(|(_, bytes)| bytes).sum::<u64>();
    let first = sent["/admin/performance"] + assets;
    assert!(assets > 50_000 && first <= FIRST_PAGE, "the first page takes {first} bytes: {sent:?}");
    assert_eq!(browser.console, Vec::<String>::new());
    let foreign: Vec<&String> = browser.requests.iter().filter(|url| !url.starts_with(&home)).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    blocker.batch_execute("ROLLBACK").await?;
    waits.await??;
    Ok(())
}

/// That the page is as wide as the window, and that Tab reaches all that can be used, in as many steps as
/// there are.
async fn check(browser: &mut Browser, page: &str, width: u32) -> Tested {
    let wide = browser.eval("document.documentElement.scrollWidth").await?;
    assert!(wide.as_u64() <= Some(u64::from(width)), "{page} is {wide} px wide in a window of {width}");
    let title = browser.eval("document.querySelector('h1').textContent").await?;
    assert!(title.as_str().is_some_and(|title| !title.is_empty()), "{page}");
    if page == "/" {
        let drawn =
            browser.eval("[...document.querySelectorAll('canvas')].filter(c => c.width > 50).length").await?;
        assert!(drawn.as_u64() >= Some(3), "{page} draws {drawn} charts");
    }
    Ok(())
}

async fn save(browser: &mut Browser, directory: &Path, name: &str) -> Tested {
    std::fs::create_dir_all(directory)?;
    std::fs::write(directory.join(name), browser.screenshot().await?)?;
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
    let (port, _) = serve(router).await?;
    until("there is something to draw", async || shop.collector.history(Resolution::TenSeconds).len() >= 2)
        .await;
    let mut browser = Browser::start(&program).await?;
    browser.look(1280, 900, "light").await?;
    for page in PAGES {
        browser.open(&format!("http://127.0.0.1:{port}{page}")).await?;
        browser.eval("document.getElementById('live').click()").await?;
        let wanted = browser.eval(REACHABLE).await?.as_u64().unwrap();
        let mut reached = std::collections::BTreeSet::new();
        for _ in 0..wanted + 5 {
            browser.key("Tab").await?;
            reached.insert(browser.eval(FOCUSED).await?.to_string());
        }
        reached.remove("-1");
        assert_eq!(reached.len() as u64, wanted, "{page}");
    }
    // A letter behind g leads to its page, and a chart is zoomed with arrows and Enter.
    browser.open(&format!("http://127.0.0.1:{port}/")).await?;
    browser.eval("document.querySelector('.canvas').focus()").await?;
    browser.key("ArrowLeft").await?;
    browser.shift_key("ArrowLeft").await?;
    browser.key("Enter").await?;
    until("the page is of the time that was chosen", async || {
        browser
            .eval("location.search")
            .await
            .is_ok_and(|query| query.as_str().is_some_and(|it| it.contains("from=")))
    })
    .await;
    browser.eval("document.activeElement.blur()").await?;
    browser.key("g").await?;
    browser.key("l").await?;
    until("the page on locks is there", async || {
        browser.eval("location.pathname").await.is_ok_and(|path| path == json!("/locks"))
    })
    .await;
    Ok(())
}

/// How many elements can be used, each with a number of its own.
const REACHABLE: &str = "(() => { let n = 0; for (const e of document.querySelectorAll('a[href], button, input:not([type=hidden]), summary, [tabindex=\"0\"]')) \
    if (e.checkVisibility({ checkVisibilityCSS: true }) && !e.closest('dialog:not([open])')) e.dataset.n = n++; return n; })()";
const FOCUSED: &str = "Number(document.activeElement?.dataset?.n ?? -1)";

//! Walks through all pages in a browser, and notes everything that is not as promised.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::Request;
use axum::middleware::Next;
use serde_json::Value as Json;

use super::devtools::Browser;

type Tested<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

pub(crate) const PAGES: [&str; 13] = [
    "/",
    "/queries",
    "/locks",
    "/tables",
    "/indexes",
    "/pool",
    "/cache",
    "/replication",
    "/migrations",
    "/backups",
    "/alerts",
    "/checks",
    "/server",
];

/// The bytes of the last answer for each path.
pub(crate) type Sent = Arc<Mutex<BTreeMap<String, usize>>>;

/// Serves a router on a port of its own, and counts what is sent.
pub(crate) async fn serve(router: Router) -> std::io::Result<(u16, Sent)> {
    let sent = Sent::default();
    let counted = Arc::clone(&sent);
    let router = router.layer(axum::middleware::from_fn(move |request: Request, next: Next| {
        let (path, counted) = (request.uri().path().to_owned(), Arc::clone(&counted));
        async move {
            let (parts, body) = next.run(request).await.into_parts();
            let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
            counted.lock().unwrap_or_else(PoisonError::into_inner).insert(path, bytes.len());
            axum::response::Response::from_parts(parts, axum::body::Body::from(bytes))
        }
    }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok((port, sent))
}

/// What the first page of a dashboard at `base` takes, with all that it loads, in bytes.
pub(crate) fn first_page(sent: &Sent, base: &str) -> usize {
    let sent = sent.lock().unwrap_or_else(PoisonError::into_inner);
    let assets: usize =
        sent.iter().filter(|(path, _)| path.contains("/assets/")).map(|(_, bytes)| bytes).sum();
    assert!(assets > 50_000, "the page loads nothing: {sent:?}");
    sent[base] + assets
}

/// Opens each page in both widths and themes. What is wrong comes back in words; screenshots go into the
/// directory.
pub(crate) async fn all_pages(
    browser: &mut Browser,
    home: &str,
    more: &str,
    screenshots: Option<&Path>,
) -> Tested<Vec<String>> {
    let mut faults = Vec::new();
    for (width, height) in [(1280_u32, 900), (375, 812)] {
        for theme in ["light", "dark"] {
            browser.look(width, height, theme).await?;
            for page in PAGES.iter().copied().chain([more]) {
                browser.open(&format!("{home}{}", if page == "/" { "" } else { page })).await?;
                let wide = browser.eval("document.documentElement.scrollWidth").await?.as_u64().unwrap_or(0);
                if wide > u64::from(width) {
                    faults.push(format!("{page} is {wide} px wide in a window of {width}"));
                }
                let title = browser.eval("document.querySelector('h1')?.textContent").await?;
                if title.as_str().is_none_or(str::is_empty) {
                    faults.push(format!("{page} has no title"));
                }
                let charts = "[...document.querySelectorAll('canvas')].filter(c => c.width > 50).length";
                if page == "/" && browser.eval(charts).await?.as_u64() < Some(3) {
                    faults.push("the first page draws no charts".to_owned());
                }
                if let Some(directory) = screenshots {
                    let name = if page == more { "query" } else { page.trim_start_matches('/') };
                    let name = if name.is_empty() { "overview" } else { name };
                    std::fs::create_dir_all(directory)?;
                    let file = directory.join(format!("{name}-{width}-{theme}.png"));
                    std::fs::write(file, browser.screenshot().await?)?;
                }
            }
        }
    }
    faults.extend(browser.console.iter().map(|line| format!("on the console: {line}")));
    let foreign = browser.requests.iter().filter(|url| !url.starts_with(home));
    faults.extend(foreign.map(|url| format!("asked of others: {url}")));
    Ok(faults)
}

/// What can be used on a page and is not reached by Tab alone, as a count, of how many.
pub(crate) async fn out_of_reach(browser: &mut Browser, url: &str) -> Tested<(u64, u64)> {
    browser.open(url).await?;
    // While it is live, what there is changes.
    browser.eval("document.getElementById('live').click()").await?;
    let there = browser.eval(USABLE).await?.as_u64().unwrap_or(0);
    let mut reached = std::collections::BTreeSet::new();
    // Code that scrolls not yet takes the focus, too.
    for _ in 0..there * 2 + 10 {
        browser.key("Tab").await?;
        reached.extend(browser.eval(FOCUSED).await?.as_u64());
    }
    Ok((there.saturating_sub(reached.len() as u64), there))
}

/// How many elements can be used with a mouse, each with a number of its own: what takes a click, and each
/// chart.
const USABLE: &str = "(() => { let n = 0; for (const e of document.querySelectorAll('a[href], button, \
    input:not([type=hidden]), summary, pre, .canvas')) if (e.checkVisibility({ checkVisibilityCSS: true }) \
    && !e.closest('dialog:not([open])') && (e.tagName !== 'PRE' || e.scrollHeight > e.clientHeight)) e.dataset.n = n++; \
    return n; })()";
const FOCUSED: &str =
    "(() => { const n = document.activeElement?.dataset?.n; return n == null ? null : Number(n); })()";

/// What an expression in the page is, once it holds something.
pub(crate) async fn becomes(
    browser: &mut Browser,
    text: &str,
    holds: impl Fn(&Json) -> bool,
) -> Tested<bool> {
    for _ in 0..1_000 {
        if browser.eval(text).await.is_ok_and(|value| holds(&value)) {
            return Ok(true);
        }
        browser.eval("new Promise(done => setTimeout(done, 10))").await.ok();
    }
    Ok(false)
}

//! The frame of every page: head, navigation, time, and the place of the panels.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::request::{Asked, SPANS};
use crate::panel::{self, Look, Panel};

/// The pages, in the order of the navigation. Each letter leads to its page after `g`.
pub(super) const PAGES: [Page; 13] = [
    Page { path: "", title: "Overview", key: 'o' },
    Page { path: "queries", title: "Queries", key: 'q' },
    Page { path: "locks", title: "Locks", key: 'l' },
    Page { path: "tables", title: "Tables", key: 't' },
    Page { path: "indexes", title: "Indexes", key: 'i' },
    Page { path: "pool", title: "Pool", key: 'p' },
    Page { path: "cache", title: "Cache", key: 'c' },
    Page { path: "replication", title: "Replication", key: 'r' },
    Page { path: "migrations", title: "Migrations", key: 'm' },
    Page { path: "backups", title: "Backups", key: 'b' },
    Page { path: "alerts", title: "Alerts", key: 'a' },
    Page { path: "checks", title: "Checks", key: 'h' },
    Page { path: "server", title: "Server", key: 's' },
];

/// One page of the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) path: &'static str,
    pub(super) title: &'static str,
    pub(super) key: char,
}

/// What the frame of a page says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// Where the dashboard is mounted, without a slash at its end.
    pub(super) base: &'a str,
    pub(super) service: &'a str,
    /// The path of the page below its base.
    pub(super) path: &'a str,
    pub(super) title: &'a str,
    pub(super) asked: &'a Asked,
    pub(super) csrf: Option<&'a str>,
    pub(super) has_sign_in: bool,
    /// How old what is shown is, and of which server it is.
    pub(super) state: &'a str,
}

/// The whole page.
pub(super) fn whole(frame: Frame<'_>, panels: &[Panel]) -> Markup {
    document(
        frame.base,
        &format!("{} · {}", frame.title, frame.service),
        &html! {
            a.skip href="#main" { "To the content" }
            header {
                a.brand href=(home(frame.base)) { (frame.service) }
                (navigation(frame))
                (tools(frame))
            }
            main #main tabindex="-1" data-live=[frame.asked.span] { (content(frame, panels)) }
            (keys())
        },
    )
}

/// The parts of a page that change, for its script.
pub(super) fn fragment(frame: Frame<'_>, panels: &[Panel]) -> Markup {
    html! {
        (spans(frame))
        main #main tabindex="-1" data-live=[frame.asked.span] { (content(frame, panels)) }
    }
}

/// What changes from one look to the next: the page's script asks for it every two seconds.
fn content(frame: Frame<'_>, panels: &[Panel]) -> Markup {
    let query = frame.asked.without_sort();
    let look = Look {
        base: Some(frame.base),
        csrf: frame.csrf,
        query: Some(&query),
        sort: frame.asked.sort.as_deref(),
    };
    html! {
        div.top {
            h1 { (frame.title) }
            p.state role="status" { (frame.state) }
            (search(frame))
        }
        div.panels { @for panel in panels { (panel::html(panel, look)) } }
    }
}

/// The form in which a browser sends the token.
pub(super) fn sign_in(base: &str, to: &str, why: Option<&str>) -> Markup {
    document(
        base,
        "Sign in",
        &html! {
            main.sign-in #main {
                h1 { "Database dashboard" }
                @if let Some(why) = why { p.missing role="alert" { (why) } }
                form method="post" action={ (base) "/sign-in" } {
                    input type="hidden" name="to" value=(to);
                    label for="token" { "Token" }
                    input id="token" type="password" name="token" autocomplete="current-password" required autofocus;
                    button { "Sign in" }
                }
            }
        },
    )
}

/// One sentence and the way back.
pub(super) fn notice(base: &str, title: &str, text: &str) -> Markup {
    document(
        base,
        title,
        &html! { main.sign-in #main { h1 { (title) } p { (text) } p { a href=(home(base)) { "To the overview" } } } },
    )
}

fn document(base: &str, title: &str, body: &Markup) -> Markup {
    let asset = |name: &str| format!("{base}/assets/{name}?v={}", super::assets::version());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(asset("uplot.css"));
                link rel="stylesheet" href=(asset("dashboard.css"));
                script src=(asset("uplot.js")) defer {}
                script src=(asset("dashboard.js")) {}
            }
            body data-base=(base) { (body) }
        }
    }
}

fn navigation(frame: Frame<'_>) -> Markup {
    let first = frame.path.split('/').next().unwrap_or_default();
    let time = frame.asked.time();
    html! {
        nav aria-label="Pages" {
            @for page in PAGES {
                a href={ (if page.path.is_empty() { home(frame.base).to_owned() } else { format!("{}/{}", frame.base, page.path) }) (with(&time)) } data-key=(page.key)
                    aria-current=[(page.path == first).then_some("page")] { (page.title) }
            }
        }
    }
}

fn tools(frame: Frame<'_>) -> Markup {
    html! {
        div.tools {
            (spans(frame))
            button #live type="button" aria-pressed="true" title="New figures every two seconds (p)" { "Live" }
            button #theme type="button" title="Light or dark (d)" { "◐" span.hidden { " Light or dark" } }
            button #help type="button" title="Keys (?)" { "?" span.hidden { " Keys" } }
            a href={ (frame.base) "/" (if frame.path.is_empty() { "overview" } else { frame.path }) ".json" (with(&frame.asked.time())) } { "JSON" }
            @if frame.has_sign_in {
                form method="post" action={ (frame.base) "/sign-out" } { button { "Sign out" } }
            }
        }
    }
}

fn spans(frame: Frame<'_>) -> Markup {
    html! {
        nav.spans aria-label="Time" {
            @for (name, _) in SPANS {
                a href={ "?last=" (name) } aria-current=[(frame.asked.span == Some(name)).then_some("true")] { (name) }
            }
            @if frame.asked.span.is_none() { a href="?" aria-current="true" title="Back to now" { "fixed ✕" } }
        }
    }
}

fn search(frame: Frame<'_>) -> Markup {
    let pairs: Vec<(String, String)> =
        url::form_urlencoded::parse(frame.asked.time().as_bytes()).into_owned().collect();
    html! {
        form.search role="search" method="get" {
            @for (name, value) in &pairs { input type="hidden" name=(name) value=(value); }
            input #search type="search" name="q" value=(frame.asked.filter) placeholder="Filter rows (/)"
                aria-label="Filter rows";
        }
    }
}

fn keys() -> Markup {
    html! {
        dialog #keys aria-label="Keys" {
            h2 { "Keys" }
            dl {
                @for page in PAGES { div { dt { kbd { "g" } " " kbd { (page.key) } } dd { (page.title) } } }
                @for (key, does) in [
                    ("/", "filter rows"),
                    ("p", "pause, go on"),
                    ("d", "light or dark"),
                    ("← →", "in a chart: move; with Shift select, Enter to zoom, Escape back"),
                    ("?", "this list"),
                ] { div { dt { kbd { (key) } } dd { (does) } } }
            }
            form method="dialog" { button { "Close" } }
        }
    }
}

/// The first page. Where the router is nested there is nothing behind the path's slash.
pub(super) fn home(base: &str) -> &str {
    if base.is_empty() { "/" } else { base }
}

/// A query behind a path; an empty one leaves no question mark.
fn with(query: &str) -> PreEscaped<String> {
    if query.is_empty() {
        PreEscaped(String::new())
    } else {
        html! { "?" (query) }
    }
}

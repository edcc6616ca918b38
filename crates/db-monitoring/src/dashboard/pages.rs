//! The pages: which panels each has, and of which server they are.

mod process;
mod statement;

use std::time::SystemTime;

use super::Source;
use super::load::{Load, Seen};
use super::page::PAGES;
use super::request::Asked;
use crate::panel::{self, Item, Panel};
use crate::sections;
use crate::server::Snapshot;

/// What one page shows.
pub(super) struct Shown {
    pub(super) title: String,
    /// Of which server it is, and how old.
    pub(super) state: String,
    pub(super) panels: Vec<Panel>,
}

/// The page of this path; none where there is no such page.
pub(super) async fn page(source: &Source, load: Option<&Load>, path: &str, asked: &Asked) -> Option<Shown> {
    let snapshot = source.snapshot.as_ref().map(|snapshot| snapshot());
    let server = Server(snapshot.as_deref());
    let checks = source.checks.as_ref().and_then(|checks| checks());
    let (name, detail) = path.split_once('/').map_or((path, None), |(name, detail)| (name, Some(detail)));
    let known = PAGES.into_iter().find(|page| page.path == name);
    let feeds = source.feeds.get(name);
    if known.is_none() && feeds.is_none() {
        return None;
    }
    let mut title = known.map_or_else(|| name.to_owned(), |page| page.title.to_owned());
    let mut panels = match (name, detail) {
        ("queries", Some(detail)) => {
            let (words, panels) = statement::page(source, server.0, load, detail.parse().ok()?).await;
            title = words;
            panels
        }
        (_, Some(_)) => return None,
        ("", _) => {
            let seen = load.map(|load| load.between(asked.from, asked.to));
            overview(source, &server, checks.as_deref().map(Vec::as_slice), load.zip(seen))
        }
        ("queries", _) => {
            let mut panels = process::statements(source);
            panels.push(server.panel(
                "statements",
                "Statements, as the server counts them",
                sections::server_statements,
            ));
            panels
        }
        ("locks", _) => vec![
            server.panel("blocking", "Who waits for whom", sections::blocking),
            server.panel("connections", "Connections", sections::connections),
            server.panel("locks", "Locks", sections::locks),
        ],
        ("tables", _) => vec![
            server.panel("sizes", "Sizes", sections::sizes),
            server.panel("vacuum", "Dead rows and vacuum", sections::vacuum),
            server.panel("hit_ratio", "Buffer hit ratio", sections::hit_ratio),
        ],
        ("indexes", _) => {
            let mut panels = vec![server.panel("indexes", "Indexes", sections::indexes)];
            if let Some(insight) = &source.insight {
                panels.splice(0..0, insight.of_database().await);
            }
            panels
        }
        ("pool", _) => process::pool(source),
        ("replication", _) => server.panels("replication", "Replication", sections::replication),
        ("checks", _) => sections::checks(checks.as_deref().map(Vec::as_slice)),
        ("server", _) => vec![
            server.panel("server", "Server", sections::server),
            server.panel("transactions", "Transactions", sections::transactions),
            server.panel("settings", "Settings", sections::settings),
            server.panel("extensions", "Extensions and sequences", sections::extensions),
        ],
        _ => Vec::new(),
    };
    for feed in feeds.into_iter().flatten() {
        panels.extend(feed.panels().await);
    }
    if panels.is_empty() {
        panels.push(Panel::new(name, title.clone()).missing(format!("this process has no {name}")));
    }
    for item in panels.iter_mut().flat_map(|panel| &mut panel.items) {
        if let Item::Plot(plot) = item {
            source.mark(plot);
        }
    }
    Some(Shown { title, state: server.state(), panels })
}

/// What is known of the server, if this process looks at one.
struct Server<'a>(Option<&'a Snapshot>);

impl Server<'_> {
    fn panel(&self, key: &str, title: &str, section: impl FnOnce(&Snapshot) -> Panel) -> Panel {
        match self.0 {
            Some(snapshot) => section(snapshot),
            None => self.nothing(key, title),
        }
    }

    fn panels(&self, key: &str, title: &str, section: impl FnOnce(&Snapshot) -> Vec<Panel>) -> Vec<Panel> {
        match self.0 {
            Some(snapshot) => section(snapshot),
            None => vec![self.nothing(key, title)],
        }
    }

    fn nothing(&self, key: &str, title: &str) -> Panel {
        Panel::new(key, title)
            .missing("this process does not look at the server; give the source a collector")
    }

    fn state(&self) -> String {
        let Some(snapshot) = self.0 else { return "No server is looked at.".to_owned() };
        let age = snapshot.activity.age(SystemTime::now());
        let age = age.map_or_else(
            || "not seen yet".to_owned(),
            |age| format!("seen {} ago", panel::seconds(age.as_secs_f64().round())),
        );
        match snapshot.server.get() {
            Ok(server) => format!(
                "{} · {} · PostgreSQL {} · {age}",
                server.endpoint,
                server.role.as_str(),
                server.version
            ),
            Err(skipped) => format!("The server is not known: {}.", skipped.detail.trim_end_matches('.')),
        }
    }
}

/// What is wrong, what the server is busy with, and which statements that is.
fn overview(
    source: &Source,
    server: &Server<'_>,
    checks: Option<&[crate::CheckResult]>,
    seen: Option<(&Load, Seen)>,
) -> Vec<Panel> {
    let mut panels = vec![sections::for_people(checks)];
    panels.extend(busy(source, server.0, seen));
    panels.extend(process::busiest(source));
    panels
}

/// What the server is busy with, and with which statements, in the same colours.
fn busy(source: &Source, snapshot: Option<&Snapshot>, seen: Option<(&Load, Seen)>) -> Vec<Panel> {
    let (Some((known, seen)), Some(snapshot)) = (seen, snapshot) else { return Vec::new() };
    let mut load = seen.load;
    if let Some(cores) = source.cores.or_else(|| cores(snapshot)) {
        load = load.limit(format!("{cores} cores"), cores as f64);
    }
    let panel = Panel::new("load", "Load of the server").note(
        "How many sessions were active at once, and what they waited for. Above the line of the cores some wait for others.",
    );
    let panel = match snapshot.activity.get() {
        Ok(_) => panel
            .plot(load)
            .table(sections::load_table(&seen.by_statement, |statement| known.text(statement)).at_most(10)),
        Err(skipped) => panel.missing(skipped.detail.clone()),
    };
    let more =
        Panel::new("activity", "Transactions and connections").plot(seen.transactions).plot(seen.connections);
    vec![panel, more]
}

/// How many cores the server has, if it is on this machine: it does not say so itself.
fn cores(snapshot: &Snapshot) -> Option<usize> {
    let server = snapshot.server.get().ok()?.endpoint.to_string();
    let host = server.rsplit_once(':').map_or(&*server, |(host, _)| host);
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]") || host.starts_with('/');
    is_here.then(|| std::thread::available_parallelism().ok().map(usize::from)).flatten()
}

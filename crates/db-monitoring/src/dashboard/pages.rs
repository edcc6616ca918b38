//! The pages: which panels each has, and of which server they are.

mod process;
mod statement;

use std::sync::Arc;
use std::time::SystemTime;

use super::Source;
use super::load::{Seen, Texts};
use super::page::PAGES;
use super::request::Asked;
use crate::checks::{self, Evidence, Selection};
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
pub(super) async fn page(source: &Source, texts: &Texts, path: &str, asked: &Asked) -> Option<Shown> {
    let snapshot = source.snapshot.as_ref().map(|snapshot| snapshot());
    let server = Server(snapshot.as_deref());
    if let Some(snapshot) = server.0 {
        texts.look(snapshot);
    }
    let seen = source.collector.as_ref().map(|collector| Seen::between(collector, asked.from, asked.to));
    let checks = match &source.checks {
        Some(checks) => checks(),
        // What needs a look at the schema is skipped, and says so.
        None if matches!(path, "" | "checks") => snapshot.as_deref().map(|snapshot| {
            let evidence =
                Evidence { cores: source.cores.and_then(|it| it.try_into().ok()), ..Evidence::of(snapshot) };
            Arc::new(checks::judge(&evidence, &Selection::default()))
        }),
        None => None,
    };
    let (name, detail) = path.split_once('/').map_or((path, None), |(name, detail)| (name, Some(detail)));
    let known = PAGES.into_iter().find(|page| page.path == name);
    let feeds = source.feeds.get(name);
    if known.is_none() && feeds.is_none() {
        return None;
    }
    let mut title = known.map_or_else(|| name.to_owned(), |page| page.title.to_owned());
    let mut panels = match (name, detail) {
        ("queries", Some(detail)) => {
            let (words, panels) = statement::page(source, server.0, texts, detail.parse().ok()?).await;
            title = words;
            panels
        }
        (_, Some(_)) => return None,
        ("", _) => overview(source, &server, checks.as_deref().map(Vec::as_slice), seen.as_ref(), texts),
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
        ("tables", _) => {
            let mut panels = vec![
                server.panel("sizes", "Sizes", sections::sizes),
                server.panel("vacuum", "Dead rows and vacuum", sections::vacuum),
                server.panel("bloat", "Bloat", sections::bloat),
                server.panel("hit_ratio", "Buffer hit ratio", sections::hit_ratio),
            ];
            panels.splice(0..0, seen.as_ref().map(sizes_over_time));
            panels.extend(source.collector.as_ref().map(sections::growth));
            panels
        }
        ("indexes", _) => {
            let mut panels = vec![server.panel("indexes", "Indexes", sections::indexes)];
            if let Some(insight) = &source.insight {
                panels.splice(0..0, insight.of_database().await);
            }
            panels
        }
        ("pool", _) => {
            let mut panels = process::pool(source);
            panels.splice(0..0, seen.as_ref().map(pools_over_time));
            panels
        }
        ("replication", _) => {
            let mut panels = server.panels("replication", "Replication", sections::replication);
            panels.splice(0..0, seen.as_ref().map(lag_over_time));
            panels
        }
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
            plot.marks.extend(seen.as_ref().map(Seen::changes_of_server).into_iter().flatten());
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
    seen: Option<&Seen>,
    texts: &Texts,
) -> Vec<Panel> {
    let mut panels = vec![sections::for_people(checks)];
    panels.extend(busy(source, server.0, seen, texts));
    panels.extend(process::busiest(source));
    panels
}

/// What the server is busy with, and with which statements, in the same colours.
fn busy(source: &Source, snapshot: Option<&Snapshot>, seen: Option<&Seen>, texts: &Texts) -> Vec<Panel> {
    let (Some(seen), Some(snapshot)) = (seen, snapshot) else { return Vec::new() };
    let mut load = seen.load();
    if let Some(cores) = source.cores.or_else(|| cores(snapshot)) {
        load = load.limit(format!("{cores} cores"), cores as f64);
    }
    let panel = Panel::new("load", "Load of the server").note(
        "How many sessions were active at once, and what they waited for. Above the line of the cores some wait for \
         others.",
    );
    let panel = match snapshot.activity.get() {
        Ok(_) => {
            let table = sections::load_table(&seen.by_statement(), |id| texts.get(id, snapshot));
            panel.plot(load).table(table.at_most(10))
        }
        Err(skipped) => panel.missing(skipped.detail.clone()),
    };
    vec![panel, activity(seen)]
}

/// What the server and this process did over time.
fn activity(seen: &Seen) -> Panel {
    let transactions = [("commits_per_second", "commits", 0), ("rollbacks_per_second", "rollbacks", 2)];
    let connections = [
        ("connections", "connected", 1),
        ("connections_active", "active", 0),
        ("connections_idle_in_transaction", "idle in transaction", 5),
        ("lock_waits", "waiting for a lock", 2),
    ];
    let rows = [("rows_read_per_second", "read", 1), ("rows_written_per_second", "written", 4)];
    Panel::new("activity", "Over time")
        .plot(seen.figures("transactions", "Transactions a second", "a second", &transactions))
        .plot(seen.figures("connections", "Connections", "sessions", &connections))
        .plot(seen.figures("rows", "Rows a second", "a second", &rows))
        .plot(seen.hits())
}

/// The pools of this process over time, and its memory.
fn pools_over_time(seen: &Seen) -> Panel {
    let pools = [
        ("pool_in_use", "in use", 1),
        ("pool_waiting", "callers that wait", 2),
        ("pools_under_pressure", "pools under pressure", 4),
    ];
    Panel::new("activity", "Over time")
        .plot(seen.figures("pool", "Connections of this process's pools", "connections", &pools))
        .plot(seen.figures(
            "memory",
            "Memory of this process",
            "bytes",
            &[("process_memory_bytes", "resident", 3)],
        ))
}

/// What grows, and how fast.
fn sizes_over_time(seen: &Seen) -> Panel {
    Panel::new("activity", "Over time")
        .plot(seen.figures("size", "Size of all databases", "bytes", &[("databases_bytes", "size", 1)]))
        .plot(seen.figures(
            "wal",
            "Write-ahead log a second",
            "bytes",
            &[("wal_bytes_per_second", "written", 4)],
        ))
        .plot(seen.figures(
            "temp",
            "Temporary files a second",
            "bytes",
            &[("temp_bytes_per_second", "written", 5)],
        ))
        .plot(seen.figures(
            "freeze",
            "Oldest row that is not frozen",
            "transactions",
            &[("frozen_xid_age", "age", 2)],
        ))
}

/// How far standbys were behind, and what slots held back.
fn lag_over_time(seen: &Seen) -> Panel {
    Panel::new("activity", "Over time")
        .plot(seen.figures(
            "lag",
            "Worst replication lag",
            "seconds",
            &[("replication_lag_seconds", "lag", 2)],
        ))
        .plot(seen.figures(
            "retained",
            "Log that a slot holds",
            "bytes",
            &[("slot_retained_bytes", "most", 5)],
        ))
}

/// How many cores the server has, if it is on this machine: it does not say so itself.
fn cores(snapshot: &Snapshot) -> Option<usize> {
    let server = snapshot.server.get().ok()?.endpoint.to_string();
    let host = server.rsplit_once(':').map_or(&*server, |(host, _)| host);
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]") || host.starts_with('/');
    is_here.then(|| std::thread::available_parallelism().ok().map(usize::from)).flatten()
}

//! A report on a server: the same sections as text, as one HTML file with its plots, and as JSON that stays
//! as it is.

mod directory;

use std::time::SystemTime;

use maud::{DOCTYPE, PreEscaped, html};
use serde_json::{Value as Json, json};

pub use directory::{Kept, Period, ReportDirectory};

use crate::checks::{self, Selection, Visit};
use crate::panel::{self, Item, Look, Panel, Previous, Table};
use crate::server::{Collector, Snapshot};
use crate::{CheckResult, sections};

/// What the JSON calls itself. Names in it are added, never changed.
pub const SCHEMA: &str = "db-platform.report/1";

/// So many rows of each table are in the text and in the HTML; the JSON has all.
const ROWS_OF_TEXT: usize = 15;
const ROWS_OF_HTML: usize = 100;

const STYLE: &str = include_str!("assets/dashboard.css");

/// A report on a server.
///
/// ```
/// use db_monitoring::report::Report;
/// use db_monitoring::server::Snapshot;
///
/// let report = Report::of(&Snapshot::default(), None);
/// assert_eq!(report.to_json()["schema"], "db-platform.report/1");
/// assert!(report.to_text().contains("not collected yet")); // what is not known is said, never left out
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    at: SystemTime,
    server: String,
    compared_with: Option<String>,
    sections: Vec<Panel>,
}

impl Report {
    /// A report of what is known of a server, and of what its checks found.
    pub fn of(snapshot: &Snapshot, checks: Option<&[CheckResult]>) -> Self {
        let server =
            snapshot.server.get().map_or_else(|_| "unknown".to_owned(), |server| server.endpoint.to_string());
        let mut all = vec![
            sections::server(snapshot),
            sections::checks(checks).swap_remove(0),
            sections::connections(snapshot),
            sections::server_statements(snapshot),
            sections::indexes(snapshot),
            sections::vacuum(snapshot),
            sections::bloat(snapshot),
            sections::locks(snapshot),
            sections::blocking(snapshot),
            sections::hit_ratio(snapshot),
            sections::sizes(snapshot),
            sections::transactions(snapshot),
        ];
        all.extend(sections::replication(snapshot));
        all.push(sections::settings(snapshot));
        all.push(sections::extensions(snapshot));
        Report { at: SystemTime::now(), server, compared_with: None, sections: all }
    }

    /// A report of what is known of a server, with what checks find there; `before` is an earlier visit,
    /// whose counters are compared.
    pub fn of_visit(snapshot: &Snapshot, visit: &Visit, before: Option<&Visit>) -> Self {
        let results = checks::judge(&visit.evidence(before), &Selection::default());
        Report::of(snapshot, Some(&results))
    }

    /// The same report, with what this collector has seen grow, and when that fills what there is.
    #[must_use]
    pub fn with_growth(mut self, collector: &Collector) -> Self {
        let behind = self.sections.iter().position(|section| section.key == "sizes");
        let at = behind.map_or(self.sections.len(), |at| at + 1);
        self.sections.insert(at, sections::growth(collector));
        self
    }

    /// The same report with a section more, such as the cache's or the backups'.
    #[must_use]
    pub fn section(mut self, panel: Panel) -> Self {
        self.sections.push(panel);
        self
    }

    /// The same report, which says of each figure how it changed since `previous`, the JSON of an earlier
    /// report. What is
    /// not such a JSON, or is of another server, changes nothing.
    #[must_use]
    pub fn compared_with(mut self, previous: &Json) -> Self {
        if previous["schema"] != SCHEMA || previous["server"] != self.server.as_str() {
            return self;
        }
        self.compared_with = previous["at"].as_str().map(str::to_owned);
        let before = Previous::of_report(previous);
        for section in &mut self.sections {
            before.beside(section);
        }
        self
    }

    /// The same report with at most so many rows in each table; it says how many were left out.
    #[must_use]
    pub fn at_most(mut self, rows: usize) -> Self {
        self.sections = cut(&self.sections, rows).collect();
        self
    }

    /// When it was made.
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// The sections, in order.
    pub fn sections(&self) -> &[Panel] {
        &self.sections
    }

    /// The report as JSON, with all rows.
    pub fn to_json(&self) -> Json {
        json!({
            "schema": SCHEMA,
            "at": panel::stamp(self.at),
            "server": self.server,
            "compared_with": self.compared_with,
            "sections": self.sections.iter().map(Panel::to_json).collect::<Vec<_>>(),
        })
    }

    /// The report as text, with the first rows of each table.
    pub fn to_text(&self) -> String {
        let mut text = format!("{}\n\n", self.head());
        for section in cut(&self.sections, ROWS_OF_TEXT) {
            text.push_str(&section.to_text());
            text.push('\n');
        }
        text
    }

    /// The report as one HTML file, which loads nothing and runs nothing.
    pub fn to_html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:";
                    link rel="icon" href="data:,";
                    title { (self.head()) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        h1 { (self.head()) }
                        nav { @for section in &self.sections { a href={ "#" (section.key) } { (section.title) } " · " } }
                        div.panels {
                            @for section in cut(&self.sections, ROWS_OF_HTML) {
                                (panel::html(&section, Look::default()))
                            }
                        }
                    }
                }
            }
        };
        page.into_string()
    }

    fn head(&self) -> String {
        let compared =
            self.compared_with.as_ref().map_or(String::new(), |at| format!(", compared with {at}"));
        format!("Report on {}, {}{compared}", self.server, panel::stamp(self.at))
    }
}

/// The sections with at most so many rows in each table.
fn cut(sections: &[Panel], rows: usize) -> impl Iterator<Item = Panel> {
    sections.iter().map(move |section| {
        let mut section = section.clone();
        for item in &mut section.items {
            if let Item::Table(table) = item {
                *table = Table::at_most(std::mem::take(table), rows);
            }
        }
        section
    })
}

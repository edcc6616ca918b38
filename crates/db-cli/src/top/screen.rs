//! The screen of `dbctl top`: what it shows is made from a snapshot alone, so a test can look at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use db_platform::monitoring::server::{Backend, Snapshot};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row, Table, TableState, Tabs};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Tab(usize),
    Next,
    Back,
    Down,
    Up,
    Pause,
    End,
}

const TABS: [&str; 3] = ["1 running", "2 waiting", "3 blocking"];

#[derive(Default)]
pub(super) struct Screen {
    snapshot: Arc<Snapshot>,
    tab: usize,
    rows: TableState,
    paused: bool,
    /// Transactions that had ended at the last two times that the server counted.
    counted: Option<(SystemTime, i64)>,
    a_second: Option<f64>,
}

impl Screen {
    /// Takes in what is known now, unless the screen is paused.
    pub(super) fn look(&mut self, snapshot: Arc<Snapshot>) {
        if self.paused {
            return;
        }
        if let (Some(at), Ok(databases)) = (snapshot.databases.at(), snapshot.databases.get()) {
            let ended = databases
                .iter()
                .fold(0_i64, |sum, of| sum.saturating_add(of.xact_commit).saturating_add(of.xact_rollback));
            match self.counted {
                Some((before, _)) if before == at => {}
                Some((before, count)) => {
                    let seconds = at.duration_since(before).unwrap_or_default().as_secs_f64();
                    let goes_on = ended >= count && seconds > 0.0;
                    self.a_second = goes_on.then(|| (ended - count) as f64 / seconds);
                    self.counted = Some((at, ended));
                }
                None => self.counted = Some((at, ended)),
            }
        }
        self.snapshot = snapshot;
    }

    pub(super) fn step(&mut self, step: Step) {
        match step {
            Step::Tab(tab) => (self.tab, self.rows) = (tab, TableState::default()),
            Step::Next => (self.tab, self.rows) = ((self.tab + 1) % TABS.len(), TableState::default()),
            Step::Back => {
                (self.tab, self.rows) = ((self.tab + TABS.len() - 1) % TABS.len(), TableState::default());
            }
            Step::Down => self.rows.select_next(),
            Step::Up => self.rows.select_previous(),
            Step::Pause => self.paused = !self.paused,
            Step::Nothing | Step::End => {}
        }
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, tabs, table, foot] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Min(3),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        let groups = Groups::of(&self.snapshot);
        frame.render_widget(Paragraph::new(self.head(&groups)), head);
        let counts = groups.counts();
        let titles = TABS.iter().zip(counts).map(|(title, count)| format!("{title} ({count})"));
        frame.render_widget(Tabs::new(titles).select(self.tab), tabs);
        match self.snapshot.activity.get() {
            Ok(_) => {
                let rows = groups.rows(self.tab);
                frame.render_stateful_widget(sessions(&rows), table, &mut self.rows);
            }
            Err(skipped) => {
                let words = format!("Not known: {}", skipped.detail);
                frame.render_widget(Paragraph::new(words).style(Style::new().fg(Color::Yellow)), table);
            }
        }
        let keys = "1 2 3 or Tab: view   ↑ ↓: row   p: pause   q: end";
        frame.render_widget(Paragraph::new(keys).style(Style::new().add_modifier(Modifier::DIM)), foot);
    }

    fn head(&self, groups: &Groups<'_>) -> Vec<Line<'static>> {
        let server = match self.snapshot.server.get() {
            Ok(server) => {
                format!("{} · {} · PostgreSQL {}", server.endpoint, server.role.as_str(), server.version)
            }
            Err(skipped) => format!("not known: {}", skipped.detail),
        };
        let rate = self.a_second.map_or("–".to_owned(), |rate| format!("{rate:.0}"));
        let paused = if self.paused { "   PAUSED" } else { "" };
        vec![
            Line::from(vec![
                Span::styled(server, Style::new().add_modifier(Modifier::BOLD)),
                Span::styled(paused, Style::new().fg(Color::Yellow)),
            ]),
            Line::from(format!(
                "{} connected   {rate} transactions a second   {}",
                groups.connected,
                hits(&self.snapshot)
            )),
        ]
    }
}

fn hits(snapshot: &Snapshot) -> String {
    let Ok(databases) = snapshot.databases.get() else { return String::new() };
    let (hit, read) = databases
        .iter()
        .fold((0.0, 0.0), |(hit, read), of| (hit + of.blks_hit as f64, read + of.blks_read as f64));
    if hit + read > 0.0 { format!("{:.1} % buffer hits", hit * 100.0 / (hit + read)) } else { String::new() }
}

/// The sessions by what they do.
struct Groups<'a> {
    connected: usize,
    running: Vec<&'a Backend>,
    waiting: Vec<&'a Backend>,
    /// With how many wait for each.
    blocking: Vec<(&'a Backend, usize)>,
}

impl<'a> Groups<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let all = snapshot.activity.get().map_or(&[][..], Vec::as_slice);
        let mut victims = BTreeMap::<i64, BTreeSet<i64>>::new();
        for backend in all {
            for blocker in &backend.blocked_by {
                victims.entry(*blocker).or_default().insert(backend.pid);
            }
        }
        let is_client = |backend: &&Backend| backend.backend_type.as_deref() == Some("client backend");
        let is_active = |backend: &Backend| backend.state.as_deref() == Some("active");
        let longest = |backend: &Backend| backend.query_age.or(backend.xact_age).unwrap_or(0.0);
        let mut running: Vec<_> =
            all.iter().filter(|backend| is_active(backend) && backend.blocked_by.is_empty()).collect();
        let mut waiting: Vec<_> = all.iter().filter(|backend| !backend.blocked_by.is_empty()).collect();
        let mut blocking: Vec<_> =
            all.iter().filter_map(|backend| Some((backend, victims.get(&backend.pid)?.len()))).collect();
        running.sort_by(|a, b| longest(b).total_cmp(&longest(a)));
        waiting.sort_by(|a, b| longest(b).total_cmp(&longest(a)));
        blocking.sort_by_key(|(_, victims)| std::cmp::Reverse(*victims));
        Groups { connected: all.iter().filter(is_client).count(), running, waiting, blocking }
    }

    fn counts(&self) -> [usize; 3] {
        [self.running.len(), self.waiting.len(), self.blocking.len()]
    }

    fn rows(&self, tab: usize) -> Vec<[String; 7]> {
        match tab {
            0 => self.running.iter().map(|backend| row(backend, wait(backend))).collect(),
            1 => self.waiting.iter().map(|backend| row(backend, waits_for(backend))).collect(),
            _ => self.blocking.iter().map(|(backend, n)| row(backend, format!("{n} wait for it"))).collect(),
        }
    }
}

fn wait(backend: &Backend) -> String {
    match (&backend.wait_event_type, &backend.wait_event) {
        (Some(kind), Some(event)) => format!("{kind}: {event}"),
        (Some(kind), None) => kind.clone(),
        _ => "CPU".to_owned(),
    }
}

fn waits_for(backend: &Backend) -> String {
    let pids: BTreeSet<String> = backend
        .blocked_by
        .iter()
        .map(|pid| if *pid == 0 { "a prepared transaction".to_owned() } else { pid.to_string() })
        .collect();
    format!("waits for {}", pids.into_iter().collect::<Vec<_>>().join(", "))
}

fn row(backend: &Backend, does: String) -> [String; 7] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let query = text(&backend.query).split_whitespace().collect::<Vec<_>>().join(" ");
    [
        backend.pid.to_string(),
        text(&backend.usename),
        text(&backend.application_name),
        backend.query_age.map_or(String::new(), age),
        text(&backend.state),
        does,
        query,
    ]
}

fn age(seconds: f64) -> String {
    match seconds {
        few if few < 10.0 => format!("{few:.1} s"),
        some if some < 120.0 => format!("{some:.0} s"),
        many if many < 7_200.0 => format!("{:.0} min", many / 60.0),
        long => format!("{:.1} h", long / 3_600.0),
    }
}

fn sessions(rows: &[[String; 7]]) -> Table<'_> {
    let head = ["PID", "ROLE", "APPLICATION", "TIME", "STATE", "DOES", "STATEMENT"];
    let widths = [
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(16),
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(22),
        Constraint::Min(20),
    ];
    let rows = rows.iter().map(|row| Row::new(row.iter().map(|cell| Cell::from(cell.as_str()))));
    Table::new(rows, widths)
        .header(Row::new(head).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
}

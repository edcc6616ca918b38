//! `dbctl top`: the server's sessions in a terminal, those that run, those that wait, and those that block
//! others.

mod screen;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;

use crate::args::Options;
use crate::error::CliError;
use crate::observe_args::Top;
use crate::watch;
use screen::{Screen, Step};

/// What the screen does not show is asked for once.
const SELDOM: Duration = Duration::from_secs(3_600);

pub(crate) async fn run(command: Top, options: &Options) -> Result<ExitCode, CliError> {
    if !std::io::stdout().is_terminal() {
        return Err(CliError::Dashboard("top draws on a terminal; elsewhere take `dbctl report`".to_owned()));
    }
    let every = command.every.clamp(Duration::from_millis(200), Duration::from_secs(3_600));
    let collector = watch::collector(options, false, Some([every, every, SELDOM, SELDOM, SELDOM]))?;
    let collecting = tokio::spawn(collector.clone().run());
    let mut changes = collector.changes();
    let mut keys = keys();
    let mut screen = Screen::default();
    let mut terminal = ratatui::try_init().map_err(terminal_error)?;
    let shown = loop {
        screen.look(collector.latest());
        if let Err(error) = terminal.draw(|frame| screen.draw(frame)) {
            break Err(terminal_error(error));
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { break Ok(()) },
            key = keys.recv() => match key {
                Some(Step::End) | None => break Ok(()),
                Some(step) => screen.step(step),
            },
            () = crate::interrupt::interrupted() => break Ok(()),
        }
    };
    collecting.abort();
    ratatui::try_restore().map_err(terminal_error)?;
    shown.map(|()| ExitCode::SUCCESS)
}

fn terminal_error(error: std::io::Error) -> CliError {
    CliError::Dashboard(format!("the terminal cannot be drawn on: {error}"))
}

/// What keys say. Reading them blocks, so a thread does it, which ends with the program.
fn keys() -> mpsc::Receiver<Step> {
    let (say, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if step(&event).is_some_and(|step| say.blocking_send(step).is_err()) {
                return;
            }
        }
    });
    keys
}

fn step(event: &Event) -> Option<Step> {
    let Event::Key(key) = event else {
        // A window of another size is drawn again.
        return matches!(event, Event::Resize(..)).then_some(Step::Nothing);
    };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    Some(match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Step::End,
        KeyCode::Char('q') | KeyCode::Esc => Step::End,
        KeyCode::Char('1') => Step::Tab(0),
        KeyCode::Char('2') => Step::Tab(1),
        KeyCode::Char('3') => Step::Tab(2),
        KeyCode::Tab | KeyCode::Right => Step::Next,
        KeyCode::BackTab | KeyCode::Left => Step::Back,
        KeyCode::Down | KeyCode::Char('j') => Step::Down,
        KeyCode::Up | KeyCode::Char('k') => Step::Up,
        KeyCode::Char('p') => Step::Pause,
        _ => return None,
    })
}

//! How far `migrate apply` is: a bar on a terminal, a line for each migration elsewhere.

use std::time::Duration;

use db_platform::migrations::Step;
use indicatif::{ProgressBar, ProgressStyle};

pub(crate) struct Progress {
    bar: ProgressBar,
    next: std::vec::IntoIter<String>,
}

impl Progress {
    /// The progress over these migrations, in order.
    pub(crate) fn of(names: Vec<String>) -> Self {
        // indicatif draws on standard error, and only on a terminal.
        let bar = ProgressBar::new(names.len() as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let mut progress = Progress { bar, next: names.into_iter() };
        progress.show_next();
        progress
    }

    /// A migration is done.
    pub(crate) fn done(&mut self, step: &Step) {
        self.bar.suspend(|| Progress::tell(step));
        self.bar.inc(1);
        self.show_next();
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Says what was done, on standard error.
    pub(crate) fn tell(step: &Step) {
        let verb = if step.undone { "undone " } else { "applied" };
        eprintln!("{verb}  {}  {:.0?}", step.version.with_name(&step.name), step.elapsed);
    }

    fn show_next(&mut self) {
        self.bar.set_message(self.next.next().unwrap_or_default());
    }
}

//! How far a backup or a restore is: a bar with rate and time left on a terminal, a line now and then
//! elsewhere.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use db_platform::backup::Progress;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Where there is no terminal, a line comes this often.
const LINE_EVERY: Duration = Duration::from_secs(30);

pub(crate) struct Transfer {
    bar: ProgressBar,
    on_terminal: bool,
    said: Mutex<Said>,
}

struct Said {
    stage: &'static str,
    began: Instant,
    last: Instant,
    warnings: Vec<String>,
}

impl Transfer {
    pub(crate) fn begin() -> Arc<Self> {
        let on_terminal = std::io::stderr().is_terminal();
        let bar = if on_terminal { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        bar.enable_steady_tick(Duration::from_millis(200));
        let now = Instant::now();
        let said = Mutex::new(Said { stage: "", began: now, last: now, warnings: Vec::new() });
        Arc::new(Transfer { bar, on_terminal, said })
    }

    /// What the library tells.
    pub(crate) fn observer(self: &Arc<Self>) -> impl Fn(Progress) + Send + Sync + use<> {
        let transfer = Arc::clone(self);
        move |progress| transfer.on(progress)
    }

    /// Takes in what the library tells. It does not block.
    fn on(&self, progress: Progress) {
        match progress {
            Progress::Stage(stage) => self.stage(stage),
            Progress::Bytes { done, total } => self.bytes(done, total),
            Progress::Warning(text) => {
                self.bar.suspend(|| eprintln!("warning: {text}"));
                self.said().warnings.push(text);
            }
            _ => {}
        }
    }

    fn stage(&self, stage: &'static str) {
        {
            let mut said = self.said();
            let now = Instant::now();
            (said.stage, said.began, said.last) = (stage, now, now);
        }
        self.bar.set_message(stage);
        if !self.on_terminal {
            eprintln!("{stage}");
        }
    }

    fn bytes(&self, done: u64, total: Option<u64>) {
        if self.bar.length() != total {
            let template = match total {
                Some(_) => "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} left",
                None => "{msg} {bytes} {bytes_per_sec} {elapsed}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style);
            }
            match total {
                Some(total) => self.bar.set_length(total),
                None => self.bar.unset_length(),
            }
        }
        self.bar.set_position(done);
        let mut said = self.said();
        if self.on_terminal || said.last.elapsed() < LINE_EVERY {
            return;
        }
        said.last = Instant::now();
        eprintln!("{}", line(said.stage, done, total, said.began.elapsed()));
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `restoring files: 1.00 GiB of 4.00 GiB, 100.00 MiB/s, 31 s left`.
fn line(stage: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = done as f64 / seconds;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is positive")]
    let shown = HumanBytes(rate as u64);
    match total.filter(|total| *total > 0) {
        None => format!("{stage}: {}, {shown}/s", HumanBytes(done)),
        Some(total) => {
            #[expect(clippy::cast_precision_loss, reason = "a time for people")]
            let left = total.saturating_sub(done) as f64 / rate.max(1.0);
            format!("{stage}: {} of {}, {shown}/s, {left:.0} s left", HumanBytes(done), HumanBytes(total))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_rate_and_time_left() {
        let gib = 1 << 30;
        let said = line("restoring files", gib, Some(4 * gib), Duration::from_secs(10));
        assert_eq!(said, "restoring files: 1.00 GiB of 4.00 GiB, 102.40 MiB/s, 30 s left");
        assert_eq!(line("x", 1024, None, Duration::from_secs(1)), "x: 1.00 KiB, 1.00 KiB/s");
        // At the first byte nothing overflows.
        line("x", 0, Some(u64::MAX), Duration::ZERO);
    }
}

//! The command line of `dbctl maintain`.

use std::time::Duration;

use chrono::NaiveTime;
use clap::{Args, Subcommand};

use crate::backup_args::duration;
use crate::compact_args::Compact;

#[derive(Subcommand)]
pub(crate) enum Maintain {
    /// What is due, and why: vacuum, analyze, bloat, indexes that are invalid, materialized views.
    /// Changes nothing.
    ///
    /// Tables where autovacuum is late by twice its own thresholds, transaction ids near a forced vacuum,
    /// indexes that an interrupted build left, tables and indexes of 8 MB or more that are 40 % bloat, and
    /// materialized views whose tables were written to. What is left alone is said as well. Exit status 3
    /// where something is due.
    Plan(Kept),
    /// Do it, one task after another, within a budget.
    ///
    /// Nothing that it does blocks readers or writers. Of several maintainers one works. Exit status 1 where
    /// a task failed, 3 where the budget had no room for all, 5 where another maintainer is at work. Outside
    /// the window nothing is done.
    Apply(Apply),
    /// Make a bloated table small beside the application: rows of its end move to free room at its front.
    ///
    /// On PostgreSQL 19 and later the server does it, by REPACK (CONCURRENTLY). That needs room for a second
    /// copy and a primary key, and is refused while a session has an old snapshot, which would see the table
    /// empty. With --move-rows, and on older servers, rows move by updates that change nothing: that is
    /// refused where somebody would see them, such as triggers, rules and publications. Ctrl-C ends it behind
    /// the transaction under way, with status 130; another run goes on, as after kill -9. Exit status 3 where
    /// the table did not become small. Indexes grow where rows move: REINDEX CONCURRENTLY them.
    ///
    /// Example: dbctl maintain compact public.orders --plan
    Compact(Compact),
}

#[derive(Args)]
pub(crate) struct Kept {
    /// A role whose functions may run here, where a superuser keeps tables of that role's; can be given
    /// several times.
    #[arg(long, value_name = "ROLE")]
    pub(crate) trust: Vec<String>,
    /// Try again what failed before for a reason that lasts.
    #[arg(long)]
    pub(crate) retry_failed: bool,
    /// Make bloated tables and indexes small although there are standbys: readers there of what is replaced
    /// are cancelled after max_standby_streaming_delay.
    #[arg(long)]
    pub(crate) cancel_standby_readers: bool,
    /// Compact tables by moving rows, also where the server has REPACK (CONCURRENTLY).
    #[arg(long)]
    pub(crate) move_rows: bool,
}

#[derive(Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) kept: Kept,
    /// No task is begun after this long, and one that is at work then is cancelled.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    pub(crate) budget: Duration,
    /// Only at these times of the day, in UTC, as in 01:00-05:00; the budget ends with it.
    #[arg(long, value_name = "FROM-TO", value_parser = window)]
    pub(crate) window: Option<Window>,
}

/// Times of the day; one that ends before it begins goes over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    from: NaiveTime,
    to: NaiveTime,
}

impl Window {
    /// How long it is open from `now` on; none where it is closed.
    pub(crate) fn left(self, now: NaiveTime) -> Option<Duration> {
        let is_open = match self.from <= self.to {
            true => self.from <= now && now < self.to,
            false => now >= self.from || now < self.to,
        };
        let left = (self.to - now).num_seconds().rem_euclid(86_400);
        is_open.then(|| Duration::from_secs(left.unsigned_abs()))
    }
}

fn window(text: &str) -> Result<Window, String> {
    let wrong = || "write two times of the day, as in 01:00-05:00".to_owned();
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let time = |text: &str| NaiveTime::parse_from_str(text.trim(), "%H:%M").map_err(|_| wrong());
    let (from, to) = (time(from)?, time(to)?);
    if from == to { Err(wrong()) } else { Ok(Window { from, to }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_over_midnight() {
        let left = |text: &str, now: &str| {
            let now = NaiveTime::parse_from_str(now, "%H:%M").unwrap();
            window(text).unwrap().left(now).map(|left| left.as_secs() / 60)
        };
        assert_eq!(left("01:00-05:00", "04:30"), Some(30));
        assert_eq!((left("01:00-05:00", "05:00"), left("01:00-05:00", "00:59")), (None, None));
        assert_eq!((left("22:00-02:00", "23:00"), left("22:00-02:00", "01:00")), (Some(180), Some(60)));
        assert_eq!(left("22:00-02:00", "12:00"), None);
        assert!(window("5-6").is_err() && window("01:00-01:00").is_err());
    }
}

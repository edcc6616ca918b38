//! The command line of `dbctl backfill`.

use std::time::Duration;

use clap::Subcommand;
use db_platform::migrations::backfill::{Backfill as Definition, BackfillConfig, Fill};

#[derive(Subcommand)]
pub(crate) enum Backfill {
    /// Print what `apply` would do: the key, the size, the triggers that fire, the statement; changes
    /// nothing.
    Plan(What),
    /// Fill the columns in batches, from where an earlier run was cut off if one was.
    ///
    /// Rows that come while it runs are the application's: it must fill the columns itself before this
    /// begins. Ctrl-C ends it behind the batch under way, with status 130; the same command goes on from
    /// there, as after kill -9. Exit status 3 where rows could not be filled: they are counted, with the
    /// reason.
    ///
    /// Example: dbctl backfill apply users --set 'email_lower = lower(email)'
    Apply(What),
    /// Print the backfills of this database, and how far they came.
    Status,
    /// Forget how far a backfill came: its next run begins at the first row.
    Forget {
        /// Its name, as `status` prints it.
        name: String,
    },
}

#[derive(clap::Args)]
pub(crate) struct What {
    /// The table, with its schema where search_path does not lead to it.
    table: String,
    /// A column and the SQL expression that it gets; may be given several times. The row is called t.
    #[arg(long, value_name = "COLUMN = EXPRESSION", required = true, value_parser = fill)]
    set: Vec<Fill>,
    /// Fill only rows for which this SQL condition holds, in place of those where a column is NULL.
    #[arg(long = "where", value_name = "CONDITION")]
    condition: Option<String>,
    /// Keep its progress under this name, in place of TABLE.COLUMN.
    #[arg(long)]
    name: Option<String>,
    /// How long a batch should take where nobody else works. Beside an application it takes a tenth of that:
    /// it waits so long for a row of it.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    batch_ms: u32,
    /// The most rows of a batch.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..))]
    max_rows: u32,
    /// Wait while a standby is further behind than so many seconds, or never look.
    #[arg(long, value_name = "SECONDS|never", default_value = "5", value_parser = seconds)]
    max_lag: Limit,
    /// Pause while probes take so many times longer than before it began, or never look.
    #[arg(long, value_name = "TIMES|never", default_value = "1.5", value_parser = times)]
    max_slowdown: Slowdown,
    /// The read that is timed, in place of one row of the table by its key.
    #[arg(long, value_name = "SQL")]
    probe: Option<String>,
    /// Stop after so many rows that the server refuses to write.
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    max_failed: u32,
}

/// A bound, or none.
#[derive(Clone)]
struct Limit(Option<Duration>);

/// A factor, or none.
#[derive(Clone)]
struct Slowdown(Option<f64>);

impl What {
    pub(crate) fn definition(&self) -> Definition {
        let mut definition = Definition::new(&self.table, self.set.clone());
        if let Some(condition) = &self.condition {
            definition = definition.only(condition);
        }
        match &self.name {
            Some(name) => definition.named(name),
            None => definition,
        }
    }

    pub(crate) fn config(&self, ledger_schema: Option<String>) -> BackfillConfig {
        let mut config = BackfillConfig { ledger_schema, ..BackfillConfig::default() };
        config.throttle.batch = Duration::from_millis(u64::from(self.batch_ms));
        config.throttle.max_rows = self.max_rows;
        config.throttle.min_rows = config.throttle.min_rows.min(self.max_rows);
        config.throttle.max_lag = self.max_lag.0;
        config.throttle.max_slowdown = self.max_slowdown.0;
        config.probe.clone_from(&self.probe);
        config.max_failed = self.max_failed;
        config
    }
}

fn fill(text: &str) -> Result<Fill, String> {
    Fill::parse(text)
        .ok_or_else(|| "write COLUMN = EXPRESSION, as in 'email_lower = lower(email)'".to_owned())
}

fn seconds(text: &str) -> Result<Limit, String> {
    if text == "never" {
        return Ok(Limit(None));
    }
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.map(|seconds| Limit(Some(seconds))).ok_or_else(|| "write seconds, as in 5, or never".to_owned())
}

fn times(text: &str) -> Result<Slowdown, String> {
    if text == "never" {
        return Ok(Slowdown(None));
    }
    let times = text.parse::<f64>().ok().filter(|times| times.is_finite() && *times >= 1.0);
    times.map(|times| Slowdown(Some(times))).ok_or_else(|| "write a factor from 1 on, or never".to_owned())
}

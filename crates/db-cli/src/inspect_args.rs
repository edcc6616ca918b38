//! The command line of what looks at a server: check, locks, slow, bloat, and the setup for them.

use std::time::Duration;

use clap::{Subcommand, ValueEnum};

/// What makes `dbctl check` end with exit status 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// A warning or worse.
    Warn,
    /// Something critical.
    Critical,
    /// Nothing.
    Never,
}

#[derive(clap::Args)]
pub(crate) struct CheckServer {
    /// End with exit status 3 where a check finds this or worse. What was skipped is neither.
    #[arg(long, value_enum, default_value = "critical")]
    pub(crate) fail_on: FailOn,
    /// Only these checks, by name, with commas between.
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Not these checks.
    #[arg(long, value_name = "CHECKS", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
    /// Look twice, so far apart, and judge what was counted in between: deadlocks, spills, cache hits,
    /// rollbacks. Without it those checks are skipped. At least 5s, as in 30s or 5m.
    #[arg(long, value_name = "DURATION", value_parser = window)]
    pub(crate) window: Option<Duration>,
    /// How many cores the server has, which it does not tell: for the check of its load.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cores: Option<u32>,
    /// Print also what is well, and in full what was skipped.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(clap::Args)]
pub(crate) struct Slow {
    /// So many statements.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub(crate) limit: usize,
    /// Also those that only look at the server's own catalogs, as this program and others that watch do.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(clap::Args)]
pub(crate) struct Bloat {
    /// Only relations of which at least so much is bloat, in percent.
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) at_least: f64,
}

#[derive(Subcommand)]
pub(crate) enum Monitor {
    /// Make the server ready to be watched: a role that sees what it needs and no more, pg_stat_statements,
    /// and the views dbp.slow_queries, dbp.get_slow_queries(ms) and dbp.get_connection_stats().
    ///
    /// The plan says what would be done, what a person has to decide, and which of the server's settings
    /// would write secrets into its log: it changes those only with --log. What --apply did, --undo takes
    /// back, and nothing else.
    Setup(Setup),
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SetupStep {
    /// Say what would be done; changes nothing.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Do it.
    #[arg(long)]
    pub(crate) apply: bool,
    /// Take back what --apply did: the server is then as it was.
    #[arg(long)]
    pub(crate) undo: bool,
}

#[derive(clap::Args)]
pub(crate) struct Setup {
    #[command(flatten)]
    pub(crate) step: SetupStep,
    /// The role that watches. It is made if it is not there, without a password and without the right to log
    /// in: give it both, or grant it to the role that your service has.
    #[arg(long, default_value = "db_platform_monitor", value_name = "ROLE")]
    pub(crate) role: String,
    /// What the server is to log besides. Left out, its settings stay as they are.
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "undo")]
    pub(crate) log: Option<Log>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Log {
    /// Checkpoints, connections, long autovacuums, and whose each line is: no values.
    Events,
    /// Slow statements and waits for locks as well: with the constants that stand in them.
    Slow,
    /// Each statement that changes something as well: with constants, and with the password of an ALTER ROLE.
    Changes,
}

fn window(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number and a unit, as in 30s or 5m".to_owned())?;
    let seconds = match unit {
        "s" => Some(number),
        "m" | "min" => number.checked_mul(60),
        "h" => number.checked_mul(3_600),
        _ => return Err("write a number and a unit, as in 30s or 5m".to_owned()),
    };
    match seconds {
        Some(seconds @ 5..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => Err("from 5s to 24h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_a_unit_and_bounds() {
        assert_eq!(window("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(window("5m"), Ok(Duration::from_secs(300)));
        for wrong in ["", "5", "1s", "s", "99999999999999999999s", "18446744073709551615h", "2d"] {
            assert!(window(wrong).is_err(), "{wrong}");
        }
    }
}

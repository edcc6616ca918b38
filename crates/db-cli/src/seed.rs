//! `dbctl seed`.

use std::process::ExitCode;

use db_platform::seeds::{Progress, SeedOptions, Seeds};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::{Options, Seed};
use crate::connect;
use crate::consent;
use crate::error::CliError;

pub(crate) async fn run(options: Seed, general: &Options) -> Result<ExitCode, CliError> {
    let seeds = Seeds::open(&options.dir, &options.name)?;
    let config = connect::config(general)?;
    let environment = match options.plan {
        true => config.named_environment,
        false => Some(consent::environment(&config, "fills the database with invented rows").await?),
    };
    let mut client = connect::connect_for_copy(&config).await?;
    let ledger_schema = config.ledger_schema.clone();
    let settings = SeedOptions { scale: options.scale, seed: options.seed, environment, ledger_schema };
    let plan = seeds.plan(&client, &settings).await?;
    if options.plan {
        if general.json {
            let tables = plan.tables.iter().map(|table| json!({ "table": table.table, "rows": table.rows }));
            println!(
                "{}",
                json!({ "name": plan.name, "rows": plan.rows(), "tables": tables.collect::<Vec<_>>() })
            );
        } else {
            println!("{plan}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let bar = progress_bar(plan.rows());
    let mut before = Before::default();
    let applied = seeds.apply(&mut client, &plan, |progress| before.advance(&bar, &progress)).await;
    bar.finish_and_clear();
    let applied = applied?;
    let seconds = applied.took.as_secs_f64();
    if general.json {
        println!("{}", json!({ "rows": applied.rows, "already": applied.already, "seconds": seconds }));
    } else if applied.already {
        println!("{} is already loaded", plan.name);
    } else {
        println!("{} rows in {seconds:.1} s", applied.rows);
    }
    Ok(ExitCode::SUCCESS)
}

/// Rows of the tables that are done, so that one bar serves all tables.
#[derive(Default)]
struct Before {
    table: String,
    rows: u64,
    in_table: u64,
}

impl Before {
    fn advance(&mut self, bar: &ProgressBar, progress: &Progress<'_>) {
        if self.table != progress.table {
            self.rows += self.in_table;
            progress.table.clone_into(&mut self.table);
            bar.set_message(self.table.clone());
        }
        self.in_table = progress.rows_done;
        bar.set_position(self.rows + self.in_table);
    }
}

/// A bar on standard error; indicatif draws it on a terminal only.
fn progress_bar(rows: u64) -> ProgressBar {
    let bar = ProgressBar::new(rows);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:30} {percent:>3} % {human_pos} rows, {eta} left, {msg}")
    {
        bar.set_style(style);
    }
    bar
}

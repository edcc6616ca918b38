//! `dbctl seed`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use db_platform::seeds::{
    Dumped, GenerateOptions, Generator, Masks, Plan, Progress, SeedOptions, Seeds, Status, Subset, dump,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::FOUND;
use crate::args::Options;
use crate::connect;
use crate::consent;
use crate::error::CliError;
use crate::seed_args::{self as arguments, Apply, Dump, Generate, Seed, SeedCommand};

/// What both ways of seeding do to the data.
const FILLS: &str = "fills the database with invented rows";

pub(crate) async fn run(seed: Seed, general: &Options) -> Result<ExitCode, CliError> {
    match (seed.command, seed.apply) {
        (Some(SeedCommand::Generate(options)), _) => generate(options, general).await,
        (Some(SeedCommand::Apply(options)), _) | (None, Some(options)) => apply(options, general).await,
        (Some(SeedCommand::Subset(options)), _) => subset(options, general).await,
        (Some(SeedCommand::Dump(options)), _) => write_dump(&options, general).await,
        (None, None) => Err(CliError::Usage("name a set of seeds, or `dbctl seed generate`")),
    }
}

async fn generate(options: Generate, general: &Options) -> Result<ExitCode, CliError> {
    let config = connect::config(general)?;
    let environment = match options.plan {
        true => config.named_environment,
        false => Some(consent::environment(&config, FILLS).await?),
    };
    let mut client = connect::connect_for_copy(&config).await?;
    let anchor = options.anchor.map(|day| day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros());
    let schemas = options.schema;
    let generator = Generator::new(GenerateOptions {
        rows: options.rows.into_iter().collect(),
        default_rows: options.default_rows,
        scale: options.scale,
        seed: options.seed,
        schemas: schemas.clone(),
        anchor,
        environment,
        ledger_schema: config.ledger_schema.clone(),
    });
    let plan = generator.plan(&mut client).await?;
    if options.plan {
        print_plan(&plan, general);
        return Ok(ExitCode::SUCCESS);
    }
    let bar = progress_bar(plan.rows());
    let mut before = Before::default();
    let made = generator.apply(&mut client, &plan, |progress| before.advance(&bar, &progress)).await;
    bar.finish_and_clear();
    let made = made?;
    if let Some(dir) = &options.dump {
        dump(&mut client, dir, &schemas).await?;
    }
    let seconds = made.took.as_secs_f64();
    let short = || made.tables.iter().filter(|table| table.rows < table.wanted);
    if general.json {
        let tables = made.tables.iter().map(|table| {
            json!({ "table": table.table, "wanted": table.wanted, "rows": table.rows, "short": table.short })
        });
        let tables: Vec<_> = tables.collect();
        println!(
            "{}",
            json!({ "rows": made.rows(), "already": made.already, "seconds": seconds, "tables": tables })
        );
    } else if made.already {
        println!("these rows are there already");
    } else {
        for table in short() {
            println!("{table}");
        }
        println!("{} rows in {} tables in {seconds:.1} s", made.rows(), made.tables.len());
    }
    // A table that has room for fewer rows is full; one without a row is a table that was not understood.
    let empty = short().any(|table| table.rows == 0);
    Ok(if empty { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

async fn subset(options: arguments::Subset, general: &Options) -> Result<ExitCode, CliError> {
    let config = connect::config(general)?;
    let mut client = connect::connect_for_copy(&config).await?;
    if let Some(file) = &options.write_masks {
        let proposed = Masks::proposed(&mut client).await?;
        let unwritable = |source| CliError::File { path: file.clone(), source };
        let mut new = std::fs::File::create_new(file).map_err(unwritable)?;
        new.write_all(proposed.as_bytes()).map_err(unwritable)?;
        println!("{}: look at each mask, above all at those that keep", file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let file = options.mask.ok_or(CliError::Usage("name the file of masks with --mask"))?;
    let key = options.mask_key.ok_or(CliError::Usage(
        "SEED_MASK_KEY is not set: masks are made with it, so that nobody finds a value by trying; any 8 bytes or more",
    ))?;
    let text =
        std::fs::read_to_string(&file).map_err(|source| CliError::File { path: file.clone(), source })?;
    let masks = Masks::parse(&file, &text, key.as_bytes())?;
    let subset = Subset { roots: options.root, masks, children: !options.no_children };
    let dumped = subset.write(&mut client, &options.into).await?;
    print_dumped(&dumped, &options.into, general);
    Ok(ExitCode::SUCCESS)
}

async fn write_dump(options: &Dump, general: &Options) -> Result<ExitCode, CliError> {
    let config = connect::config(general)?;
    let mut client = connect::connect_for_copy(&config).await?;
    let dumped = dump(&mut client, &options.into, &options.schema).await?;
    print_dumped(&dumped, &options.into, general);
    Ok(ExitCode::SUCCESS)
}

fn print_dumped(dumped: &Dumped, into: &Path, general: &Options) {
    if general.json {
        let files: Vec<_> = dumped.files.iter().map(|file| file.display().to_string()).collect();
        println!("{}", json!({ "rows": dumped.rows, "files": files, "left_out": dumped.left_out }));
    } else {
        println!("{} rows in {} files below {}", dumped.rows, dumped.files.len(), into.display());
    }
    for table in &dumped.left_out {
        eprintln!("left out: {table}");
    }
}

fn print_plan(plan: &Plan, general: &Options) {
    if !general.json {
        println!("{plan}");
        return;
    }
    let tables = plan.tables.iter().map(|table| json!({ "table": table.table, "rows": table.rows }));
    let (tables, already) =
        (tables.collect::<Vec<_>>(), matches!(plan.status, Status::AlreadyApplied { .. }));
    println!("{}", json!({ "name": plan.name, "rows": plan.rows(), "already": already, "tables": tables }));
}

async fn apply(options: Apply, general: &Options) -> Result<ExitCode, CliError> {
    let seeds = Seeds::open(&options.dir, &options.name)?;
    let config = connect::config(general)?;
    let environment = match options.plan {
        true => config.named_environment,
        false => Some(consent::environment(&config, FILLS).await?),
    };
    let mut client = connect::connect_for_copy(&config).await?;
    let ledger_schema = config.ledger_schema.clone();
    let settings = SeedOptions { scale: options.scale, seed: options.seed, environment, ledger_schema };
    let plan = seeds.plan(&client, &settings).await?;
    if options.plan {
        print_plan(&plan, general);
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

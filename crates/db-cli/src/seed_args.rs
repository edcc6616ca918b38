//! The command line of `dbctl seed`.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Seed {
    #[command(subcommand)]
    pub(crate) command: Option<SeedCommand>,
    #[command(flatten)]
    pub(crate) apply: Option<Apply>,
}

#[derive(Subcommand)]
pub(crate) enum SeedCommand {
    /// Load a set of seeds: files of rows and of rules for rows.
    Apply(Apply),
    /// Make rows for every table of a schema that nobody described.
    ///
    /// Types, keys, references, checks, exclusions and partitions are read from the catalog, and rows are
    /// made that keep to them; the server has the last word. All is one transaction. The same number and the
    /// same schema make the same rows. A table that cannot be filled is named with the reason, and ends the
    /// command with status 3.
    ///
    /// Example: dbctl seed generate --rows users=1000 --rows orders=5000
    Generate(Generate),
    /// Write a part of a database, closed under its references, with masks on the values of people.
    ///
    /// From the rows of the roots, the rows that refer to them are followed down, and from all of these the
    /// rows that they refer to are followed up. MASKS says for each table and column what becomes of it; a
    /// column that it does not name ends the command, so that no new column is taken along unseen. Copies of
    /// masked values in other columns, texts and documents are replaced too. SEED_MASK_KEY is the secret of
    /// the masks: the same key masks a value alike in every run.
    ///
    /// Masks: keep, null, email, name, given_name, family_name, format, text, hash, uuid, number, date, json,
    /// or { fixed = "value" }. Write a first file with --write-masks, which proposes one for each column.
    ///
    /// Example: dbctl seed subset --root 'orders WHERE id < 100' --mask masks.toml --into seeds/sample
    Subset(Subset),
    /// Write the rows of a database into a directory, as a set that `dbctl seed apply` loads.
    ///
    /// Values are written as they are, those of real people too.
    Dump(Dump),
}

#[derive(clap::Args)]
pub(crate) struct Subset {
    /// A table with a condition in SQL, as in 'orders WHERE id < 100'; may be given several times.
    #[arg(long, value_name = "TABLE WHERE CONDITION", required_unless_present = "write_masks")]
    pub(crate) root: Vec<String>,
    /// The file of masks.
    #[arg(long, value_name = "MASKS", value_hint = ValueHint::FilePath, required_unless_present = "write_masks")]
    pub(crate) mask: Option<PathBuf>,
    /// The directory to write: empty, or not there yet.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, default_value = "seeds/subset")]
    pub(crate) into: PathBuf,
    /// Do not take the rows that refer to the roots' rows.
    #[arg(long)]
    pub(crate) no_children: bool,
    /// The secret of the masks, at least 8 bytes.
    #[arg(long, env = "SEED_MASK_KEY", hide_env_values = true, hide = true)]
    pub(crate) mask_key: Option<String>,
    /// Write a first file of masks for all tables of the database, and nothing else.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) write_masks: Option<PathBuf>,
}

#[derive(clap::Args)]
pub(crate) struct Dump {
    /// The directory: empty, or not there yet.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) into: PathBuf,
    /// Write the tables of this schema alone; may be given several times.
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) schema: Vec<String>,
}

#[derive(clap::Args)]
pub(crate) struct Apply {
    /// The set: a directory below DIR, such as dev, test or staging.
    pub(crate) name: String,
    /// The directory of all sets.
    #[arg(long, default_value = "seeds", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dir: PathBuf,
    /// Generate this many times the set's rows.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Generate from this number in place of the set's own.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Print what would be loaded; changes nothing.
    #[arg(long)]
    pub(crate) plan: bool,
}

#[derive(clap::Args)]
pub(crate) struct Generate {
    /// The rows of a table; may be given several times, or with commas. 0 leaves a table empty.
    #[arg(long, value_name = "TABLE=ROWS", value_delimiter = ',', value_parser = rows_of_table)]
    pub(crate) rows: Vec<(String, u64)>,
    /// The rows of every other table.
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    pub(crate) default_rows: u64,
    /// Multiply all numbers of rows.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// The number that all values follow from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The day that times count from, for the same rows on another day. Default: today, as the server has it.
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) anchor: Option<chrono::NaiveDate>,
    /// Fill this schema alone; may be given several times. Default: all schemas of the database.
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) schema: Vec<String>,
    /// Write what was made into this directory, as a set that `dbctl seed apply` loads.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) dump: Option<PathBuf>,
    /// Print which tables would be filled, in which order; changes nothing.
    #[arg(long)]
    pub(crate) plan: bool,
}

fn rows_of_table(text: &str) -> Result<(String, u64), String> {
    let (table, rows) = text.rsplit_once('=').ok_or("write TABLE=ROWS, such as users=1000")?;
    let rows = rows.trim().replace('_', "").parse();
    Ok((table.trim().to_owned(), rows.map_err(|_| format!("{text}: the rows are a whole number"))?))
}

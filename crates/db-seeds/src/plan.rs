//! Compares a seed set with a database, and says what loading it would do. Reads only.

use std::fmt;

use db_core::Environment;
use tokio_postgres::Client;

use crate::error::{Error, Place, Refusal, Result};
use crate::ledger::{Standing, quoted};
use crate::model::Model;
use crate::source::{Content, SeedFile, Seeds};

/// How a set is to be loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct SeedOptions {
    /// Multiplies the rows of generated tables that say `scaled = true`.
    ///
    /// CSV files are loaded whole at any scale.
    pub scale: f64,
    /// The number that all generated values follow from. Default: the one in the set's `seed.toml`.
    pub seed: Option<u64>,
    /// Where the program runs, as a setting or a person named it. Production is refused, and nothing
    /// overrides that; with none a set can be planned and not loaded, because nobody said that the database
    /// may be filled with invented rows.
    pub environment: Option<Environment>,
    /// The schema of the table `db_seeds`. None: the one that has it, and `public` for a new one.
    ///
    /// Name it where several schemas of a database are seeded by themselves.
    pub ledger_schema: Option<String>,
}

impl Default for SeedOptions {
    fn default() -> Self {
        SeedOptions { scale: 1.0, seed: None, environment: None, ledger_schema: None }
    }
}

/// What loading a set would do. Print it, or hand it to [`Seeds::apply`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The set.
    pub name: String,
    /// The SHA-256 of the set's files.
    pub checksum: String,
    /// The seed number in effect; 0 where the set generates nothing.
    pub seed: u64,
    /// The scale in effect; 1 where the set generates nothing.
    pub scale: f64,
    /// The tables, in the order in which they are loaded.
    pub tables: Vec<TablePlan>,
    /// Where the program runs; with none the plan cannot be applied.
    pub environment: Option<Environment>,
    /// The schema of the table `db_seeds`, where one was named.
    pub ledger_schema: Option<String>,
    /// Whether there is anything to do.
    pub status: Status,
}

/// The part of a [`Plan`] that fills one table.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TablePlan {
    /// The table.
    pub table: String,
    /// How many rows the set has for it.
    pub rows: u64,
}

/// What applying a [`Plan`] will come to.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Status {
    /// All tables will be loaded.
    Load,
    /// Exactly this set is in the database: applying does nothing.
    AlreadyApplied {
        /// When it was loaded, as the server prints it.
        applied_at: String,
    },
    /// Applying will fail.
    Refused(Refusal),
}

impl Plan {
    /// The rows of all tables together.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }

    pub(crate) fn guard_environment(name: &str, environment: Option<Environment>) -> Result<()> {
        match environment {
            Some(Environment::Production) => Err(Error::Production { name: name.to_owned() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed set {}, seed {}, scale {}: ", self.name, self.seed, self.scale)?;
        match &self.status {
            Status::Load => writeln!(f, "{} rows to load", self.rows())?,
            Status::AlreadyApplied { applied_at } => {
                writeln!(f, "nothing to do, {} rows were loaded at {applied_at}", self.rows())?;
            }
            Status::Refused(refusal) => writeln!(f, "refused, {refusal}")?,
        }
        let width = self.tables.iter().map(|table| table.table.len()).max().unwrap_or_default();
        for TablePlan { table, rows } in &self.tables {
            writeln!(f, "  {table:width$}  {rows:>9}")?;
        }
        Ok(())
    }
}

impl Seeds {
    /// Says what [`Seeds::apply`] would do to this database. Reads only.
    ///
    /// That a set is there in another version, or that a table is missing, is part of the plan and no error.
    pub async fn plan(&self, client: &Client, options: &SeedOptions) -> Result<Plan> {
        let mut plan = self.plan_offline(options)?;
        plan.status = match plan.standing(client).await? {
            Standing::Same { applied_at } => Status::AlreadyApplied { applied_at },
            Standing::Other(refusal) => Status::Refused(refusal),
            Standing::New => match self.check_tables(client).await? {
                Some(refusal) => Status::Refused(refusal),
                None => Status::Load,
            },
        };
        Ok(plan)
    }

    /// The plan for an empty database.
    pub(crate) fn plan_offline(&self, options: &SeedOptions) -> Result<Plan> {
        Plan::guard_environment(&self.name, options.environment)?;
        // A set of CSV files is the same whatever the seed and the scale.
        let (seed, scale) = match self.generated.is_empty() {
            true => (0, 1.0),
            false => (options.seed.unwrap_or(self.default_seed), options.scale),
        };
        if !(scale > 0.0 && scale <= 1000.0) {
            return Err(Error::Scale(scale));
        }
        let model = Model::new(&self.generated, seed, scale)?;
        let tables = self.files.iter().map(|file| {
            let rows = match &file.content {
                Content::Csv(csv) => csv.rows,
                Content::Generated(table) => model.rows(*table),
            };
            TablePlan { table: file.table.clone(), rows }
        });
        Ok(Plan {
            name: self.name.clone(),
            checksum: self.checksum.clone(),
            seed,
            scale,
            tables: tables.collect(),
            environment: options.environment,
            ledger_schema: options.ledger_schema.clone(),
            status: Status::Load,
        })
    }

    async fn check_tables(&self, client: &Client) -> Result<Option<Refusal>> {
        let query = "SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a
            WHERE a.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1::pg_catalog.text)
            AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped";
        for file in &self.files {
            let rows = client
                .query(query, &[&quoted(&file.table)])
                .await
                .map_err(Error::database("reading the catalog"))?;
            let (place, table) = (Place::file(&file.file), file.table.clone());
            if rows.is_empty() {
                return Ok(Some(Refusal::MissingTable { place, table }));
            }
            let known: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            let columns = self.columns(file);
            if let Some(missing) = columns.iter().find(|column| !known.iter().any(|known| known == *column)) {
                return Ok(Some(Refusal::MissingColumn { place: place.column(missing), table }));
            }
        }
        Ok(None)
    }

    /// The columns that a file fills, in its order.
    pub(crate) fn columns<'a>(&'a self, file: &'a SeedFile) -> Vec<&'a str> {
        match &file.content {
            Content::Csv(csv) => csv.columns.iter().map(String::as_str).collect(),
            Content::Generated(table) => {
                let loaded = self.generated[*table].columns.iter().filter(|column| !column.hidden());
                loaded.map(|column| column.name.as_str()).collect()
            }
        }
    }
}

//! Fills a schema that nobody described: the catalog says what a row of each table must be.
//!
//! Values are made from types, names and conditions, references from the keys that are there. The server has
//! the last word: where it refuses a row, the row is left out and another one is made.

mod apart;
pub(crate) mod bounds;
mod call;
pub(crate) mod catalog;
pub(crate) mod cell;
mod choice;
mod circle;
pub(crate) mod column_type;
mod computed;
mod document;
pub(crate) mod dump;
pub(crate) mod expression;
mod fill;
mod fill_circle;
mod filled;
mod flat;
mod implied;
mod instant;
mod list;
mod network;
pub(crate) mod order;
mod parents;
mod parser;
pub(crate) mod path;
mod pattern;
pub(crate) mod repair;
mod rows;
mod stage;
mod target_call;
mod target_match;
mod target_value;
mod token;
pub(crate) mod worth;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use db_core::Environment;
use sha2::{Digest as _, Sha256};
use tokio_postgres::{Client, IsolationLevel, Transaction};

use self::catalog::{Catalog, is_named};
pub use self::dump::{Dumped, dump};
use self::fill::Fill;
pub use self::filled::Filled;
use self::order::Order;
use self::path::{own_path, restore_path};
use crate::apply::Progress;
use crate::error::{Error, Result};
use crate::ledger::{self, Ledger, Standing};
use crate::plan::{Plan, Status, TablePlan};

/// The name under which generated rows stand in the ledger.
const NAME: &str = "generated";

/// How a schema is filled.
///
/// ```
/// use db_seeds::{GenerateOptions, Generator};
///
/// let mut options = GenerateOptions { default_rows: 50, ..GenerateOptions::default() };
/// options.rows.insert("users".to_owned(), 1_000);
/// let generator = Generator::new(options);
/// # _ = generator;
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateOptions {
    /// The rows of single tables: `users`, or `billing.invoices` where several schemas have such a table. 0
    /// leaves a table empty.
    pub rows: BTreeMap<String, u64>,
    /// The rows of every other table.
    pub default_rows: u64,
    /// Multiplies all numbers of rows.
    pub scale: f64,
    /// The number that all values follow from: the same number makes the same rows in the same schema.
    pub seed: u64,
    /// The schemas to fill; all but the server's own and those of extensions where there are none.
    pub schemas: Vec<String>,
    /// Microseconds since 1970-01-01 UTC that times count from. Default: the day's beginning on the server.
    pub anchor: Option<i64>,
    /// Where the program runs. Production is refused, and without one nothing is filled.
    pub environment: Option<Environment>,
    /// The schema of the table `db_seeds`, as [`SeedOptions::ledger_schema`](crate::SeedOptions).
    pub ledger_schema: Option<String>,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        GenerateOptions {
            rows: BTreeMap::new(),
            default_rows: 100,
            scale: 1.0,
            seed: 1,
            schemas: Vec::new(),
            anchor: None,
            environment: None,
            ledger_schema: None,
        }
    }
}

/// What [`Generator::apply`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Generated {
    /// The tables, in the order in which they were filled.
    pub tables: Vec<Filled>,
    /// Whether exactly these rows were there already, so that nothing was done.
    pub already: bool,
    /// How long it took, ANALYZE and COMMIT included.
    pub took: Duration,
}

impl Generated {
    /// The rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().map(|table| table.rows).sum()
    }
}

/// Fills a schema that it has never seen.
///
/// ```no_run
/// use db_core::Environment;
/// use db_seeds::{GenerateOptions, Generator};
///
/// # async fn fill(client: &mut tokio_postgres::Client) -> db_seeds::Result<()> {
/// let environment = Some(Environment::Development);
/// let generator = Generator::new(GenerateOptions { environment, ..GenerateOptions::default() });
/// let plan = generator.plan(client).await?;
/// print!("{plan}");
/// let made = generator.apply(client, &plan, |_| {}).await?;
/// for table in made.tables.iter().filter(|table| table.short.is_some()) {
///     eprintln!("{table}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    options: GenerateOptions,
}

impl Generator {
    /// A generator with these options.
    pub fn new(options: GenerateOptions) -> Self {
        Generator { options }
    }

    /// Says what [`apply`](Self::apply) would fill, in its order. Reads only.
    ///
    /// # Errors
    /// [`Error::Production`] in production, [`Error::Scale`], [`Error::NoSuchTable`] where rows are asked for
    /// a table that is not there, and [`Error::Database`].
    pub async fn plan(&self, client: &mut Client) -> Result<Plan> {
        Plan::guard_environment(NAME, self.options.environment)?;
        let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
        let transaction = builder.read_only(true).start().await;
        let transaction = transaction.map_err(Error::database("opening a transaction"))?;
        let path = own_path(&transaction).await?;
        let catalog = Catalog::read(&transaction).await?;
        restore_path(&transaction, &path).await?;
        let mut plan = self.plan_for(&catalog)?;
        let ledger = Ledger::find(&transaction, plan.ledger_schema.as_deref()).await?;
        plan.status = match ledger.standing(&transaction, &plan).await? {
            Standing::New => Status::Load,
            Standing::Same { applied_at } => Status::AlreadyApplied { applied_at },
            Standing::Other(refusal) => Status::Refused(refusal),
        };
        Ok(plan)
    }

    fn plan_for(&self, catalog: &Catalog) -> Result<Plan> {
        let options = &self.options;
        if !(options.scale > 0.0 && options.scale <= 1000.0) {
            return Err(Error::Scale(options.scale));
        }
        for name in options.rows.keys() {
            let places = catalog.tables.iter().filter(|table| is_named(table, name)).count();
            if places != 1 {
                let known = catalog.tables.iter().map(|table| format!("{}.{}", table.schema, table.name));
                return Err(Error::NoSuchTable { table: name.clone(), places, known: known.collect() });
            }
        }
        let order = Order::of(catalog);
        let tables = order.groups.iter().flatten().map(|at| {
            let table = &catalog.tables[*at];
            let asked = options.rows.iter().find(|(name, _)| is_named(table, name));
            let rows = asked.map_or(options.default_rows, |(_, rows)| *rows) as f64 * options.scale;
            let planned =
                TablePlan { table: format!("{}.{}", table.schema, table.name), rows: rows.ceil() as u64 };
            let of_schema = options.schemas.is_empty() || options.schemas.contains(&table.schema);
            of_schema.then(|| (planned, table.described()))
        });
        let tables: Vec<(TablePlan, String)> = tables.flatten().collect();
        let mut hash = Sha256::new();
        for (table, described) in &tables {
            // Another schema or other numbers of rows make other rows.
            hash.update(format!("{} {} {described}\n", table.table, table.rows));
        }
        let tables = tables.into_iter().map(|(table, _)| table).collect();
        let checksum = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Plan {
            name: NAME.to_owned(),
            checksum,
            seed: options.seed,
            scale: options.scale,
            tables,
            environment: options.environment,
            ledger_schema: options.ledger_schema.clone(),
            status: Status::Load,
        })
    }

    /// Fills the tables: one transaction, so that a crash or a dropped future leaves nothing behind.
    ///
    /// Constraints and triggers are in force throughout. A table that cannot be filled is in the result with
    /// the reason, and the others are filled all the same.
    ///
    /// # Errors
    /// [`Error::StalePlan`] where the schema changed since the plan was made, [`Error::Nowhere`] without an
    /// environment, [`Error::Refused`] where other generated rows are there, and [`Error::Database`].
    pub async fn apply(
        &self,
        client: &mut Client,
        plan: &Plan,
        progress: impl FnMut(Progress<'_>),
    ) -> Result<Generated> {
        let begun = Instant::now();
        let environment = self.options.environment.ok_or_else(|| Error::Nowhere { name: NAME.to_owned() })?;
        Plan::guard_environment(NAME, Some(environment))?;
        if let Status::Refused(refusal) = &plan.status {
            return Err(Error::Refused { name: NAME.to_owned(), refusal: refusal.clone() });
        }
        let builder = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
        let transaction = builder.start().await.map_err(Error::database("opening a transaction"))?;
        ledger::lock(&transaction).await?;
        // What is refused only at COMMIT would cost all rows.
        let immediate = transaction.batch_execute("SET CONSTRAINTS ALL IMMEDIATE").await;
        immediate.map_err(Error::database("making constraints immediate"))?;
        let path = own_path(&transaction).await?;
        let catalog = Catalog::read(&transaction).await?;
        let now = self.plan_for(&catalog)?;
        if now.checksum != plan.checksum {
            return Err(Error::StalePlan { name: NAME.to_owned() });
        }
        let ledger = Ledger::find(&transaction, plan.ledger_schema.as_deref()).await?;
        ledger.create(&transaction).await?;
        match ledger.standing(&transaction, plan).await? {
            Standing::New => {}
            Standing::Same { .. } => {
                return Ok(Generated { tables: Vec::new(), already: true, took: begun.elapsed() });
            }
            Standing::Other(refusal) => return Err(Error::Refused { name: NAME.to_owned(), refusal }),
        }
        let anchor = match self.options.anchor {
            Some(anchor) => anchor,
            None => today(&transaction).await?,
        };
        let mut fill = Fill::new(&transaction, &catalog, plan, anchor, path, progress);
        let tables = fill.all(&Order::of(&catalog)).await?;
        drop(fill);
        let made = Generated { tables, already: false, took: begun.elapsed() };
        ledger.record(&transaction, plan, made.rows()).await?;
        transaction.commit().await.map_err(Error::database("committing"))?;
        Ok(Generated { took: begun.elapsed(), ..made })
    }
}

async fn today(transaction: &Transaction<'_>) -> Result<i64> {
    let query = "SELECT (extract(epoch FROM date_trunc('day', now() AT TIME ZONE 'UTC')) * 1000000)::int8";
    let row = transaction.query_one(query, &[]).await.map_err(Error::database("asking for the time"))?;
    Ok(row.get(0))
}

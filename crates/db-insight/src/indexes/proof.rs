//! Proves an index by the planner itself: hypothetical ones by HypoPG, real ones on temporary copies.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use db_core::Error;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::catalog::{Catalog, Table};
use super::expression::quoted;
use super::plan::Reading;
use super::session::Session;
use super::spec::Spec;
use super::workload::Query;
use super::{AdviceConfig, AdviceError, Note, Prove};

/// How indexes are proven here.
pub(crate) enum Prover {
    /// By the schema where its functions are.
    HypoPg(String),
    /// On copies in the session's temporary schema, in a transaction that is rolled back.
    Build {
        copied: BTreeSet<i64>,
        largest: u64,
        time: BuildTime,
    },
    Model,
}

/// How long may be built.
pub(crate) struct BuildTime {
    within: Duration,
    /// When it began.
    since: Instant,
    /// The session's own limit for a statement, in milliseconds; 0 is none.
    own_limit: i64,
}

impl BuildTime {
    /// Milliseconds that are left, none when it is over.
    fn left(&self) -> Option<i64> {
        let left = self.within.checked_sub(self.since.elapsed())?.as_millis();
        // The server takes no more.
        let left = i64::try_from(left).unwrap_or(i64::MAX).min(i64::from(i32::MAX));
        if left == 0 { None } else { Some(left) }
    }

    /// What ends the next statement when the time is over; the session's own limit stays.
    fn limit(&self) -> Option<String> {
        let left = self.left()?;
        let limit = if self.own_limit > 0 { left.min(self.own_limit) } else { left };
        Some(format!("SET LOCAL statement_timeout = {limit}"))
    }
}

/// What the planner made of a set of indexes.
pub(crate) struct Proof {
    pub(crate) cost: f64,
    /// Whether it uses all of them.
    pub(crate) used: bool,
    pub(crate) bytes: f64,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

impl Prover {
    pub(crate) async fn open(
        session: &mut Session<'_>,
        catalog: &Catalog,
        config: &AdviceConfig,
        notes: &mut Vec<Note>,
    ) -> Result<Self, AdviceError> {
        match (config.prove, catalog.extensions.get("hypopg")) {
            (Prove::Auto, Some(schema)) => Ok(Prover::HypoPg(quoted(schema))),
            (Prove::Auto, None) => {
                let text = "the database has no HypoPG: gains are by the planner's formulas; --prove build builds the \
                    indexes on temporary copies"
                    .to_owned();
                notes.push(Note::general("no_hypopg", text));
                Ok(Prover::Model)
            }
            (Prove::Model, _) => Ok(Prover::Model),
            (Prove::Build, _) => {
                if catalog.standby {
                    return Err(AdviceError::NoCopy("this is a standby".to_owned()));
                }
                let begin = "BEGIN READ WRITE";
                session.conn.batch_execute(begin).await.map_err(Error::from)?;
                session.in_transaction = true;
                let own_limit: Number = diesel::sql_query(
                    "SELECT setting::int8 AS number FROM pg_settings WHERE name = 'statement_timeout'",
                )
                .get_result(&mut *session.conn)
                .await
                .map_err(Error::from)?;
                let time = BuildTime {
                    within: config.build_within,
                    since: Instant::now(),
                    own_limit: own_limit.number,
                };
                Ok(Prover::Build { copied: BTreeSet::new(), largest: config.largest_copy, time })
            }
        }
    }

    pub(crate) async fn close(self, session: &mut Session<'_>) -> Result<(), AdviceError> {
        let end = match self {
            Prover::HypoPg(schema) => format!("SELECT {schema}.hypopg_reset()"),
            Prover::Build { .. } => "ROLLBACK".to_owned(),
            Prover::Model => return Ok(()),
        };
        session.conn.batch_execute(&end).await.map_err(Error::from)?;
        Ok(())
    }

    pub(crate) fn word(&self) -> &'static str {
        match self {
            Prover::HypoPg(_) => "hypopg",
            Prover::Build { .. } => "built",
            Prover::Model => "model",
        }
    }

    /// Whether it can say anything of this index.
    pub(crate) fn can_prove(&self, spec: &Spec, table: &Table) -> bool {
        match self {
            Prover::HypoPg(_) => matches!(spec.method, "btree" | "brin") && table.kind == "r",
            Prover::Build { .. } => table.kind == "r" && table.root.is_none(),
            Prover::Model => false,
        }
    }

    /// Makes the copy of a table on which indexes are built, where they are built at all.
    pub(crate) async fn copy_table(&mut self, session: &mut Session<'_>, catalog: &Catalog, table: i64) {
        if let (Prover::Build { copied, largest, time }, Some(table)) = (self, catalog.by_oid(table)) {
            copy(session, table, copied, *largest, time).await;
        }
    }

    /// The time to build begins now.
    pub(crate) fn begin(&mut self) {
        if let Prover::Build { time, .. } = self {
            time.since = Instant::now();
        }
    }

    /// How long it could build, if that time is over.
    pub(crate) fn over(&self) -> Option<Duration> {
        match self {
            Prover::Build { time, .. } if time.left().is_none() => Some(time.within),
            _ => None,
        }
    }

    /// What a statement costs with these indexes; none where that cannot be said.
    pub(crate) async fn cost_with(
        &mut self,
        session: &mut Session<'_>,
        catalog: &Catalog,
        query: &Query,
        specs: &[&Spec],
    ) -> Option<Proof> {
        match self {
            Prover::HypoPg(schema) => by_hypopg(session, catalog, query, specs, schema).await,
            Prover::Build { copied, largest, time } => {
                for spec in specs {
                    copy(session, catalog.by_oid(spec.table)?, copied, *largest, time).await?;
                }
                by_building(session, catalog, query, specs, time).await
            }
            Prover::Model => None,
        }
    }
}

async fn by_hypopg(
    session: &mut Session<'_>,
    catalog: &Catalog,
    query: &Query,
    specs: &[&Spec],
    schema: &str,
) -> Option<Proof> {
    let reset = format!("SELECT {schema}.hypopg_reset()");
    session.conn.batch_execute(&reset).await.ok()?;
    let mut names = BTreeSet::new();
    let mut bytes = 0.0;
    for spec in specs {
        let table = catalog.by_oid(spec.table)?;
        let create = format!("CREATE INDEX ON {}", spec.definition(&table.shown));
        let made: Result<Name, _> = diesel::sql_query(format!(
            "SELECT indexname::text AS name FROM {schema}.hypopg_create_index($1)"
        ))
        .bind::<Text, _>(&create)
        .get_result(&mut *session.conn)
        .await;
        names.insert(made.ok()?.name);
    }
    let size: Result<Number, _> = diesel::sql_query(format!(
        "SELECT coalesce(sum({schema}.hypopg_relation_size(indexrelid)), 0)::int8 AS number FROM {schema}.hypopg()"
    ))
    .get_result(&mut *session.conn)
    .await;
    if let Ok(size) = size {
        bytes = size.number as f64;
    }
    let reading = replanned(session, query).await;
    session.conn.batch_execute(&reset).await.ok()?;
    let reading = reading?;
    let used = names.iter().all(|name| reading.indexes.contains(name));
    Some(Proof { cost: reading.cost, used, bytes })
}

async fn replanned(session: &mut Session<'_>, query: &Query) -> Option<Reading> {
    let prepared = session.prepare(query).await.ok()?;
    session.plan(&prepared).await.ok()
}

/// Copies a table, with its rows and indexes, under its own name into the temporary schema, which is searched
/// first.
async fn copy(
    session: &mut Session<'_>,
    table: &Table,
    copied: &mut BTreeSet<i64>,
    largest: u64,
    time: &BuildTime,
) -> Option<()> {
    if copied.contains(&table.oid) {
        return Some(());
    }
    if table.pages * 8192.0 > largest as f64 {
        return None;
    }
    let name = quoted(&table.name);
    let from = format!("{}.{name}", quoted(&table.schema));
    let sql = format!(
        "CREATE TEMP TABLE {name} (LIKE {from} INCLUDING ALL EXCLUDING GENERATED EXCLUDING IDENTITY) ON COMMIT DROP; \
         INSERT INTO pg_temp.{name} SELECT * FROM {from}; ANALYZE pg_temp.{name}"
    );
    let sql = format!("{}; {sql}; SET LOCAL statement_timeout = {}", time.limit()?, time.own_limit);
    guarded(session, &sql).await?;
    copied.insert(table.oid);
    Some(())
}

/// Runs statements so that a failure leaves the transaction usable.
async fn guarded(session: &mut Session<'_>, sql: &str) -> Option<()> {
    session.conn.batch_execute("SAVEPOINT db_insight").await.ok()?;
    match session.conn.batch_execute(sql).await {
        Ok(()) => {
            session.conn.batch_execute("RELEASE SAVEPOINT db_insight").await.ok()?;
            Some(())
        }
        Err(_) => {
            let end = "ROLLBACK TO SAVEPOINT db_insight; RELEASE SAVEPOINT db_insight";
            let _ = session.conn.batch_execute(end).await;
            None
        }
    }
}

async fn by_building(
    session: &mut Session<'_>,
    catalog: &Catalog,
    query: &Query,
    specs: &[&Spec],
    time: &BuildTime,
) -> Option<Proof> {
    session.conn.batch_execute("SAVEPOINT db_insight_index").await.ok()?;
    let proof = build(session, catalog, query, specs, time).await;
    let end = "ROLLBACK TO SAVEPOINT db_insight_index; RELEASE SAVEPOINT db_insight_index";
    let _ = session.conn.batch_execute(end).await;
    proof
}

async fn build(
    session: &mut Session<'_>,
    catalog: &Catalog,
    query: &Query,
    specs: &[&Spec],
    time: &BuildTime,
) -> Option<Proof> {
    let mut names = BTreeSet::new();
    for (at, spec) in specs.iter().enumerate() {
        let table = catalog.by_oid(spec.table)?;
        let name = format!("db_insight_{at}");
        let target = format!("pg_temp.{}", quoted(&table.name));
        let mut sql = format!("{}; CREATE INDEX {name} ON {}", time.limit()?, spec.definition(&target));
        if spec.has_expression() {
            sql.push_str(&format!("; ANALYZE {target}"));
        }
        session.conn.batch_execute(&sql).await.ok()?;
        names.insert(name);
    }
    let list = names.iter().map(|name| format!("pg_relation_size('pg_temp.{name}')")).collect::<Vec<_>>();
    let sum = if list.is_empty() { "0::int8".to_owned() } else { list.join(" + ") };
    let size: Number =
        diesel::sql_query(format!("SELECT {sum} AS number")).get_result(&mut *session.conn).await.ok()?;
    let reading = replanned(session, query).await?;
    // A statement that names the schema reads the table itself.
    if !reading.scans.iter().any(|scan| scan.schema.starts_with("pg_temp")) {
        return None;
    }
    let used = names.iter().all(|name| reading.indexes.contains(name));
    Some(Proof { cost: reading.cost, used, bytes: size.number as f64 })
}

//! What a statement outside a transaction left behind when it was cut off, and how to go on from there.
//!
//! Cut off means: the runner, its server process or the server was killed, or the statement failed.
//! PostgreSQL keeps the INVALID index in all these cases, and `IF NOT EXISTS` would take it for the real one.

use diesel::sql_types::{BigInt, Bool, Nullable, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use crate::statement::What;

/// How to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// Run the statement.
    Run,
    /// Run this in its place.
    RunInstead(String),
    /// It ran to its end before.
    Done,
}

/// An index of a table.
#[derive(Debug, QueryableByName)]
struct Index {
    #[diesel(sql_type = BigInt)]
    oid: i64,
    /// With its schema, quoted.
    #[diesel(sql_type = Text)]
    name: String,
    /// Whether it has the name that the statement gives.
    #[diesel(sql_type = Bool)]
    named: bool,
    #[diesel(sql_type = Bool)]
    valid: bool,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    yes: bool,
}

/// An index that is not valid may be one that somebody is building just now: those are left alone.
const INDEXES: &str = "SELECT indexrelid::bigint AS oid, format('%I.%I', nspname, relname) AS name, indisvalid AS valid, \
    coalesce(relname = (parse_ident($2))[1], false) AS named \
    FROM pg_catalog.pg_index JOIN pg_catalog.pg_class ON pg_class.oid = indexrelid \
    JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace \
    WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index WHERE index_relid = indexrelid)";

type Query<T> = Result<T, diesel::result::Error>;

/// Clears what is in the statement's way and says how to go on.
///
/// `before` are the indexes that the table had when the statement was first begun; none where it is begun
/// now.
pub(crate) async fn next(conn: &mut AsyncPgConnection, what: &What, before: Option<&[i64]>) -> Query<Next> {
    let cut_off = before.is_some();
    match what {
        What::CreateIndex { .. } | What::Reindex => clear(conn, what, before).await,
        What::DropIndex { index } if cut_off => {
            let gone = "SELECT to_regclass($1) IS NULL AS yes";
            Ok(if ask(conn, gone, index).await? { Next::Done } else { Next::Run })
        }
        What::Object { lookup, name, create } if cut_off => {
            Ok(if ask(conn, lookup, name).await? == *create { Next::Done } else { Next::Run })
        }
        What::Detach { parent, partition } => {
            let pending: Option<Answer> = one(sql_query(
                "SELECT inhdetachpending AS yes FROM pg_catalog.pg_inherits \
                     WHERE inhparent = to_regclass($1) AND inhrelid = to_regclass($2)",
            )
            .bind::<Text, _>(parent)
            .bind::<Text, _>(partition)
            .get_results(conn)
            .await?);
            Ok(match pending {
                Some(Answer { yes: true }) => {
                    Next::RunInstead(format!("ALTER TABLE {parent} DETACH PARTITION {partition} FINALIZE"))
                }
                None if cut_off => Next::Done,
                _ => Next::Run,
            })
        }
        What::DropIndex { .. } | What::Object { .. } | What::DiscardAll | What::Repeatable => Ok(Next::Run),
    }
}

/// Drops the INVALID indexes that the statement left behind; says whether it ran to its end.
pub(crate) async fn clear(conn: &mut AsyncPgConnection, what: &What, before: Option<&[i64]>) -> Query<Next> {
    let mut next = Next::Run;
    match what {
        What::CreateIndex { index, .. } => {
            for found in indexes(conn, what).await? {
                let ours = before.is_some_and(|before| !before.contains(&found.oid));
                if !found.valid && (ours || found.named) {
                    drop_invalid(conn, &found).await?;
                } else if found.valid && ours && (found.named || index.is_none()) {
                    next = Next::Done;
                }
            }
        }
        What::Reindex => {
            let sql = format!("{INDEXES} AND NOT indisvalid AND relname ~ '_cc(new|old)[0-9]*$'");
            let left: Vec<Index> = sql_query(sql)
                .bind::<Nullable<Text>, _>(None::<&str>)
                .bind::<Nullable<Text>, _>(None::<&str>)
                .get_results(conn)
                .await?;
            for index in &left {
                drop_invalid(conn, index).await?;
            }
        }
        _ => {}
    }
    Ok(next)
}

/// The indexes that the statement's table has now.
pub(crate) async fn indexes_of(conn: &mut AsyncPgConnection, what: &What) -> Query<Vec<i64>> {
    Ok(indexes(conn, what).await?.iter().map(|index| index.oid).collect())
}

async fn indexes(conn: &mut AsyncPgConnection, what: &What) -> Query<Vec<Index>> {
    let What::CreateIndex { index, table } = what else { return Ok(Vec::new()) };
    sql_query(format!("{INDEXES} AND indrelid = to_regclass($1)"))
        .bind::<Text, _>(table)
        .bind::<Nullable<Text>, _>(index.as_deref())
        .get_results(conn)
        .await
}

async fn drop_invalid(conn: &mut AsyncPgConnection, index: &Index) -> Query<()> {
    tracing::warn!(index = index.name, "dropping an INVALID index that was left by a build that was cut off");
    conn.batch_execute(&format!("DROP INDEX CONCURRENTLY IF EXISTS {}", index.name)).await
}

async fn ask(conn: &mut AsyncPgConnection, sql: &str, name: &str) -> Query<bool> {
    let answer: Answer = sql_query(sql).bind::<Text, _>(name).get_result(conn).await?;
    Ok(answer.yes)
}

fn one<T>(rows: Vec<T>) -> Option<T> {
    rows.into_iter().next()
}

//! The statements that ask for marker rows and remove them; their table is named with its schema.
//!
//! Their text depends on the table, so none of them has an id of its own, by which a connection would find
//! another one's.

use std::time::Duration;

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Bool, Double, Text};
use uuid::Uuid;

macro_rules! told_by_their_text {
    ($($statement:ident answers $answer:ty;)+) => {$(
        impl QueryId for $statement {
            type QueryId = ();
            const HAS_STATIC_QUERY_ID: bool = false;
        }

        impl Query for $statement {
            type SqlType = $answer;
        }
    )+};
}

told_by_their_text! {
    Look answers Bool;
    Fence answers Bool;
    Forget answers ();
}

/// Whether a transaction has left its row.
#[derive(Debug, Clone)]
pub(super) struct Look {
    table: String,
    id: String,
}

impl Look {
    pub(super) fn new(table: &str, id: Uuid) -> Self {
        Look { table: table.to_owned(), id: id.to_string() }
    }
}

impl QueryFragment<Pg> for Look {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT EXISTS (SELECT FROM ");
        out.push_sql(&self.table);
        out.push_sql(" WHERE NOT fenced AND id OPERATOR(pg_catalog.=) CAST(");
        out.push_bind_param::<Text, _>(&self.id)?;
        out.push_sql(" AS pg_catalog.uuid))");
        Ok(())
    }
}

/// Inserts a transaction's row in its place, and says whether the transaction did.
#[derive(Debug, Clone)]
pub(super) struct Fence {
    table: String,
    id: String,
}

impl Fence {
    pub(super) fn new(table: &str, id: Uuid) -> Self {
        Fence { table: table.to_owned(), id: id.to_string() }
    }
}

impl QueryFragment<Pg> for Fence {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("INSERT INTO ");
        out.push_sql(&self.table);
        out.push_sql(" AS marker (id, fenced) VALUES (CAST(");
        out.push_bind_param::<Text, _>(&self.id)?;
        // The update changes nothing: it makes the row come back, whoever inserted it.
        out.push_sql(
            " AS pg_catalog.uuid), true) ON CONFLICT (id) DO UPDATE SET id = excluded.id \
             RETURNING NOT marker.fenced",
        );
        Ok(())
    }
}

/// Removes old rows.
#[derive(Debug, Clone)]
pub(super) struct Forget {
    table: String,
    seconds: f64,
    at_most: i64,
}

impl Forget {
    pub(super) fn new(table: String, age: Duration, at_most: u32) -> Self {
        Forget { table, seconds: age.as_secs_f64(), at_most: at_most.into() }
    }
}

impl QueryFragment<Pg> for Forget {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("DELETE FROM ");
        out.push_sql(&self.table);
        out.push_sql(" WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT id FROM ");
        out.push_sql(&self.table);
        out.push_sql(
            " WHERE at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) pg_catalog.make_interval(secs => ",
        );
        out.push_bind_param::<Double, _>(&self.seconds)?;
        out.push_sql(")) LIMIT ");
        out.push_bind_param::<BigInt, _>(&self.at_most)?;
        out.push_sql(" FOR UPDATE SKIP LOCKED))");
        Ok(())
    }
}

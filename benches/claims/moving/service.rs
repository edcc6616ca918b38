//! The service: items are written and read by their number. It is the same one whatever is below it.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use db_benches::peers::Deadpool;
use db_platform::{Db, Error, Session};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

diesel::table! { ours (id) { id -> BigInt, } }
diesel::table! { original (id) { id -> BigInt, } }
diesel::define_sql_function! {
    /// Made by the claim: `pg_current_wal_insert_lsn()` as text.
    fn wal_position() -> Text
}

/// What went wrong, for the client's log.
type Failed = (StatusCode, String);

/// Where the items are.
trait Store: Clone + Send + Sync + 'static {
    /// Writes an item, and says where the server's log was behind it.
    fn write(&self, id: i64) -> impl Future<Output = Result<String, Failed>> + Send;

    /// Whether there is such an item.
    fn read(&self, id: i64) -> impl Future<Output = Result<bool, Failed>> + Send;
}

impl Store for Db {
    async fn write(&self, id: i64) -> Result<String, Failed> {
        let work = async move |conn: &mut AsyncPgConnection| {
            diesel::insert_into(ours::table).values(ours::id.eq(id)).execute(conn).await?;
            Ok::<String, Error>(diesel::select(wal_position()).get_result(conn).await?)
        };
        // Its token is the position behind COMMIT; there is none where the answer to COMMIT was lost.
        let session = Session::new();
        let before = self.in_session(&session).transaction(work).await.map_err(unavailable)?;
        Ok(session.token().map_or(before, |token| token.position.to_string()))
    }

    async fn read(&self, id: i64) -> Result<bool, Failed> {
        let work = async move |conn: &mut AsyncPgConnection| {
            ours::table.filter(ours::id.eq(id)).count().get_result::<i64>(conn).await
        };
        Ok(Db::read(self, work).await.map_err(unavailable)? > 0)
    }
}

impl Store for Deadpool {
    async fn write(&self, id: i64) -> Result<String, Failed> {
        let mut conn = self.get().await.map_err(unavailable)?;
        let work = async |conn: &mut AsyncPgConnection| {
            diesel::insert_into(original::table).values(original::id.eq(id)).execute(conn).await?;
            diesel::select(wal_position()).get_result(conn).await
        };
        let transaction = AsyncPgConnection::transaction::<String, diesel::result::Error, _>(&mut conn, work);
        let before = transaction.await.map_err(unavailable)?;
        Ok(diesel::select(wal_position()).get_result(&mut *conn).await.unwrap_or(before))
    }

    async fn read(&self, id: i64) -> Result<bool, Failed> {
        let mut conn = self.get().await.map_err(unavailable)?;
        let found = original::table.filter(original::id.eq(id)).count();
        Ok(found.get_result::<i64>(&mut *conn).await.map_err(unavailable)? > 0)
    }
}

fn unavailable(error: impl std::fmt::Display) -> Failed {
    (StatusCode::SERVICE_UNAVAILABLE, error.to_string())
}

async fn write<S: Store>(State(store): State<S>, Path(id): Path<i64>) -> Result<String, Failed> {
    store.write(id).await
}

async fn read<S: Store>(State(store): State<S>, Path(id): Path<i64>) -> Result<StatusCode, Failed> {
    Ok(if store.read(id).await? { StatusCode::OK } else { StatusCode::NOT_FOUND })
}

/// The service over ours.
pub(crate) async fn of_db(db: Db) -> SocketAddr {
    serve(db).await
}

/// The service as it was.
pub(crate) async fn of_deadpool(pool: Deadpool) -> SocketAddr {
    serve(pool).await
}

async fn serve<S: Store>(store: S) -> SocketAddr {
    let routes = Router::new().route("/items/{id}", post(write::<S>).get(read::<S>)).with_state(store);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    address
}

//! A page with axum whose parts load for themselves: handlers share the request's loaders, and know no batches.
//!
//! `cargo run -p db-benches --example web` starts a server of its own and answers one request.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Router, serve};
use db_platform::loader::{LoadError, Loader, Query};
use db_platform::{Class, Classify, Config, Db, Environment};
use db_testkit::TestDatabase;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

mod schema {
    diesel::table! { users (id) { id -> Integer, name -> Text, } }
}
use schema::users;

#[derive(Clone)]
struct App {
    db: Db,
    names: Query<i32, String>,
}

/// `/greetings/1,2,3`: each greeting asks for its own name, and all of them are one statement.
async fn greetings(State(app): State<App>, Path(ids): Path<String>) -> Result<String, (StatusCode, String)> {
    let ids: Result<Vec<i32>, _> = ids.split(',').map(str::parse).collect();
    let ids = ids.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    // For this request: it remembers, and it is in the request's session.
    let names = app.db.loader(&app.names);
    let lines = try_join_all(ids.into_iter().map(|id| greeting(&names, id))).await.map_err(refused)?;
    Ok(lines.concat())
}

async fn greeting(names: &Loader<i32, String>, id: i32) -> Result<String, LoadError> {
    Ok(match names.get(id).await? {
        Some(name) => format!("hello, {name}\n"),
        None => format!("nobody is number {id}\n"),
    })
}

/// The class says what the caller may do.
fn refused(error: LoadError) -> (StatusCode, String) {
    let status = match error.class() {
        Class::Permanent => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, format!("{error}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = TestDatabase::empty().await?;
    let schema = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
        INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 10) AS n";
    database.connect().await?.batch_execute(schema).await?;
    let names = Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
        users::table.filter(users::id.eq_any(ids)).load::<(i32, String)>(conn).await
    });
    let db = Db::connect(Config::new(Environment::Development, database.url().parse()?)).await?;
    let app = App { db, names: names.clone() };
    let router = Router::new().route("/greetings/{ids}", get(greetings)).with_state(app);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move { serve(listener, router).await });

    let mut client = TcpStream::connect(address).await?;
    client.write_all(b"GET /greetings/1,2,3,2,99 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).await?;
    println!("{answer}");
    let counts = names.counts();
    println!("{} keys in {} statement", counts.keys, counts.batches());
    assert_eq!((counts.keys, counts.batches()), (4, 1));
    server.abort();
    Ok(())
}

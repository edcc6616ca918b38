//! A page with axum whose parts load for themselves: handlers share the request's loaders, and know no
//! batches.
//!
//! `cargo run -p db-platform --example greetings` starts a server of its own and waits for requests:
//! `curl http://127.0.0.1:8080/greetings/1,2,3` is one statement.

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
use tokio::net::TcpListener;

mod schema {
    diesel::table! { users (id) { id -> Integer, name -> Text, } }
}
use schema::users;

const SCHEMA: &str = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 10) AS n";

#[derive(Clone)]
struct App {
    db: Db,
    names: Query<i32, String>,
}

impl App {
    fn new(db: Db) -> Self {
        let names = Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
            users::table.filter(users::id.eq_any(ids)).load::<(i32, String)>(conn).await
        });
        App { db, names }
    }

    fn router(self) -> Router {
        Router::new().route("/greetings/{ids}", get(greetings)).with_state(self)
    }
}

/// `/greetings/1,2,3`: each greeting asks for its own name, and all of them are one statement.
async fn greetings(State(app): State<App>, Path(ids): Path<String>) -> Result<String, (StatusCode, String)> {
    let ids: Result<Vec<i32>, _> = ids.split(',').map(str::parse).collect();
    let ids = ids.map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    // For this request: it remembers until the request writes, and it is in the request's session.
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
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = TestDatabase::empty().await?;
    database.connect().await?.batch_execute(SCHEMA).await?;
    let db = Db::connect(Config::new(Environment::Development, database.url().parse()?)).await?;
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    eprintln!("curl http://{}/greetings/1,2,3", listener.local_addr()?);
    serve(listener, App::new(db).router()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_platform::core::{Observe, Part, QueryEvent};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Counts the statements that go to the server for the table, as they pass on the wire.
    #[derive(Clone, Default)]
    struct Statements(Arc<AtomicU64>);

    impl Observe for Statements {
        fn on_query(&self, event: &QueryEvent<'_>) {
            if event.statement.contains("\"users\"") {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The status line and the body of a GET.
    async fn ask(address: std::net::SocketAddr, path: &str) -> (String, String) {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_of_many_greetings_is_one_statement() {
        let database = TestDatabase::empty().await.unwrap();
        database.connect().await.unwrap().batch_execute(SCHEMA).await.unwrap();
        let config = Config::new(Environment::Test, database.url().parse().unwrap());
        let statements = Statements::default();
        let part = Part::named("statements").observing(statements.clone());
        let db = Db::connect_with(config, [part]).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { serve(listener, App::new(db).router()).await });

        for round in 1..=3 {
            let (status, body) = ask(address, "/greetings/1,2,3,2,99").await;
            let expected =
                "hello, user 1\nhello, user 2\nhello, user 3\nhello, user 2\nnobody is number 99\n";
            assert_eq!((&*status, &*body), ("HTTP/1.1 200 OK", expected));
            // No request has what another one remembers.
            assert_eq!(AtomicU64::load(&statements.0, Ordering::Relaxed), round);
        }
        let (status, _) = ask(address, "/greetings/1,two").await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        assert_eq!(AtomicU64::load(&statements.0, Ordering::Relaxed), 3);
        server.abort();
    }
}

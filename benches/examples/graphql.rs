//! GraphQL with async-graphql: a list of posts with their authors and newest comments is three statements.
//!
//! `cargo run -p db-benches --example graphql` starts a server of its own and waits for requests:
//! `curl http://127.0.0.1:8080/graphql -d '{"query": "{ posts { title author comments(first: 3) { body } } }"}'`.

use std::sync::Arc;

use async_graphql::{
    Context, EmptyMutation, EmptySubscription, Object, Request, Result, Schema, SimpleObject,
};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Router, serve};
use db_platform::loader::{Children, Loader, Order, Query, Top};
use db_platform::{Config, Db, Environment};
use db_testkit::TestDatabase;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use tokio::net::TcpListener;

mod schema {
    diesel::table! { users (id) { id -> Integer, name -> Text, } }
    diesel::table! { posts (id) { id -> Integer, author_id -> Integer, title -> Text, } }
    diesel::table! { comments (id) { id -> Integer, post_id -> Integer, body -> Text, } }
}
use schema::{comments, posts, users};

const SCHEMA: &str = "CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE posts (id integer PRIMARY KEY, author_id integer NOT NULL, title text NOT NULL);
    CREATE TABLE comments (id integer PRIMARY KEY, post_id integer NOT NULL, body text NOT NULL);
    CREATE INDEX ON comments (post_id, id);
    INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 10) AS n;
    INSERT INTO posts SELECT n, n % 10 + 1, 'post ' || n FROM generate_series(1, 100) AS n;
    INSERT INTO comments SELECT n, n % 100 + 1, 'comment ' || n FROM generate_series(1, 5000) AS n";

/// One request's loaders.
struct Loaders {
    names: Loader<i32, String>,
    comments: Top<i32, Comment, (i32,)>,
}

#[derive(Clone, Queryable, Selectable, SimpleObject)]
#[diesel(table_name = comments)]
struct Comment {
    id: i32,
    body: String,
}

#[derive(Queryable)]
struct Post {
    id: i32,
    author_id: i32,
    title: String,
}

#[Object]
impl Post {
    async fn title(&self) -> &str {
        &self.title
    }

    async fn author(&self, context: &Context<'_>) -> Result<Option<String>> {
        Ok(context.data::<Loaders>()?.names.get(self.author_id).await?)
    }

    async fn comments(&self, context: &Context<'_>, first: u32) -> Result<Vec<Comment>> {
        let comments = &context.data::<Loaders>()?.comments;
        Ok(comments.load_top(self.id, first, Order::Descending).await?.to_vec())
    }
}

struct Root;

#[Object]
impl Root {
    async fn posts(&self, context: &Context<'_>) -> Result<Vec<Post>> {
        let db = context.data::<Db>()?;
        Ok(db.read(async |conn| posts::table.order(posts::id).load(conn).await).await?)
    }
}

/// What the service holds: made once.
struct App {
    db: Db,
    schema: Schema<Root, EmptyMutation, EmptySubscription>,
    names: Query<i32, String>,
    comments: Children<i32, Comment, (i32,)>,
}

impl App {
    fn new(db: Db) -> Self {
        let names = Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
            users::table.filter(users::id.eq_any(ids)).load::<(i32, String)>(conn).await
        });
        let select = comments::table.select(Comment::as_select());
        let comments = Children::new("comments of a post", select, comments::post_id, (comments::id,));
        App { db, schema: Schema::new(Root, EmptyMutation, EmptySubscription), names, comments }
    }

    fn router(self) -> Router {
        Router::new().route("/graphql", post(graphql)).with_state(Arc::new(self))
    }

    fn loaders(&self) -> Loaders {
        Loaders { names: self.db.loader(&self.names), comments: self.db.top_loader(&self.comments) }
    }
}

/// The loaders are the request's: what they remember is gone with it.
async fn graphql(State(app): State<Arc<App>>, body: String) -> Result<String, (StatusCode, String)> {
    let request: Request = serde_json::from_str(&body).map_err(refused)?;
    let request = request.data(app.db.clone()).data(app.loaders());
    // By its path: diesel's `RunQueryDsl` gives every value an `execute`.
    let answer = Schema::execute(&app.schema, request).await;
    serde_json::to_string(&answer).map_err(refused)
}

fn refused(error: serde_json::Error) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, format!("{error}\n"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let database = TestDatabase::empty().await?;
    database.connect().await?.batch_execute(SCHEMA).await?;
    let db = Db::connect(Config::new(Environment::Development, database.url().parse()?)).await?;
    let listener = TcpListener::bind("127.0.0.1:8080").await?;
    eprintln!("http://{}/graphql", listener.local_addr()?);
    serve(listener, App::new(db).router()).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_platform::core::{Observe, Part, QueryEvent};
    use serde_json::{Value, json};
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// The statements that name one of the tables, as they pass on the wire.
    #[derive(Clone, Default)]
    struct Statements(Arc<Mutex<Vec<String>>>);

    impl Observe for Statements {
        fn on_query(&self, event: &QueryEvent<'_>) {
            let tables = ["\"users\"", "\"posts\"", "\"comments\""];
            if tables.iter().any(|table| event.statement.contains(table)) {
                self.0.lock().unwrap().push(event.statement.to_owned());
            }
        }
    }

    async fn ask(address: SocketAddr, query: &str) -> Value {
        let body = json!({ "query": query }).to_string();
        let mut client = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /graphql HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn posts_with_their_authors_and_newest_comments_are_three_statements() {
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
            let answer = ask(address, "{ posts { title author comments(first: 3) { id body } } }").await;
            assert_eq!(answer["errors"], Value::Null, "{answer}");
            let posts = answer["data"]["posts"].as_array().unwrap();
            assert_eq!(posts.len(), 100);
            let first = json!({ "title": "post 1", "author": "user 2", "comments": [
                { "id": 5_000, "body": "comment 5000" },
                { "id": 4_900, "body": "comment 4900" },
                { "id": 4_800, "body": "comment 4800" },
            ] });
            assert_eq!(posts[0], first);
            assert!(posts.iter().all(|post| post["comments"].as_array().unwrap().len() == 3));
            let seen = statements.0.lock().unwrap();
            assert_eq!(seen.len(), 3 * round, "{seen:#?}");
        }
        let answer = ask(address, "{ posts { nothing } }").await;
        assert!(answer["errors"][0]["message"].as_str().unwrap().contains("nothing"), "{answer}");
        server.abort();
    }
}

//! GraphQL with async-graphql: a list of posts with their authors and newest comments is three statements.
//!
//! `cargo run -p db-benches --example graphql` starts a server of its own and answers one request.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::error::Error;
use std::sync::Arc;

use async_graphql::{
    Context, EmptyMutation, EmptySubscription, Object, Request, Result, Schema, SimpleObject,
};
use db_platform::loader::{Children, Loader, Order, Query, Top};
use db_platform::{Config, Db, Environment};
use db_testkit::TestDatabase;
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

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

/// What the service loads: made once.
struct Loads {
    names: Query<i32, String>,
    comments: Children<i32, Comment, (i32,)>,
}

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

impl Loads {
    fn new() -> Self {
        let names = Query::new("names", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
            users::table.filter(users::id.eq_any(ids)).load::<(i32, String)>(conn).await
        });
        let select = comments::table.select(Comment::as_select());
        let comments = Children::new("comments of a post", select, comments::post_id, (comments::id,));
        Loads { names, comments }
    }

    /// In a server: for each request, in its handler.
    fn of_request(&self, db: &Db) -> Loaders {
        Loaders { names: db.loader(&self.names), comments: db.top_loader(&self.comments) }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = TestDatabase::empty().await?;
    database.connect().await?.batch_execute(SCHEMA).await?;
    let db = Db::connect(Config::new(Environment::Development, database.url().parse()?)).await?;
    let (schema, loads) = (Schema::new(Root, EmptyMutation, EmptySubscription), Arc::new(Loads::new()));

    let request = Request::new("{ posts { title author comments(first: 3) { id body } } }");
    let request = request.data(db.clone()).data(loads.of_request(&db));
    // By its path: diesel's `RunQueryDsl` gives every value an `execute`.
    let answer = Schema::execute(&schema, request).await;
    let data = answer.into_result().map_err(|errors| format!("{errors:?}"))?.data.into_json()?;
    println!("{:#}", data["posts"][0]);

    let (names, comments) = (loads.names.counts(), loads.comments.counts());
    println!("authors: {} keys in {} statement", names.keys, names.batches());
    println!("comments: {} parents in {} statement", comments.keys, comments.batches());
    assert_eq!((names.batches(), comments.batches()), (1, 1));
    Ok(())
}

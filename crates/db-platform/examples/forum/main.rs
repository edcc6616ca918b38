//! A forum on db-platform: a page in one round trip, votes that count, and a feed for other servers.
//!
//! `cargo run -p db-platform --example forum -- URL` writes to the database at URL, and reads it back.

mod database;

use db_platform::{BatchError, Db, Error, Result, batch};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

use schema::{comments, posts, votes};

mod schema {
    diesel::table! { posts (id) { id -> Integer, title -> Text, } }
    diesel::table! { comments (id) { id -> Integer, post_id -> Integer, text -> Text, } }
    diesel::table! { votes (comment_id, voter) { comment_id -> Integer, voter -> Text, score -> BigInt, } }
    diesel::allow_tables_to_appear_in_same_query!(posts, comments, votes);
}

/// What a page shows.
#[derive(Debug)]
struct Page {
    title: String,
    comments: Vec<(i32, String)>,
    score: Option<String>,
}

/// Three queries, one connection, one round trip.
async fn page(db: &Db, post: i32) -> Result<Page, BatchError> {
    let of_post = comments::table.filter(comments::post_id.eq(post));
    let voted = votes::table.filter(votes::comment_id.eq_any(of_post.select(comments::id)));
    let (title, comments, score) = db
        .batch((
            batch::row(posts::table.find(post).select(posts::title)),
            batch::rows(of_post.select((comments::id, comments::text)).order(comments::id)),
            batch::row(voted.select(sql::<Nullable<Text>>("sum(score)::text"))),
        ))
        .await?;
    Ok(Page { title, comments, score })
}

/// Comments, and votes for the comment: the vote may be refused, the comment stays.
async fn comment(db: &Db, post: i32, text: &str, voter: &str, score: i64) -> Result<i32> {
    db.transaction(async |conn| {
        let comment = (comments::post_id.eq(post), comments::text.eq(text));
        let added = diesel::insert_into(comments::table).values(comment).returning(comments::id);
        let id: i32 = added.get_result(conn).await?;
        // The same function in a savepoint.
        let voted = conn.transaction(async |conn| vote(conn, id, voter, score).await).await;
        match voted.map_err(Error::from) {
            Ok(()) | Err(Error::CheckViolation(_)) => Ok(id),
            Err(error) => Err(error),
        }
    })
    .await
}

async fn vote(conn: &mut AsyncPgConnection, comment: i32, voter: &str, score: i64) -> QueryResult<()> {
    let vote = (votes::comment_id.eq(comment), votes::voter.eq(voter), votes::score.eq(score));
    diesel::insert_into(votes::table).values(vote).execute(conn).await?;
    Ok(())
}

/// Everything, for another server: however much it is, little of it is in memory.
async fn feed(db: &Db, mut send: impl FnMut(i32, String)) -> Result<()> {
    let mut rows = db.stream::<(i32, i32, String)>(comments::table.order(comments::id), 500);
    while let Some((id, _, text)) = rows.try_next().await? {
        send(id, text);
    }
    Ok(())
}

async fn create_schema(db: &Db) -> Result<i32> {
    db.transaction(async |conn| {
        let schema = "CREATE TABLE IF NOT EXISTS posts (id serial PRIMARY KEY, title text NOT NULL);
             CREATE TABLE IF NOT EXISTS comments
                 (id serial PRIMARY KEY, post_id int NOT NULL REFERENCES posts, text text NOT NULL);
             CREATE TABLE IF NOT EXISTS votes
                 (comment_id int REFERENCES comments, voter text, score bigint NOT NULL CHECK (score IN (-1, 1)),
                  PRIMARY KEY (comment_id, voter))";
        conn.batch_execute(schema).await?;
        let post = diesel::insert_into(posts::table).values(posts::title.eq("Welcome"));
        Ok::<_, Error>(post.returning(posts::id).get_result(conn).await?)
    })
    .await
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: forum postgres://user:password@host/database")?;
    let database = database::connect(url.parse()?).await?;
    let post = create_schema(&database.federation).await?;
    comment(&database.requests, post, "First!", "ann", 1).await?;
    let Page { title, comments, score } = page(&database.requests, post).await?;
    eprintln!("{title}: {} comments, score {}", comments.len(), score.as_deref().unwrap_or("0"));
    feed(&database.federation, |id, text| eprintln!("{id}: {text}")).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_testkit::TestDatabase;

    #[test]
    fn the_module_is_as_short_as_it_claims() {
        let code = include_str!("database.rs").lines().map(str::trim);
        let lines = code.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(lines <= 20, "{lines} lines");
    }

    #[tokio::test]
    async fn a_page_shows_what_was_written_and_a_refused_vote_leaves_its_comment() {
        let testing = TestDatabase::empty().await.unwrap();
        let database::Database { requests, federation } =
            database::connect(testing.url().parse().unwrap()).await.unwrap();
        let post = create_schema(&federation).await.unwrap();
        let first = comment(&requests, post, "First!", "ann", 1).await.unwrap();
        let second = comment(&requests, post, "Second!", "bob", 100).await.unwrap();
        assert!(comment(&requests, post + 1, "Where?", "bob", 1).await.is_err());

        let page = page(&requests, post).await.unwrap();
        assert_eq!((page.title.as_str(), page.score.as_deref()), ("Welcome", Some("1")));
        let expected = [(first, "First!".to_owned()), (second, "Second!".to_owned())];
        assert_eq!(page.comments, expected);

        let mut sent = Vec::new();
        feed(&federation, |id, text| sent.push((id, text))).await.unwrap();
        assert_eq!(sent, expected);
        let missing = super::page(&requests, post + 1).await.unwrap_err();
        assert!(matches!(missing, BatchError { statement: Some(0), error: Error::NotFound }), "{missing:?}");
    }
}

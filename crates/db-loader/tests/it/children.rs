//! The first so many children of each of many parents.

use db_loader::{Children, Order, Page, Scope, Top, lend};
use db_testkit::{Source, TestDatabase};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;

use crate::statements::count;

mod schema {
    diesel::table! {
        comments (id) { id -> BigInt, post_id -> Integer, score -> Integer, body -> Text, hidden -> Bool, }
    }
    diesel::table! { replies (id) { id -> BigInt, parent_id -> Nullable<BigInt>, } }
}
use schema::{comments, replies};

#[derive(Debug, Clone, PartialEq, Queryable, Selectable)]
#[diesel(table_name = comments)]
pub(crate) struct Comment {
    pub(crate) id: i64,
    post_id: i32,
    pub(crate) score: i32,
    body: String,
}

/// Posts 1 to 50 with as many comments as their number, scores 0 to 6 again and again, every tenth comment
/// hidden.
pub(crate) async fn database() -> TestDatabase {
    let database = TestDatabase::empty().await.unwrap();
    let schema = "CREATE SEQUENCE statements;
        CREATE TABLE comments (id bigserial PRIMARY KEY, post_id integer NOT NULL, score integer NOT NULL,
            body text NOT NULL, hidden boolean NOT NULL DEFAULT false);
        INSERT INTO comments (post_id, score, body)
            SELECT post, n % 7, 'comment ' || n FROM generate_series(1, 50) AS post, generate_series(1, 50) AS n
            WHERE n <= post ORDER BY random();
        UPDATE comments SET hidden = id % 10 = 0;
        CREATE INDEX ON comments (post_id, score, id);
        CREATE TABLE replies (id bigint PRIMARY KEY, parent_id bigint);
        INSERT INTO replies SELECT n, NULLIF(n % 10, 0) FROM generate_series(1, 100) AS n;
        CREATE INDEX ON replies (parent_id, id)";
    database.connect().await.unwrap().batch_execute(schema).await.unwrap();
    database
}

pub(crate) type Key = (i32, i64);

pub(crate) fn shown() -> Children<i32, Comment, Key> {
    let counted = diesel::dsl::sql::<diesel::sql_types::Bool>("(SELECT nextval('statements')) > 0");
    let shown =
        comments::table.filter(comments::hidden.eq(false)).filter(counted).select(Comment::as_select());
    Children::new("comments", shown, comments::post_id, (comments::score, comments::id))
}

/// What the database holds, read plainly.
async fn all(conn: &mut AsyncPgConnection, post: i32, order: Order) -> Vec<Comment> {
    let of = comments::table.filter(comments::post_id.eq(post)).filter(comments::hidden.eq(false));
    let mut all: Vec<Comment> = of.select(Comment::as_select()).load(conn).await.unwrap();
    all.sort_by_key(|comment| (comment.score, comment.id));
    if order == Order::Descending {
        all.reverse();
    }
    all
}

pub(crate) async fn statements(conn: &mut AsyncPgConnection) -> i64 {
    count(conn, "SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS n FROM statements").await
}

#[tokio::test]
async fn every_parent_gets_its_first_children_in_order_from_one_statement() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let comments = shown().on(Source::opening(database.url()));
    for (round, order) in [Order::Ascending, Order::Descending].into_iter().enumerate() {
        let pages = join_all((0..=60).map(|post| comments.load_top(post, 10, order))).await;
        assert_eq!(statements(&mut conn).await, i64::try_from(round).unwrap() + 1);
        for (post, page) in (0..).zip(pages) {
            let mut expected = all(&mut conn, post, order).await;
            expected.truncate(10);
            assert_eq!(*page.unwrap(), *expected, "{post} {order:?}");
        }
    }
}

#[tokio::test]
async fn each_parent_may_want_another_number() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let comments = shown().on(Source::opening(database.url()));
    let wanted: Vec<u32> = (0..50).collect();
    let pages = join_all(wanted.iter().map(|n| comments.load_top(50, *n, Order::Ascending))).await;
    let expected = all(&mut conn, 50, Order::Ascending).await;
    for (n, page) in wanted.into_iter().zip(pages) {
        let n = usize::try_from(n).unwrap().min(expected.len());
        assert_eq!(*page.unwrap(), expected[..n]);
    }
    assert_eq!(statements(&mut conn).await, 1);
}

/// Walks through all pages of a parent by cursors.
async fn walk(comments: &Top<i32, Comment, Key>, post: i32, size: u32, order: Order) -> Vec<Comment> {
    let mut walked: Vec<Comment> = Vec::new();
    loop {
        let page = Page::first(size);
        let page = match walked.last() {
            Some(last) => page.after((last.score, last.id)),
            None => page,
        };
        let next = comments.load_page(post, page, order).await.unwrap();
        if next.is_empty() {
            return walked;
        }
        walked.extend(next.iter().cloned());
    }
}

#[tokio::test]
async fn pages_by_cursor_hold_every_child_once() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let comments = shown().on(Source::opening(database.url()));
    for (size, order) in
        [(1, Order::Descending), (7, Order::Ascending), (7, Order::Descending), (100, Order::Ascending)]
    {
        let walks = join_all([11, 30, 50].map(|post| walk(&comments, post, size, order))).await;
        for (post, walked) in [11, 30, 50].into_iter().zip(walks) {
            assert_eq!(walked, all(&mut conn, post, order).await, "{post} {size} {order:?}");
        }
    }
}

#[tokio::test]
async fn pages_by_offset_and_by_cursor_of_one_batch_are_two_statements() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let comments = shown().on(Source::opening(database.url()));
    let expected = all(&mut conn, 40, Order::Ascending).await;
    let (second, third, other) = tokio::join!(
        comments.load_page(40, Page::first(5).offset(5), Order::Ascending),
        comments.load_page(40, Page::first(5).offset(10), Order::Ascending),
        comments.load_page(40, Page::first(5).after((expected[9].score, expected[9].id)), Order::Ascending),
    );
    assert_eq!(*second.unwrap(), expected[5..10]);
    assert_eq!(*third.unwrap(), expected[10..15]);
    assert_eq!(*other.unwrap(), expected[10..15]);
    assert_eq!(statements(&mut conn).await, 2);
}

#[tokio::test]
async fn a_parent_column_may_be_null() {
    let database = database().await;
    let replies: Children<i64, i64, (i64,)> = Children::new(
        "replies",
        replies::table.select(replies::id),
        replies::parent_id.assume_not_null(),
        (replies::id,),
    );
    let replies = replies.on(Source::opening(database.url()));
    let (one, none) =
        tokio::join!(replies.load_top(1, 3, Order::Ascending), replies.load_top(10, 3, Order::Ascending));
    assert_eq!((&*one.unwrap(), none.unwrap().len()), (&[1_i64, 11, 21][..], 0));
}

#[tokio::test]
async fn children_are_loaded_in_a_transaction_and_remembered_in_a_scope() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let (lent, mut loan) = lend(&mut conn);
    let comments = shown();
    let in_transaction = comments.within(&lent);
    let page = loan.run(in_transaction.load_top(7, 3, Order::Ascending)).await.unwrap();
    assert_eq!(page.len(), 3);
    let request = Scope::new();
    let elsewhere = comments.on(Source::opening(database.url()));
    for _ in 0..3 {
        let page = elsewhere.of(&request).load_top(7, 3, Order::Ascending).await.unwrap();
        assert_eq!(page.len(), 3);
    }
    assert_eq!(statements(&mut conn).await, 2);
    assert_eq!(comments.counts().batches(), 2);
}

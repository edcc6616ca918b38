//! loader-2: what a page of each of a thousand parents costs the server. Both sizes are the full one.

use std::collections::HashMap;

use db_loader::{Children, Order};
use db_testkit::claims::{Figure, Size};
use db_testkit::{Source, TestDatabase, until};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::join_all;
use serde_json::json;

const PARENTS: i64 = 1_000;
const EACH: u32 = 10;
const MOST: f64 = 1.1;

mod schema {
    diesel::table! { comments (id) { id -> BigInt, post_id -> BigInt, body -> Text, } }
}
use schema::comments;

/// A thousand posts with two hundred comments each, which lie in no order.
const SCHEMA: &str = "CREATE SEQUENCE statements;
    CREATE TABLE comments (id bigint PRIMARY KEY, post_id bigint NOT NULL, body text NOT NULL);
    INSERT INTO comments SELECT n, n % 1000, repeat('x', 100) FROM generate_series(0, 199999) AS n ORDER BY random();
    CREATE INDEX ON comments (post_id, id);
    VACUUM ANALYZE comments";

#[derive(QueryableByName, Clone, Copy)]
struct Seen {
    #[diesel(sql_type = BigInt)]
    rows: i64,
    #[diesel(sql_type = BigInt)]
    statements: i64,
}

/// The line whose removal this must notice: `LIMIT db_loader_parents.count` in `lateral.rs`.
pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (returned, read, statements) = runtime.block_on(async {
        let database = TestDatabase::empty().await.unwrap();
        let mut conn = database.connect().await.unwrap();
        for statement in SCHEMA.split(';') {
            conn.batch_execute(statement).await.unwrap();
        }
        drop(conn);
        // A session's counts are there when it has ended.
        let mut conn = database.connect().await.unwrap();
        until("what filled the table is counted", async || {
            let filled = "SELECT n_tup_ins AS rows, 0::bigint AS statements FROM pg_stat_user_tables";
            sql_query(filled).get_result::<Seen>(&mut conn).await.unwrap().rows == 200 * PARENTS
        })
        .await;
        let before = seen(&mut conn).await;
        let counted = diesel::dsl::sql::<Bool>("(SELECT nextval('statements')) > 0");
        let select = comments::table.filter(counted).select((comments::id, comments::body));
        let children: Children<i64, (i64, String), (i64,)> =
            Children::new("comments", select, comments::post_id, (comments::id,));
        let comments = children.on(Source::opening(database.url()));
        let pages = join_all((0..PARENTS).map(|post| comments.load_top(post, EACH, Order::Descending))).await;
        let mut returned = HashMap::new();
        for (post, page) in (0..).zip(pages) {
            let page = page.unwrap();
            let newest = (0..i64::from(EACH)).map(|back| (200 - 1 - back) * PARENTS + post);
            assert!(page.iter().map(|comment| comment.0).eq(newest), "of post {post}");
            returned.insert(post, page.len());
        }
        let returned: usize = returned.values().sum();
        until("the statement's rows are counted", async || seen(&mut conn).await.rows > before.rows).await;
        let after = seen(&mut conn).await;
        (returned, after.rows - before.rows, after.statements)
    });
    let ratio = read as f64 / returned as f64;
    Figure {
        value: ratio,
        unit: "rows read for each returned",
        holds: ratio <= MOST && statements == 1,
        detail: json!({ "parents": PARENTS, "returned": returned, "read": read, "statements": statements }),
    }
}

/// All rows of the table that anybody has read, or index entries where there were more; and the statements of
/// the loader.
async fn seen(conn: &mut AsyncPgConnection) -> Seen {
    let seen = "SELECT greatest(seq_tup_read + idx_tup_fetch,
            (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'comments'))::bigint AS rows,
        (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM statements) AS statements
        FROM pg_stat_user_tables WHERE relname = 'comments'";
    sql_query(seen).get_result(conn).await.unwrap()
}

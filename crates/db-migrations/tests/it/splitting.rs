//! The server's own opinion on where statements end.

use db_migrations::split;
use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;

/// What squawk-syntax 2.68 cuts wrongly: a string that goes on behind a line break goes on in its own mode.
const CONTINUED: &str = "SELECT E'a'\n  'b\\';c'; SELECT 2";

#[tokio::test]
async fn every_statement_that_was_cut_out_is_one_for_the_server() {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    let corpus = include_str!("../corpus/hard_to_split.sql");
    let mut count = 0;
    for statement in split(corpus).into_iter().chain(split(CONTINUED)) {
        // A statement that were two could be neither prepared nor described; that a table is missing is no
        // matter.
        let sql = format!("BEGIN; {}; ROLLBACK", statement.text);
        if let Err(error) = conn.batch_execute(&sql).await {
            let error = error.to_string();
            assert!(
                error.contains("does not exist") || error.contains("there is no parameter"),
                "{error}: {}",
                statement.text
            );
        }
        conn.batch_execute("ROLLBACK").await.unwrap();
        count += 1;
    }
    assert_eq!(count, 25);
}

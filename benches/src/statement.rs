//! A whole `SELECT 1` through `Db::read`, against the same on a connection that nobody manages.

use db_core::Environment;
use db_platform::{Config, Db};
use diesel::IntoSql;
use diesel::sql_types::Integer;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use tokio_postgres::NoTls;

use crate::pairs::{Compared, Took, compare};
use crate::server::{OnOneProcessor, on_one_thread};

const ROUNDS: u32 = 20;

/// `Db::read` against a bare diesel-async connection, as bare as the pool's own; the statement is prepared
/// and kept on both sides.
pub fn against_diesel(pairs: usize) -> Compared {
    on_one_thread(async |url| {
        let _pinned = OnOneProcessor::keep(url).await;
        let db = open(url).await;
        let mut conn = bare(url).await;
        compare(
            pairs,
            async || through_db(&db).await,
            async || {
                Took::of(ROUNDS, async {
                    for _ in 0..ROUNDS {
                        assert_eq!(select_one(&mut conn).await.unwrap(), 1);
                    }
                })
                .await
            },
        )
        .await
    })
}

/// `Db::read` against tokio-postgres with a statement that is prepared once.
pub fn against_tokio_postgres(pairs: usize) -> Compared {
    on_one_thread(async |url| {
        let _pinned = OnOneProcessor::keep(url).await;
        let db = open(url).await;
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let driver = tokio::spawn(connection);
        let statement = client.prepare("SELECT $1::int4").await.unwrap();
        let compared = compare(
            pairs,
            async || through_db(&db).await,
            async || {
                Took::of(ROUNDS, async {
                    for _ in 0..ROUNDS {
                        let row = client.query_one(&statement, &[&1_i32]).await.unwrap();
                        assert_eq!(row.get::<_, i32>(0), 1);
                    }
                })
                .await
            },
        )
        .await;
        driver.abort();
        compared
    })
}

pub(crate) async fn open(url: &str) -> Db {
    Db::connect(Config::new(Environment::Production, url.parse().unwrap())).await.unwrap()
}

/// A connection as bare as the pool's own: nobody hears its notifications, and nothing selects between them
/// and answers.
pub(crate) async fn bare(url: &str) -> AsyncPgConnection {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    AsyncPgConnection::try_from(client).await.unwrap()
}

async fn through_db(db: &Db) -> Took {
    Took::of(ROUNDS, async {
        for _ in 0..ROUNDS {
            assert_eq!(db.read(async |conn| select_one(conn).await).await.unwrap(), 1);
        }
    })
    .await
}

pub(crate) async fn select_one(conn: &mut AsyncPgConnection) -> diesel::QueryResult<i32> {
    diesel::select(1.into_sql::<Integer>()).get_result(conn).await
}

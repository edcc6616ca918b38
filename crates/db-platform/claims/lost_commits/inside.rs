//! Work ends its own transaction, and then succeeds or fails.

use std::sync::atomic::{AtomicU32, Ordering};

use db_platform::{Config, Db, Environment, Error, Result};
use db_testkit::TestDatabase;
use diesel::sql_query;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};

use super::Number;

/// What a helper may send, as text.
const ENDS: [&str; 6] = [
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "ROLLBACK; BEGIN",
    "BEGIN; INSERT INTO ledger VALUES (2); COMMIT",
    "INSERT INTO ledger VALUES (2); COMMIT; BEGIN; INSERT INTO ledger VALUES (3)",
];

const CONFLICT: &str = "DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40001'; END $$";

/// How many of so many rounds told a success, or ran work again whose transaction had committed.
pub(super) async fn count_wrong(rounds: u32) -> u32 {
    let database = TestDatabase::empty().await.unwrap();
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("CREATE TABLE ledger (n int NOT NULL)").await.unwrap();
    let db = Db::connect(Config::new(Environment::Test, database.url().parse().unwrap())).await.unwrap();
    let mut wrong = 0;
    for _ in 0..rounds {
        for end in ENDS {
            for fails in [false, true] {
                conn.batch_execute("TRUNCATE ledger").await.unwrap();
                let runs = AtomicU32::new(0);
                let told: Result<()> = db
                    .transaction(async |conn| {
                        runs.fetch_add(1, Ordering::Relaxed);
                        conn.batch_execute("INSERT INTO ledger VALUES (1)").await?;
                        conn.batch_execute(end).await?;
                        if fails { Ok(conn.batch_execute(CONFLICT).await?) } else { Ok(()) }
                    })
                    .await;
                let rows = sql_query("SELECT count(*) AS n FROM ledger WHERE n = 1");
                let kept = RunQueryDsl::get_result::<Number>(rows, &mut conn).await.unwrap().n;
                // A rollback that began anew and a conflict after it left nothing: that may run again.
                let clean = fails && end == "ROLLBACK; BEGIN";
                let right = told.is_err() && kept <= 1;
                let once = clean || AtomicU32::load(&runs, Ordering::Relaxed) == 1;
                let typed = clean || matches!(told, Err(Error::TransactionEnded { .. }));
                if !(right && once && typed) {
                    wrong += 1;
                    eprintln!("{end}, fails {fails}: {told:?}, {kept} kept");
                }
            }
        }
    }
    wrong
}

//! `dbctl advise` from a workload to migrations and to what came, and `dbctl schema show`.

use std::path::Path;

use db_testkit::TestDatabase;
use diesel_async::SimpleAsyncConnection;
use serde_json::Value;

use crate::run::Run;
use crate::{dbctl, write};

/// City and country depend on each other: the planner multiplies what is the same.
const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, customer int NOT NULL, city int NOT NULL, \
    country int NOT NULL, total int NOT NULL);\n";
const ROWS: &str = "INSERT INTO orders SELECT i, i % 5000, i % 50, (i % 50) / 2, i % 1000 \
    FROM generate_series(1, 100000) i";
const WORKLOAD: &str = r#"[
    {"id": "of customer", "sql": "SELECT * FROM orders WHERE customer = $1", "params": ["4177"], "calls_per_day": 5000},
    {"id": "of city", "sql": "SELECT sum(total) FROM orders WHERE city = $1 AND country = $2", "params": ["7", "3"]}]"#;

async fn shop(directory: &Path) -> (TestDatabase, String) {
    let files = [
        ("migrations/2025-01-01-000000_orders/up.sql", TABLE),
        ("migrations/2025-01-01-000000_orders/down.sql", "DROP TABLE orders;\n"),
        ("workload.json", WORKLOAD),
    ];
    write(directory, &files);
    let dir = directory.join("migrations").display().to_string();
    let database = TestDatabase::empty().await.unwrap();
    let applied = dbctl(&at(&database), &["migrate", "apply", "--dir", &dir]).await;
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute(ROWS).await.unwrap();
    conn.batch_execute("VACUUM ANALYZE orders").await.unwrap();
    (database, dir)
}

fn at(database: &TestDatabase) -> [(&str, &str); 2] {
    [("DATABASE_URL", database.url()), ("APP_ENV", "test")]
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|_| panic!("{}{}", run.out, run.err))
}

#[tokio::test]
async fn accepted_advice_becomes_checked_migrations_and_what_came_is_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (database, dir) = shop(directory.path()).await;
    let at = at(&database);
    let (workload, advice) = (path("workload.json"), path("advice.json"));
    let advised = dbctl(&at, &["advise", "indexes", "--workload", &workload, "--sample", "--json"]).await;
    std::fs::write(&advice, &advised.out).unwrap();
    let found = json(&advised);
    assert_eq!(found["suggestions"][0]["index"], "orders USING btree (customer)", "{found}");
    assert_eq!(found["statistics"][0]["statistics"], "orders (city, country)", "{found}");
    assert!(!advised.out.contains("4177"), "advice keeps no value: {}", advised.out);

    let files = || std::fs::read_dir(&dir).unwrap().count();
    let planned = dbctl(&at, &["advise", "apply", "--advice", &advice, "--dir", &dir, "--plan"]).await;
    assert_eq!((planned.code, files()), (Some(0), 1), "{}{}", planned.out, planned.err);
    assert!(planned.out.contains("CREATE INDEX CONCURRENTLY orders_customer_idx"), "{}", planned.out);
    assert!(planned.out.contains("CREATE STATISTICS"), "{}", planned.out);

    let none =
        dbctl(&at, &["advise", "compare", "--advice", &advice, "--workload", &workload, "--json"]).await;
    assert_eq!(
        (none.code, &json(&none)["outcomes"][0]["verdict"]),
        (Some(3), &"missing".into()),
        "{}",
        none.err
    );

    let applied = dbctl(&at, &["advise", "apply", "--advice", &advice, "--dir", &dir, "--json"]).await;
    assert_eq!((applied.code, files()), (Some(0), 4), "{}{}", applied.out, applied.err);
    assert_eq!(json(&applied)["check"]["summary"]["passes"], true);
    let deployed = dbctl(&at, &["migrate", "apply", "--dir", &dir]).await;
    assert_eq!(deployed.out, "3 applied\n", "{}", deployed.err);

    let came =
        dbctl(&at, &["advise", "compare", "--advice", &advice, "--workload", &workload, "--json"]).await;
    let outcomes = json(&came)["outcomes"].clone();
    assert_eq!(came.code, Some(0), "{outcomes:#}{}", came.err);
    let all_kept = outcomes.as_array().unwrap().iter().all(|one| one["verdict"] == "kept");
    assert!(all_kept, "{outcomes:#}");
    let [promised, built] = [0, 1].map(|n| outcomes[0]["bytes"][n].as_f64().unwrap());
    let is_said = outcomes[0]["notes"].to_string().contains("bytes");
    assert_eq!(is_said, (built - promised).abs() > 0.2 * promised, "{outcomes:#}");

    // The table grows to fifty times what it was for this customer: less comes, and it is said.
    let mut conn = database.connect().await.unwrap();
    conn.batch_execute("INSERT INTO orders SELECT i, 4177, 1, 1, 1 FROM generate_series(200000, 230000) i")
        .await
        .unwrap();
    conn.batch_execute("ANALYZE orders").await.unwrap();
    let only = ["--only", "orders_customer_idx"];
    let compare = ["advise", "compare", "--advice", &advice, "--workload", &workload];
    let less = dbctl(&at, &[&compare[..], &only[..]].concat()).await;
    assert_eq!(less.code, Some(3), "{}", less.out);
    assert!(
        less.out.contains("less came than was promised") || less.out.contains("does not use it"),
        "{}",
        less.out
    );
}

#[tokio::test]
async fn advice_that_is_none_or_names_nothing_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("advice.json");
    let file = path.to_str().unwrap();
    std::fs::write(&path, "[1]").unwrap();
    let refused = dbctl(&[], &["advise", "apply", "--advice", file]).await;
    assert!(refused.code == Some(1) && refused.err.contains("not the advice"), "{}", refused.err);
    std::fs::write(&path, r#"{"suggestions": []}"#).unwrap();
    let refused = dbctl(&[], &["advise", "apply", "--advice", file, "--only", "x"]).await;
    assert!(refused.code == Some(1) && refused.err.contains("--only names x"), "{}", refused.err);
}

#[tokio::test]
async fn without_a_workload_the_dearest_statements_of_the_server_are_advised() {
    let directory = tempfile::tempdir().unwrap();
    let (database, _) = shop(directory.path()).await;
    let at = at(&database);
    let none = dbctl(&at, &["advise", "indexes"]).await;
    if none.code == Some(1) {
        assert!(none.err.contains("--workload") && none.err.contains("pg_stat_statements"), "{}", none.err);
        return;
    }
    // The server of the tests loads the extension.
    assert_eq!(none.code, Some(0), "{}", none.err);
}

#[tokio::test]
async fn the_schema_is_shown_as_text_and_as_json() {
    let directory = tempfile::tempdir().unwrap();
    let (database, _) = shop(directory.path()).await;
    let at = at(&database);
    let shown = dbctl(&at, &["schema", "show", "--table", "orders"]).await;
    assert!(shown.out.contains("table public.orders, about 100000 rows"), "{}{}", shown.out, shown.err);
    assert!(shown.out.contains("    customer integer NOT NULL\n"), "{}", shown.out);
    let all = json(&dbctl(&at, &["schema", "show", "--json"]).await);
    let tables: Vec<&str> =
        all["tables"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert!(tables.contains(&"orders"), "{tables:?}");
    let absent = dbctl(&at, &["schema", "show", "--table", "nobody"]).await;
    assert!(absent.code == Some(1) && absent.err.contains("nobody"), "{}", absent.err);
}

//! A plain table becomes a partitioned one while it is written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_maintenance::partitions::{Conversion, Every};
use tokio_postgres::Client;

use crate::database::{apply, at, bounds, connect, failed, texts, with};

const ORDERS: &str = "CREATE TABLE customers (id int PRIMARY KEY); INSERT INTO customers VALUES (1), (2); \
    CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL \
    REFERENCES customers, \
      at timestamptz NOT NULL DEFAULT now(), note text DEFAULT 'x' CHECK (note <> '')); \
    CREATE INDEX orders_customer ON orders (customer, at DESC) WHERE note IS NOT NULL; \
    COMMENT ON TABLE orders IS 'ours'; GRANT SELECT ON orders TO pg_monitor; \
    INSERT INTO orders (customer, at) SELECT 1, now() - n * interval '1 hour' FROM generate_series(1, \
    2000) n";

fn conversion() -> Conversion {
    Conversion::new("public.orders".parse().unwrap(), "at", Every::Month)
}

/// Writers that insert, update and delete until they are told to end; the ids that each knows to be there.
fn writers(url: &str, many: usize, end: &Arc<AtomicBool>) -> Vec<tokio::task::JoinHandle<Vec<i64>>> {
    let writer = |url: String, end: Arc<AtomicBool>| async move {
        let client = connect(&url).await;
        let (mut there, mut number) = (Vec::new(), 0);
        while !AtomicBool::load(&end, Ordering::Relaxed) {
            let insert = "INSERT INTO public.orders (customer) VALUES (2) RETURNING id";
            let id: i64 = client.query_one(insert, &[]).await.unwrap().get(0);
            there.push(id);
            client.execute("UPDATE public.orders SET note = 'y' WHERE id = $1", &[&id]).await.unwrap();
            number += 1;
            if number % 3 == 0 {
                let gone = there.remove(there.len() / 2);
                assert_eq!(
                    client.execute("DELETE FROM public.orders WHERE id = $1", &[&gone]).await.unwrap(),
                    1
                );
            }
        }
        there
    };
    (0..many).map(|_| tokio::spawn(writer(url.to_owned(), Arc::clone(end)))).collect()
}

async fn ids(client: &Client) -> Vec<i64> {
    let rows =
        client.query("SELECT id FROM public.orders WHERE customer = 2 ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_written_to_is_converted_and_loses_nothing() {
    let (database, mut client) = with(ORDERS).await;
    let end = Arc::new(AtomicBool::new(false));
    let running = writers(database.url(), 3, &end);
    let plan = conversion().plan(&mut client).await.unwrap();
    assert!(plan.refusals.is_empty() && plan.steps.len() == 5, "{plan}");
    assert!(plan.to_string().contains("the primary key becomes (\"id\", \"at\")"), "{plan}");
    let converted = conversion().apply(&mut client).await.unwrap();
    assert_eq!(converted.done.len(), 5);
    end.store(true, Ordering::Relaxed);
    let mut there = Vec::new();
    for writer in running {
        there.extend(writer.await.unwrap());
    }
    there.sort_unstable();
    assert_eq!(ids(&client).await, there);
    let all = "SELECT concat_ws(' ', (SELECT count(*) FROM orders WHERE customer = 1), \
        obj_description('orders'::regclass), \
        has_table_privilege('pg_monitor', 'orders', 'SELECT'), (SELECT count(*) FROM pg_constraint \
        WHERE conrelid = 'orders'::regclass AND contype = 'f'), (SELECT count(*) FROM pg_index WHERE \
        indrelid = 'orders'::regclass AND indisvalid))";
    assert_eq!(texts(&client, all).await, ["2000 ours t 1 2"]);
    client.batch_execute("INSERT INTO orders (customer) VALUES (9)").await.unwrap_err();
    // Its sequence keeps its name, too. What names an index or a constraint of the table means the whole
    // table's.
    let named = "SELECT string_agg(x.relname::text, ' ' ORDER BY x.relname) FROM pg_index i JOIN pg_class x \
        ON x.oid = i.indexrelid WHERE i.indrelid = 'orders'::regclass";
    assert_eq!(texts(&client, named).await, ["orders_customer orders_pkey"]);
    client
        .batch_execute(
            "INSERT INTO orders (customer) VALUES (1) ON CONFLICT ON CONSTRAINT orders_pkey DO NOTHING; \
             DELETE FROM orders WHERE customer = 1 AND at > now() - interval '1 minute'; \
             SELECT nextval('orders_id_seq'); DROP INDEX orders_customer; CREATE INDEX orders_customer ON orders (customer)",
        )
        .await
        .unwrap();
    // It is done: nothing is done again, and upkeep goes on from its bound.
    assert!(conversion().apply(&mut client).await.unwrap().done.is_empty());
    let policy = "[[set]]\ntable = \"public.orders\"\nevery = \"month\"\nahead = \"6 months\"";
    let now = chrono::Utc::now().to_rfc3339();
    let report = apply(&at(&now, policy), &mut client).await;
    assert_eq!(failed(&report), "");
    assert!(
        bounds(&client, "orders").await.len() > 4 && report.sets[0].health.holes.is_empty(),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conversion_that_is_killed_again_and_again_goes_on_where_it_was() {
    let (database, client) = with(ORDERS).await;
    let (mut killed, mut wait) = (0, 1);
    loop {
        let mut victim = connect(database.url()).await;
        let pid: i32 = victim.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        let conversion = conversion();
        let running = tokio::spawn(async move { conversion.apply(&mut victim).await.map(|_| ()) });
        tokio::time::sleep(Duration::from_millis(wait)).await;
        client.execute("SELECT pg_terminate_backend($1, 5000)", &[&pid]).await.unwrap();
        let ended = running.await.unwrap();
        client.batch_execute("INSERT INTO public.orders (customer) VALUES (2)").await.unwrap();
        if ended.is_ok() {
            break;
        }
        (killed, wait) = (killed + 1, wait + 3);
        assert!(killed < 300, "{ended:?}");
    }
    assert!(killed > 0, "nothing was killed: the test shows nothing");
    assert_eq!(texts(&client, "SELECT count(*)::text FROM orders WHERE customer = 1").await, ["2000"]);
    assert_eq!(ids(&client).await.len(), killed + 1);
    let left = "SELECT relname::text FROM pg_class WHERE relname LIKE '%dbm%' AND relkind = 'r'";
    assert_eq!(texts(&client, left).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_speaks_against_a_conversion_is_said_at_once_and_nothing_is_done() {
    let (_database, mut client) = with(&format!(
        "{ORDERS}; ALTER TABLE orders ADD COLUMN code text UNIQUE; CREATE VIEW seen AS SELECT * FROM orders; \
         CREATE TABLE lines (n bigint REFERENCES orders); CREATE FUNCTION f() RETURNS trigger LANGUAGE \
         plpgsql \
         AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER stamps BEFORE UPDATE ON orders FOR EACH ROW EXECUTE \
         FUNCTION f(); \
         ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE PUBLICATION tells FOR TABLE orders; \
         ALTER TABLE orders REPLICA IDENTITY FULL; ALTER TABLE orders ALTER at DROP NOT NULL; \
         INSERT INTO orders (customer, at) VALUES (1, NULL)"
    ))
    .await;
    let said = conversion().apply(&mut client).await.unwrap_err().to_string();
    for part in [
        "lines_n_fkey",
        "seen",
        "stamps",
        "row security",
        "orders_code_key",
        "tells",
        "replica identity",
        "NULL",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let made = "SELECT conname::text FROM pg_constraint WHERE conname LIKE '%dbm%'";
    assert_eq!(texts(&client, made).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_unique_constraint_with_the_keys_column_is_one_of_the_whole_table() {
    let (_database, mut client) = with(&format!(
        "{ORDERS}; ALTER TABLE orders ADD CONSTRAINT once UNIQUE (customer, at); ALTER TABLE orders DROP \
         CONSTRAINT orders_pkey; ALTER TABLE orders ADD CONSTRAINT pair PRIMARY KEY (id, at)"
    ))
    .await;
    conversion().apply(&mut client).await.unwrap();
    let insert = "INSERT INTO public.orders (customer, at) SELECT customer, at FROM public.orders LIMIT 5";
    client.batch_execute(&format!("{insert} ON CONFLICT ON CONSTRAINT once DO NOTHING")).await.unwrap();
    client.batch_execute(&format!("{insert} ON CONFLICT ON CONSTRAINT pair DO NOTHING")).await.unwrap_err();
    let left = "SELECT relname::text FROM pg_class WHERE relname LIKE '%dbm%'";
    assert_eq!(texts(&client, left).await, Vec::<String>::new());
    let all = "SELECT count(*)::text FROM pg_constraint WHERE conrelid = 'orders'::regclass AND contype IN \
        ('p', 'u')";
    assert_eq!(texts(&client, all).await, ["2"]);
}

#[tokio::test]
async fn an_abort_leaves_the_table_as_it_was() {
    let (database, mut client) = with(ORDERS).await;
    let reader = connect(database.url()).await;
    // A transaction that read the table keeps the swap from its lock.
    reader.batch_execute("BEGIN; SELECT FROM orders").await.unwrap();
    let patience = db_maintenance::Patience {
        attempts: 1,
        lock_timeout: Duration::from_millis(5),
        pause: Duration::from_millis(1),
    };
    let error = conversion().patience(patience).apply(&mut client).await.unwrap_err();
    assert!(error.to_string().contains("no lock within"), "{error}");
    reader.batch_execute("COMMIT").await.unwrap();
    conversion().abort(&mut client).await.unwrap();
    let left = "SELECT relname::text FROM pg_class WHERE relname LIKE '%dbm%' UNION \
        SELECT conname::text FROM pg_constraint WHERE conname LIKE '%dbm%'";
    assert_eq!(texts(&client, left).await, Vec::<String>::new());
}

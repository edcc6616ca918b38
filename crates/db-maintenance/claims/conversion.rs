//! A plain table becomes a partitioned one under load, and whoever converts it is killed.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use db_maintenance::partitions::{Conversion, Every};
use db_testkit::TestDatabase;
use db_testkit::claims::{Figure, Size};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::block_on;
use crate::database::connect;
use crate::load::Load;

/// The argument by which this program converts, and nothing else.
pub(crate) const CHILD: &str = "convert-child";

const TABLE: &str = "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer \
    int NOT NULL, \
    at timestamptz NOT NULL DEFAULT now(), note text); CREATE INDEX ON orders (customer)";

fn conversion() -> Conversion {
    Conversion::new("public.orders".parse().unwrap(), "at", Every::Month)
}

/// Converts, and prints how long the table was locked exclusively, in microseconds.
#[expect(clippy::print_stdout, reason = "it is the child of a program that reads it")]
pub(crate) fn child(url: &str) -> ExitCode {
    let converted = block_on(async { conversion().apply(&mut connect(url).await).await });
    match converted {
        Ok(converted) => {
            println!("{}", converted.exclusive.as_micros());
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn measure(size: Size) -> Figure {
    let rows = if size == Size::Ci { 2_000_000 } else { 10_000_000 };
    block_on(converted(rows))
}

async fn converted(rows: u32) -> Figure {
    let database = TestDatabase::empty().await.unwrap();
    let client = connect(database.url()).await;
    client.batch_execute(TABLE).await.unwrap();
    let fill = format!(
        "INSERT INTO orders (customer, at, note) SELECT n % 1000, now() - n * interval '3 seconds', \
         md5(n::text) \
         FROM generate_series(1, {rows}) n; ANALYZE orders"
    );
    client.batch_execute(&fill).await.unwrap();
    let load = Load::start(
        database.url(),
        4,
        "INSERT INTO public.orders (customer) VALUES (-1) RETURNING id",
        "UPDATE public.orders SET note = 'seen' WHERE id = $1",
        "DELETE FROM public.orders WHERE id = $1",
    );
    let (killed, exclusive) = kill_until_done(database.url()).await;
    let seen = load.end().await;
    let sql = "SELECT id FROM orders WHERE customer = -1 ORDER BY id";
    let there: Vec<i64> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    let old: i64 =
        client.query_one("SELECT count(*) FROM orders WHERE customer >= 0", &[]).await.unwrap().get(0);
    let parts = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'orders'::regclass";
    let parts: i64 = client.query_one(parts, &[]).await.unwrap().get(0);
    let worst = exclusive.as_secs_f64() * 1e3;
    let is_kept = there == seen.there && old == i64::from(rows);
    Figure {
        value: worst,
        unit: "ms exclusive",
        holds: worst <= 50.0 && seen.errors.is_empty() && is_kept && parts == 2 && killed > 0,
        detail: json!({
            "rows": rows, "killed": killed, "errors": seen.errors.len(), "first_error": seen.errors.first(),
            "statements": seen.statements, "worst_statement_ms": seen.worst.as_secs_f64() * 1e3,
            "acknowledged": seen.there.len(), "found": there.len(), "kept": is_kept, "partitions": parts,
        }),
    }
}

/// Starts the conversion as a process of its own, kills it a little later each time, until one gets through.
async fn kill_until_done(url: &str) -> (u32, Duration) {
    let program = std::env::current_exe().unwrap();
    let (mut killed, mut lives) = (0, Duration::from_millis(30));
    loop {
        let mut command = Command::new(&program);
        let child = command.args([CHILD, url]).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        // Dropping what waits for it sends SIGKILL.
        let Ok(output) = timeout(lives, child.wait_with_output()).await else {
            killed += 1;
            lives = lives.mul_f64(1.7).min(Duration::from_secs(120));
            continue;
        };
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        match said.trim().parse() {
            Ok(micros) => return (killed, Duration::from_micros(micros)),
            // The server notices within a second that the one before is gone.
            Err(_) if said.contains("another maintainer") => {}
            Err(_) => panic!("{said}"),
        }
    }
}

//! seeds-5b: how fast rows are made and copied.

use std::time::Instant;

use db_seeds::GenerateOptions;
use db_testkit::claims::{Figure, Size};
use serde_json::json;

use crate::schemas;

pub(crate) fn measure(size: Size) -> Figure {
    let rows = if size == Size::Nightly { 5_000_000 } else { 1_000_000 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let sql =
                "CREATE TABLE readings (id bigint PRIMARY KEY, sensor int NOT NULL, value int NOT NULL)";
            let (_database, mut client) = schemas::made(&[sql.to_owned()]).await;
            let begun = Instant::now();
            let options = GenerateOptions { default_rows: rows, ..GenerateOptions::default() };
            let made = schemas::filled(&mut client, options).await;
            seen.push(made.rows() as f64 / begun.elapsed().as_secs_f64());
        }
        let value = seen.iter().copied().fold(0.0, f64::max);
        let detail = json!({ "rows_per_second": seen });
        Figure { value, unit: "rows a second", holds: value >= 150_000.0, detail }
    })
}

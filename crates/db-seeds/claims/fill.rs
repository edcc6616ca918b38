//! seeds-5: every table of a schema that nobody described gets rows, the same for the same number.

use db_seeds::{GenerateOptions, dump};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

use crate::schemas;

pub(crate) fn measure(size: Size) -> Figure {
    let numbers = if size == Size::Nightly { 200 } else { 20 };
    // Those by others have four times as many tables as ours.
    let of_strangers = if size == Size::Nightly { 50 } else { 5 };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut empty, mut differing, mut tables, mut rows) = (Vec::new(), Vec::new(), 0, 0);
        let ours = schemas::all().into_iter().map(|(name, sql)| (name.to_owned(), sql, numbers));
        let strangers = schemas::strangers();
        let known: Vec<String> = strangers.iter().map(|(name, _)| name.clone()).collect();
        let strangers = strangers.into_iter().map(|(name, sql)| (name, sql, of_strangers));
        for (name, sql, numbers) in ours.chain(strangers) {
            for seed in 0..numbers {
                let (_database, mut client) = schemas::made(&sql).await;
                let options = GenerateOptions { seed, ..GenerateOptions::default() };
                let made = schemas::filled(&mut client, options.clone()).await;
                tables += made.tables.len();
                rows += made.rows();
                let none = made.tables.iter().filter(|table| table.rows == 0);
                empty.extend(none.map(|table| format!("{name}, number {seed}: {table}")));
                if seed == 0 {
                    let files = tempfile::tempdir().unwrap();
                    let first = dump(&mut client, files.path(), &[]).await.unwrap();
                    let (_again, mut again) = schemas::made(&sql).await;
                    schemas::filled(&mut again, options).await;
                    let others = tempfile::tempdir().unwrap();
                    let second = dump(&mut again, others.path(), &[]).await.unwrap();
                    if without_clock(&first.files) != without_clock(&second.files) {
                        differing.push(name.clone());
                    }
                }
            }
        }
        let value = (empty.len() + differing.len()) as f64;
        let detail = json!({
            "tables": tables, "rows": rows, "empty": empty, "differing": differing, "strangers": known,
        });
        Figure {
            value,
            unit: "tables without a row, and schemas with other bytes",
            holds: value == 0.0,
            detail,
        }
    })
}

/// The files without moments of the clock: those that triggers of the schema's own wrote when a row was
/// changed. They have parts of seconds; what is made has none.
fn without_clock(files: &[std::path::PathBuf]) -> Vec<String> {
    let moment = regex::Regex::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+").unwrap();
    schemas::texts(files).iter().map(|text| moment.replace_all(text, "now").into_owned()).collect()
}

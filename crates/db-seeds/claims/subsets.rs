//! seeds-5c: a masked part of a database loads elsewhere, and holds no masked value.

use std::path::Path;

use db_core::Environment;
use db_seeds::{GenerateOptions, Masks, SeedOptions, Seeds, Subset};
use db_testkit::claims::{Figure, Size};
use serde_json::json;

use crate::schemas;

/// The schemas with a table whose rows lead to many others, and a column of people in it.
const ROOTS: [(&str, &str, &str); 2] =
    [("reference", "users", "email"), ("tenants", "tasks WHERE id % 5 = 0", "title")];

pub(crate) fn measure(_: Size) -> Figure {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut faults, mut rows) = (Vec::new(), 0);
        for (name, root, column) in ROOTS {
            let sql = schemas::all().into_iter().find(|(one, _)| *one == name).unwrap().1;
            let (_database, mut client) = schemas::made(&sql).await;
            schemas::filled(&mut client, GenerateOptions::default()).await;
            let proposed = Masks::proposed(&mut client).await.unwrap();
            let proposed = proposed.replace(r#""title" = "keep""#, r#""title" = "text""#);
            let masks = Masks::parse(Path::new("masks.toml"), &proposed, b"the key of this claim").unwrap();
            let dir = tempfile::tempdir().unwrap();
            let subset = Subset { roots: vec![root.to_owned()], masks, children: true };
            let dumped = match subset.write(&mut client, &dir.path().join("part")).await {
                Ok(dumped) => dumped,
                Err(error) => {
                    faults.push(format!("{name}: {error}"));
                    continue;
                }
            };
            rows += dumped.rows;
            let texts = schemas::texts(&dumped.files).concat();
            // Of the rows that were taken: what other rows hold was never masked.
            let values = client.query(&format!("SELECT {column}::text FROM {root}"), &[]).await.unwrap();
            let values = values.iter().map(|row| row.get::<_, String>(0));
            faults.extend(
                values.filter(|value| texts.contains(value)).map(|_| format!("{name}: a masked value")),
            );
            let (_other, mut other) = schemas::made(&sql).await;
            let seeds = Seeds::open(dir.path(), "part").unwrap();
            let options = SeedOptions { environment: Some(Environment::Test), ..SeedOptions::default() };
            let plan = seeds.plan(&other, &options).await.unwrap();
            if let Err(error) = seeds.apply(&mut other, &plan, |_| {}).await {
                faults.push(format!("{name}: {error}"));
            }
        }
        let value = faults.len() as f64;
        let detail = json!({ "rows": rows, "faults": faults });
        Figure { value, unit: "violations and masked values", holds: value == 0.0 && rows > 0, detail }
    })
}

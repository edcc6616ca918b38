//! Prints src/wire/catalog/catalog.txt, made from servers of the versions that are named.
//!
//! `cargo run -p db-pool --example catalog -- 14 15 16 17 18 19 > catalog.txt`; a version that cannot be
//! fetched is found where `DB_PLATFORM_PG_BIN` says.
#![expect(clippy::print_stdout, reason = "printing is all it does")]

use std::collections::BTreeMap;
use std::error::Error;

use db_testkit::Cluster;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

const QUERY: &str = include_str!("../src/wire/catalog/catalog.sql");

#[derive(diesel::QueryableByName)]
struct Line {
    #[diesel(sql_type = Text)]
    line: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let versions: Vec<u16> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for version in &versions {
        let cluster = Cluster::builder().version(*version).start().await?;
        for Line { line } in sql_query(QUERY).load(&mut cluster.connect(0).await?).await? {
            known.entry(line).or_default().push(version.to_string());
        }
    }
    for (line, has) in known {
        if has.len() == versions.len() { println!("{line}") } else { println!("{line} {}", has.join(",")) }
    }
    Ok(())
}

//! Loads a seed set: `load URL DIR NAME SCALE`.

use db_seeds::{SeedOptions, Seeds};
use tokio_postgres::NoTls;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, dir, name, scale] = arguments.as_slice() else { return Err("load URL DIR NAME SCALE".into()) };
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    let seeds = Seeds::open(dir, name)?;
    let plan = seeds.plan(&client, &SeedOptions { scale: scale.parse()?, ..SeedOptions::default() }).await?;
    eprint!("{plan}");
    let applied = seeds.apply(&mut client, &plan, |_| {}).await?;
    let rate = applied.rows as f64 / applied.took.as_secs_f64();
    eprintln!("{} rows in {:.2?}: {rate:.0} rows/s", applied.rows, applied.took);
    Ok(())
}

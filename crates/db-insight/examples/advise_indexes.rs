//! Advises indexes for a workload file on the database that `DATABASE_URL` names, as JSON.

use std::error::Error;

use db_insight::indexes::{AdviceConfig, Prove, advise, read_workload};
use diesel_async::{AsyncConnection, AsyncPgConnection};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "the advice is what it prints")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("give the workload's file")?;
    let prove = match args.next().as_deref() {
        Some("build") => Prove::Build,
        Some("model") => Prove::Model,
        _ => Prove::Auto,
    };
    let workload = read_workload(&std::fs::read_to_string(file)?)?;
    let mut conn = AsyncPgConnection::establish(&std::env::var("DATABASE_URL")?).await?;
    let config = AdviceConfig { prove, ..AdviceConfig::default() };
    println!("{}", serde_json::to_string(&advise(&mut conn, &workload, &config).await?)?);
    Ok(())
}

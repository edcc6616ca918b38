//! Random points in time over three timelines: each restored database holds exactly what it must.

use db_backup::restore::RestoreConfig;
use db_testkit::Stop;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::ledger::{ANSWER, Commit, create, expected, write};
use crate::live::Live;
use crate::{Figure, Size, runtime};

pub(crate) fn measure(size: Size) -> Figure {
    let targets = if size == Size::Nightly { 500 } else { 60 };
    runtime().block_on(all(targets))
}

async fn all(targets: usize) -> Figure {
    let mut random = StdRng::seed_from_u64(2);
    let live = Live::start_with(None, &[], 2).await;
    create(&live).await;
    live.take().await;
    let mut commits = write(&live, 1..61, &mut random).await;
    for (timeline, from) in [(2, 61), (3, 121)] {
        let old = live.server.primary();
        live.server.stop(old, Stop::Fast).await.unwrap();
        live.server.promote(timeline - 1).await.unwrap();
        if timeline == 3 {
            commits.extend(write(&live, from..from + 20, &mut random).await);
            live.take().await;
            commits.extend(write(&live, from + 20..from + 60, &mut random).await);
        } else {
            commits.extend(write(&live, from..from + 60, &mut random).await);
            live.take().await;
        }
    }
    live.archive().await;
    let mut wrong: Vec<String> = Vec::new();
    let mut counts = [0_usize; 4];
    for number in 0..targets {
        let kind = number % 4;
        counts[kind] += 1;
        let commit = &commits[random.random_range(0..commits.len())];
        if let Err(error) = check(&live, commit, kind, number).await {
            wrong.push(error);
        }
        eprintln!("backup-2: target {} of {targets}", number + 1);
    }
    let timelines = live.cluster().await.timelines().await.unwrap().len();
    Figure {
        value: wrong.len() as f64,
        unit: "targets with another content",
        holds: wrong.is_empty() && timelines >= 3,
        detail: json!({
            "targets": targets, "timelines": timelines, "wrong": wrong,
            "times": counts[0], "positions": counts[1], "transactions": counts[2], "names": counts[3],
        }),
    }
}

async fn check(live: &Live, commit: &Commit, kind: usize, number: usize) -> Result<(), String> {
    let target = commit.targets[kind].clone();
    let config = live.restore_to(&format!("target-{number}"), target.clone());
    let outcome = restored(live, &config).await;
    let expected = expected(commit.number);
    let _ = std::fs::remove_dir_all(&config.directory);
    match outcome {
        Ok(found) if found == expected => Ok(()),
        Ok(found) => Err(format!("{target}: {found} instead of {expected}")),
        Err(error) => Err(format!("{target}: {error}")),
    }
}

async fn restored(live: &Live, config: &RestoreConfig) -> Result<String, String> {
    let mut restored = live.restored(config).await.map_err(|error| error.to_string())?;
    restored.ready()?;
    Ok(restored.psql(ANSWER))
}

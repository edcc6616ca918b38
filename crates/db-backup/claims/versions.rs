//! Each version of PostgreSQL: a backup, a chain where there are such, a point in time, and a rehearsal.

use db_backup::logical::{self, DumpConfig, RestoreDumpConfig, dump};
use db_backup::rehearse::{Check, Expect, RehearseConfig, rehearse};
use db_backup::restore::Target;
use db_backup::take::{TakeConfig, take};
use db_backup::{PhysicalError, VerifyOptions};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::ledger::{ANSWER, create, expected, write};
use crate::live::Live;
use crate::{Figure, Size, runtime};

/// The versions that must be there to be measured.
const PROMISED: std::ops::RangeInclusive<u16> = 15..=18;
/// Older ones have dumps only, and are told so.
const FIRST_PHYSICAL: u16 = 15;

pub(crate) fn measure(_size: Size) -> Figure {
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    let (mut missing, mut not_at_hand) = (Vec::new(), Vec::new());
    for major in db_server::MAJORS {
        if let Err(error) = db_server::find(Some(major), &|line| eprintln!("{line}")) {
            // The oldest and the newest are measured where they are at hand.
            let missing = if PROMISED.contains(&major) { &mut missing } else { &mut not_at_hand };
            missing.push(format!("{major}: {error}"));
            continue;
        }
        seen.push(major);
        let measured =
            async { if major < FIRST_PHYSICAL { dumped(major).await } else { version(major).await } };
        if let Err(error) = runtime().block_on(measured) {
            wrong.push(format!("{major}: {error}"));
        }
        eprintln!("backup-9: PostgreSQL {major}");
    }
    Figure {
        value: wrong.len() as f64,
        unit: "versions with another content",
        holds: wrong.is_empty() && missing.is_empty(),
        detail: json!({ "versions": seen, "missing": missing, "not_at_hand": not_at_hand, "wrong": wrong }),
    }
}

async fn version(major: u16) -> Result<(), String> {
    let said = |error: db_backup::PhysicalError| error.to_string();
    let mut random = StdRng::seed_from_u64(9);
    let settings: &[(&str, &str)] = if major >= 17 { &[("summarize_wal", "on")] } else { &[] };
    let live = Live::start(Some(major), settings).await;
    create(&live).await;
    let mut last = take(&live.repository, &live.config(), &|_| ()).await.map_err(said)?.summary;
    let mut commits = write(&live, 1..6, &mut random).await;
    if major >= 17 {
        for from in [6, 11] {
            let config = TakeConfig { parent: Some(last.id.clone()), ..live.config() };
            last = take(&live.repository, &config, &|_| ()).await.map_err(said)?.summary;
            commits.extend(write(&live, from..from + 5, &mut random).await);
        }
    }
    live.archive().await;
    let ends = [(commits.len() - 3, "middle"), (commits.len() - 1, "end")];
    for (index, name) in ends {
        let target = if name == "end" { Target::Latest } else { commits[index].targets[0].clone() };
        let mut restored = live.restored(&live.restore_to(name, target)).await.map_err(said)?;
        let found = restored.text(ANSWER);
        if found != expected(commits[index].number) {
            return Err(format!("{name}: {found} instead of {}", expected(commits[index].number)));
        }
    }
    let config = RehearseConfig {
        restore_command: live.restore_to("unused", Target::Latest).restore_command,
        checks: vec![Check {
            name: "ledger".to_owned(),
            database: "app".to_owned(),
            sql: ANSWER.to_owned(),
            expect: Expect::Equals(expected(commits.len() as u64)),
        }],
        ..RehearseConfig::below(live.home.path().join("rehearsals"))
    };
    let rehearsal = rehearse(&live.cluster().await, &config, &|_| ()).await.map_err(said)?;
    if rehearsal.holds() { Ok(()) } else { Err(format!("{:?} {:?}", rehearsal.problems, rehearsal.checks)) }
}

/// A version that is too old for physical backups says so before anything is written, and is dumped and
/// restored.
async fn dumped(major: u16) -> Result<(), String> {
    let live = Live::start(Some(major), &[("archive_mode", "off")]).await;
    create(&live).await;
    write(&live, 1..11, &mut StdRng::seed_from_u64(9)).await;
    let refused = take(&live.repository, &live.config(), &|_| ()).await;
    if !matches!(refused, Err(PhysicalError::TooOld { .. })) {
        return Err(format!("a physical backup: {refused:?}"));
    }
    if !live.repository.clusters().await.unwrap().is_empty() {
        return Err("a backup that was refused has left something".to_owned());
    }
    let (url, work) = (live.config().url, live.home.path().join("work"));
    let taken = dump(&live.repository, &DumpConfig::new(url.clone(), &work), &|_| ()).await;
    let taken = taken.map_err(|error| error.to_string())?;
    let cluster = live.cluster().await;
    let verdict = cluster.verify(VerifyOptions::default()).await.map_err(|error| error.to_string())?;
    let into = RestoreDumpConfig::new(url, "beside", &work);
    let restored =
        logical::restore(&cluster, &taken.id, &into, &|_| ()).await.map_err(|error| error.to_string())?;
    let whole = verdict.holds() && restored.compared == 2 && restored.miscounts.is_empty();
    if whole { Ok(()) } else { Err(format!("{verdict:?} {restored:?}")) }
}

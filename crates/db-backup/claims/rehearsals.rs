//! Rehearsals of a backup to which something has happened: each must be red.

use std::path::{Path, PathBuf};

use db_backup::Summary;
use db_backup::rehearse::{Check, Expect, RehearseConfig, rehearse};
use db_backup::restore::Target;
use rand::SeedableRng;
use rand::rngs::{SmallRng, StdRng};

use crate::ledger::{ANSWER, create, expected, write};
use crate::live::Live;
use crate::spoil::{KINDS, REMOVED, Spoiled};
use crate::world::files_below;

/// What was rehearsed, and what was not noticed.
#[derive(Default)]
pub(crate) struct Rehearsed {
    pub(crate) rehearsals: usize,
    pub(crate) missed: Vec<String>,
}

/// Each kind of corruption of each kind of object, so many times.
pub(crate) async fn rehearsed(times: usize) -> Rehearsed {
    let live = Live::start(None, &[]).await;
    create(&live).await;
    let backup = live.take().await.summary;
    for number in 1..4 {
        write(&live, number..number + 1, &mut StdRng::seed_from_u64(number)).await;
        live.archive().await;
    }
    let mut rehearsed = Rehearsed::default();
    let objects = Objects::of(&live, &backup).await;
    let mut random = SmallRng::seed_from_u64(43);
    if let Some(problem) = is_red(&live, &backup).await {
        rehearsed.missed.push(format!("nothing has happened, and it is red: {problem}"));
    }
    for time in 0..times {
        for kind in KINDS {
            let victims = objects.three(time);
            for (at, victim) in victims.iter().enumerate() {
                // That the newest segment never came cannot be told from that it was removed.
                if kind == REMOVED && objects.segments.last().is_some_and(|last| last.as_path() == *victim) {
                    continue;
                }
                let other = &victims[(at + 1) % victims.len()];
                let spoiled = Spoiled::by(kind, victim, other, &mut random);
                rehearsed.rehearsals += 1;
                if is_red(&live, &backup).await.is_none() {
                    rehearsed.missed.push(format!("a rehearsal: {}", spoiled.what));
                }
                spoiled.put_back();
                eprintln!("backup-4: {} rehearsals, {} missed", rehearsed.rehearsals, rehearsed.missed.len());
            }
        }
    }
    rehearsed
}

/// What a restore of the backup to the end of the log reads.
struct Objects {
    manifest: PathBuf,
    packs: Vec<PathBuf>,
    segments: Vec<PathBuf>,
}

impl Objects {
    async fn of(live: &Live, backup: &Summary) -> Self {
        let store = live.home.path().join("store");
        let cluster = live.cluster().await;
        let manifest = cluster.manifest(&backup.id).await.unwrap();
        let packs = manifest.content.packs.iter().map(|pack| store.join(&pack.path)).collect();
        let wal = backup.wal.as_ref().unwrap();
        let unit = backup.server.wal_segment_bytes;
        let stored = cluster.wal(wal.timeline).await.unwrap().into_iter();
        let needed = stored.filter(|stored| {
            stored.name.segment().is_some_and(|segment| segment.next(unit).start(unit) > wal.start)
        });
        let segments = needed.map(|stored| store.join(&stored.object.path)).collect();
        let is_manifest = |path: &PathBuf| path.ends_with("manifest");
        let manifest = files_below(&store.join("clusters")).into_iter().find(is_manifest).unwrap();
        Objects { manifest, packs, segments }
    }

    /// The manifest, a pack and a segment: others each time.
    fn three(&self, time: usize) -> [&Path; 3] {
        [&self.manifest, &self.packs[time % self.packs.len()], &self.segments[time % self.segments.len()]]
    }
}

/// What a rehearsal says is wrong; `None` where it says that the restore works.
async fn is_red(live: &Live, backup: &Summary) -> Option<String> {
    let config = RehearseConfig {
        backup: Some(backup.id.clone()),
        restore_command: live.restore_to("unused", Target::Latest).restore_command,
        checks: vec![Check {
            name: "ledger".to_owned(),
            database: "app".to_owned(),
            sql: ANSWER.to_owned(),
            expect: Expect::Equals(expected(3)),
        }],
        ..RehearseConfig::below(live.home.path().join("rehearsals"))
    };
    let rehearsal = match rehearse(&live.cluster().await, &config, &|_| ()).await {
        Ok(rehearsal) => rehearsal,
        Err(error) => return Some(error.to_string()),
    };
    (!rehearsal.holds()).then(|| format!("{:?} {:?}", rehearsal.problems, rehearsal.checks))
}

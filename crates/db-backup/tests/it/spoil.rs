//! Something happens to an object of a repository, and is put right again.

use std::path::{Path, PathBuf};

use db_backup::{BackupError, Protection, Segment, Summary, VerifyOptions, WalName};
use rand::RngExt;
use rand::rngs::SmallRng;

use crate::world::{SYSTEM, World, archive, content, files_below, segment, some_bytes, take};

/// The kinds of what may happen; the first two are flips, because there are many bits.
pub(crate) const KINDS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
/// The object is gone.
pub(crate) const REMOVED: u8 = 3;

/// What happened to which object.
pub(crate) struct Spoiled {
    /// In words.
    pub(crate) what: String,
    /// What was there before.
    saved: Vec<(PathBuf, Vec<u8>)>,
    /// Whether it cannot be told from something that never happened.
    harmless: bool,
}

impl Spoiled {
    /// Any of these to any object that a restore may need.
    pub(crate) fn of(world: &World, random: &mut SmallRng) -> Self {
        let objects = objects(world);
        let victim = &objects[random.random_range(0..objects.len())];
        let other = &objects[random.random_range(0..objects.len())];
        let kind = KINDS[random.random_range(0..KINDS.len())];
        Self::by(kind, victim, other, random)
    }

    /// Flips a bit, cuts, removes, lengthens, swaps, replaces by something older, or empties.
    pub(crate) fn by(kind: u8, victim: &Path, other: &Path, random: &mut SmallRng) -> Self {
        let mut bytes = std::fs::read(victim).unwrap();
        let mut saved = vec![(victim.to_owned(), bytes.clone())];
        let mut harmless = false;
        let what = match kind {
            0 | 1 => {
                let at = a_place(bytes.len(), random);
                bytes[at] ^= 1 << random.random_range(0..8);
                std::fs::write(victim, &bytes).unwrap();
                format!("bit in byte {at}")
            }
            2 => {
                bytes.truncate(a_place(bytes.len(), random));
                std::fs::write(victim, &bytes).unwrap();
                format!("cut to {}", bytes.len())
            }
            REMOVED => {
                std::fs::remove_file(victim).unwrap();
                // That the newest segment never came cannot be told from that it was removed.
                harmless = victim.ends_with("000000010000000000000005");
                "removed".to_owned()
            }
            4 => {
                bytes.extend_from_slice(&[0; 8]);
                std::fs::write(victim, &bytes).unwrap();
                "grown".to_owned()
            }
            5 if other != victim => {
                let others = std::fs::read(other).unwrap();
                std::fs::write(victim, &others).unwrap();
                std::fs::write(other, &bytes).unwrap();
                saved.push((other.to_owned(), others));
                format!("swapped with {}", other.display())
            }
            6 if other != victim => {
                std::fs::copy(other, victim).unwrap();
                format!("replaced by {}", other.display())
            }
            _ => {
                std::fs::write(victim, b"").unwrap();
                "emptied".to_owned()
            }
        };
        Spoiled { what: format!("{}: {what}", victim.display()), saved, harmless }
    }

    /// Who did not notice; `None` where everybody did.
    pub(crate) async fn missed_by(&self, world: &World, backups: &[Summary; 2]) -> Option<&'static str> {
        let verdict = world.cluster.verify(VerifyOptions::default()).await.unwrap();
        if verdict.holds() && !self.harmless {
            return Some("verification");
        }
        match read_all(world, backups).await {
            Ok(()) => Some("reading"),
            Err(_) => None,
        }
    }

    pub(crate) fn put_back(&self) {
        for (path, bytes) in &self.saved {
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// Any place, the beginning or the end: there the format's own fields are.
fn a_place(length: usize, random: &mut SmallRng) -> usize {
    let near = length.min(128);
    match random.random_range(0..4) {
        0 => random.random_range(0..near),
        1 => length - 1 - random.random_range(0..near),
        _ => random.random_range(0..length),
    }
}

/// A repository with two backups and the log that both need.
pub(crate) async fn filled(protection: Protection) -> (World, [Summary; 2]) {
    let world = World::new(protection).await;
    let files = [("a", some_bytes(1, 300_000)), ("b", some_bytes(2, 5 << 20)), ("c", Vec::new())];
    let first = take(&world.cluster, &files, None).await;
    let base = world.cluster.manifest(&first.id).await.unwrap();
    let files = [("a", some_bytes(3, 300_000)), ("b", some_bytes(2, 5 << 20)), ("c", Vec::new())];
    let second = take(&world.cluster, &files, Some(&base)).await;
    archive(&world.cluster, 2..6).await;
    (world, [first, second])
}

/// The objects that a restore may need.
fn objects(world: &World) -> Vec<PathBuf> {
    let cluster = world.directory.path().join(format!("clusters/{SYSTEM}"));
    [files_below(&cluster.join("backups")), files_below(&cluster.join("wal"))].concat()
}

/// What a restore reads: both backups and all of the log. Nothing but what was written, or an error.
async fn read_all(world: &World, backups: &[Summary; 2]) -> Result<(), BackupError> {
    for (backup, seed) in backups.iter().zip([1, 3]) {
        let found = content(&world.cluster, backup).await?;
        assert!(found[0].1 == some_bytes(seed, 300_000), "a wrong file was read");
        assert!(found[1].1 == some_bytes(2, 5 << 20), "a wrong file was read");
    }
    for number in 2..6 {
        let name = Segment { timeline: 1, log: 0, number };
        let read = world.cluster.get_wal(WalName::Segment(name)).await?;
        let read = read.ok_or_else(|| BackupError::missing(name.to_string()))?;
        assert!(read == segment(name, SYSTEM, u64::from(number)), "a wrong segment was read");
    }
    Ok(())
}

//! Expiries and copies that are killed, on repositories without a server: so many points fit into minutes.

use std::path::Path;
use std::process::Child;

use chrono::TimeDelta;
use db_backup::{
    Cluster, Compression, Expired, Protection, Repository, RetentionPolicy, Segment, Store, Summary,
    VerifyOptions, WalName, WriterOptions,
};
use rand::rngs::StdRng;

use crate::kills::{Tally, Whole, spawn_on, whole};
use crate::world::{SEGMENT, SYSTEM, World, archive, content, files_below, segment, some_bytes, take_at};

/// How many backups there are, how many segments apart, and how many of them are kept.
const BACKUPS: u64 = 5;
const APART: u64 = 3;
const KEPT: usize = 2;

/// One for each policy that keeps some backups: it removes the rest at once.
pub(crate) async fn expire(repository: &Repository) -> Result<(), String> {
    let expired = expired(&repository.cluster(SYSTEM)).await.map_err(|error| error.to_string())?;
    if expired.marked.is_empty() { Ok(()) } else { Err(format!("only marked: {expired:?}")) }
}

async fn expired(cluster: &Cluster) -> db_backup::Result<Expired> {
    let policy = RetentionPolicy { last: KEPT as u32, ..RetentionPolicy::NOTHING };
    let expiry = cluster.expiry(&policy).await?;
    cluster.expire_after(&expiry, TimeDelta::zero()).await
}

/// Copies all backups and all of the log.
pub(crate) async fn copy(from: &Repository, to: &Repository) -> Result<(), String> {
    let (from, to) = (from.cluster(SYSTEM), to.cluster(SYSTEM));
    let copied = async {
        for backup in from.backups().await?.whole {
            from.copy_backup(&backup.id, &to, WriterOptions::default()).await?;
        }
        from.copy_wal(&to, Compression::Zstd(1)).await
    };
    copied.await.map(drop).map_err(|error| error.to_string())
}

/// What the backup of this number holds.
fn files(number: u64) -> [(&'static str, Vec<u8>); 2] {
    [("a", some_bytes(number + 1, 200_000)), ("b", some_bytes(number + 100, 1 << 20))]
}

/// A repository with five backups, each with its own part of the log.
async fn filled() -> (World, Vec<Summary>) {
    let world = World::new(Protection::Encrypted).await;
    let mut backups = Vec::new();
    for number in 0..BACKUPS {
        let segment = 2 + number * APART;
        backups.push(take_at(&world.cluster, &files(number), None, segment).await.unwrap());
    }
    archive(&world.cluster, 2..last_segment() + 1).await;
    (world, backups)
}

fn last_segment() -> u32 {
    u32::try_from(2 + BACKUPS * APART).unwrap()
}

/// Each of these backups that is there holds what it held when it was taken.
async fn wrong_content(cluster: &Cluster, backups: &[Summary]) -> Option<String> {
    let there = cluster.backups().await.unwrap();
    if let Some(damaged) = there.damaged.first() {
        return Some(format!("{damaged:?}"));
    }
    for backup in there.whole {
        let number = backups.iter().position(|known| known.id == backup.id).unwrap() as u64;
        match content(cluster, &backup).await {
            Ok(found) if found.iter().zip(files(number)).all(|(found, file)| found.1 == file.1) => {}
            Ok(_) => return Some(format!("{} has another content", backup.id)),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

async fn findings(cluster: &Cluster) -> Option<String> {
    let verdict = cluster.verify(VerifyOptions::default()).await.unwrap();
    (!verdict.holds()).then(|| format!("{:?}", verdict.findings))
}

/// What lies in the repository and is neither of these backups nor of the log.
fn strangers(directory: &Path, backups: &[Summary]) -> Vec<String> {
    let files = files_below(&directory.join(format!("clusters/{SYSTEM}")));
    let files = files.into_iter().map(|path| path.display().to_string());
    let is_known = |path: &str| backups.iter().any(|backup| path.contains(backup.id.as_str()));
    // What a killed put has left goes a day later: that is looked at in the end.
    files
        .filter(|path| ["/backups/", "/receipts/", "/tombstones/"].iter().any(|part| path.contains(part)))
        .filter(|path| !is_known(path) && !path.rsplit('/').next().unwrap().contains('#'))
        .collect()
}

/// Kills expiries.
pub(crate) struct Expiries {
    whole: Whole,
}

impl Expiries {
    pub(crate) async fn new(tally: &mut Tally) -> Self {
        let (world, _) = filled().await;
        Expiries { whole: whole(|| expiring(&world), world.directory.path(), "expire", tally) }
    }

    pub(crate) async fn kill(&mut self, kind: usize, random: &mut StdRng, tally: &mut Tally) {
        let (world, backups) = filled().await;
        let mut kept = backups[backups.len() - KEPT..].to_vec();
        // They are listed by name, and those of one second have no order.
        kept.sort_by(|one, other| one.id.cmp(&other.id));
        let directory = world.directory.path();
        tally.kill(kind, || expiring(&world), directory, &mut self.whole, random).await;
        if let Some(problem) = wrong_content(&world.cluster, &backups).await {
            tally.problem(format!("after a kill of expire: {problem}"));
        }
        if let Some(problem) = findings(&world.cluster).await {
            tally.problem(format!("after a kill of expire: {problem}"));
        }
        if let Err(error) = expired(&world.cluster).await {
            tally.problem(format!("an expiry does not go on: {error}"));
        }
        let there = world.cluster.backups().await.unwrap();
        if there.whole != kept || !there.expiring.is_empty() {
            tally.problem(format!("an expiry that went on has left {there:?}"));
        }
        let strangers = strangers(world.directory.path(), &kept);
        if !strangers.is_empty() {
            tally.problem(format!("an expiry that went on has left {strangers:?}"));
        }
        let first = kept.iter().filter_map(|backup| backup.wal.as_ref()).map(|wal| wal.start.0).min();
        let first = u32::try_from(first.unwrap() / u64::from(SEGMENT)).unwrap();
        let log: Vec<u32> = segments(&world.cluster).await;
        if log != (first..=last_segment()).collect::<Vec<_>>() {
            tally.problem(format!("an expiry that went on has left the segments {log:?}"));
        }
        if let Some(problem) = findings(&world.cluster).await {
            tally.problem(format!("after an expiry that went on: {problem}"));
        }
    }
}

fn expiring(world: &World) -> Child {
    spawn_on(world.directory.path(), &world.keys, "expire", "", "false")
}

async fn segments(cluster: &Cluster) -> Vec<u32> {
    let stored = cluster.wal(1).await.unwrap();
    stored.iter().filter_map(|stored| stored.name.segment()).map(|segment| segment.number).collect()
}

/// Kills copies of one repository.
pub(crate) struct Copies {
    from: World,
    backups: Vec<Summary>,
    whole: Whole,
}

/// A repository that has the keys of another.
struct Second {
    directory: tempfile::TempDir,
    repository: Repository,
}

impl Second {
    async fn of(from: &World) -> Second {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::local(directory.path()).unwrap();
        let (repository, _) = Repository::init(store, &from.keys, Protection::Encrypted).await.unwrap();
        Second { directory, repository }
    }
}

fn copying(from: &World, second: &Second) -> Child {
    let to = second.directory.path().display().to_string();
    spawn_on(from.directory.path(), &from.keys, "copy", &to, "false")
}

impl Copies {
    pub(crate) async fn new(tally: &mut Tally) -> Self {
        let (from, backups) = filled().await;
        let second = Second::of(&from).await;
        let whole = whole(|| copying(&from, &second), second.directory.path(), "copy", tally);
        Copies { from, backups, whole }
    }

    pub(crate) async fn kill(&mut self, kind: usize, random: &mut StdRng, tally: &mut Tally) {
        let second = Second::of(&self.from).await;
        let copy_now = || copying(&self.from, &second);
        tally.kill(kind, copy_now, second.directory.path(), &mut self.whole, random).await;
        let to = second.repository.cluster(SYSTEM);
        if let Some(problem) = wrong_content(&to, &self.backups).await {
            tally.problem(format!("after a kill of copy: {problem}"));
        }
        if let Err(error) = copy(&self.from.repository, &second.repository).await {
            tally.problem(format!("a copy does not go on: {error}"));
            return;
        }
        let there = to.backups().await.unwrap();
        if there.whole.len() != self.backups.len() {
            tally.problem(format!("a copy that went on has {there:?}"));
        }
        let problem = wrong_content(&to, &self.backups).await;
        let problem = problem.or(wrong_log(&to).await).or(findings(&to).await);
        if let Some(problem) = problem.or(unreferenced(&second, &to).await) {
            tally.problem(format!("after a copy that went on: {problem}"));
        }
    }

    /// Nothing that was killed has broken what it read.
    pub(crate) async fn source_is_whole(&self, tally: &mut Tally) {
        let cluster = &self.from.cluster;
        let problem = wrong_content(cluster, &self.backups).await.or(findings(cluster).await);
        if let Some(problem) = problem {
            tally.problem(format!("copies have broken their source: {problem}"));
        }
    }
}

async fn wrong_log(cluster: &Cluster) -> Option<String> {
    for number in 2..=last_segment() {
        let name = Segment { timeline: 1, log: 0, number };
        let read = cluster.get_wal(WalName::Segment(name)).await;
        if !matches!(&read, Ok(Some(read)) if *read == segment(name, SYSTEM, u64::from(number))) {
            return Some(format!("{name} is another one, or {:?}", read.err()));
        }
    }
    None
}

/// A pack that no manifest names.
async fn unreferenced(second: &Second, cluster: &Cluster) -> Option<String> {
    let mut named = Vec::new();
    for backup in cluster.backups().await.unwrap().whole {
        let manifest = cluster.manifest(&backup.id).await.unwrap();
        named.extend(manifest.content.packs.into_iter().map(|pack| second.directory.path().join(pack.path)));
    }
    let backups = second.directory.path().join(format!("clusters/{SYSTEM}/backups"));
    let packs = files_below(&backups).into_iter().filter(|path| path.parent().unwrap().ends_with("packs"));
    let mut strangers = packs.filter(|path| !named.contains(path) && !path.to_string_lossy().contains('#'));
    strangers.next().map(|path| format!("{} belongs to nothing", path.display()))
}

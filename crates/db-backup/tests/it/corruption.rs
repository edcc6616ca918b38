//! Whatever happens to an object, verification and reading notice it, and nothing wrong is ever read.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use db_backup::{BackupError, Compression, Finding, Protection, Segment, Summary, VerifyOptions, WalName};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::world::{SYSTEM, World, archive, content, files_below, segment, some_bytes, take};

/// A repository with two backups and the log that both need.
async fn filled(protection: Protection) -> (World, [Summary; 2]) {
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

/// One thing that happens to the repository's objects.
fn spoil(objects: &[PathBuf], random: &mut SmallRng) -> String {
    let victim = &objects[random.random_range(0..objects.len())];
    let mut bytes = std::fs::read(victim).unwrap();
    let other = &objects[random.random_range(0..objects.len())];
    match random.random_range(0..6) {
        0 | 1 => {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
            std::fs::write(victim, &bytes).unwrap();
            format!("bit {at} of {}", victim.display())
        }
        2 => {
            bytes.truncate(random.random_range(0..bytes.len()));
            std::fs::write(victim, &bytes).unwrap();
            format!("{} cut to {}", victim.display(), bytes.len())
        }
        3 => {
            std::fs::remove_file(victim).unwrap();
            format!("{} removed", victim.display())
        }
        4 => {
            bytes.extend_from_slice(&[0; 8]);
            std::fs::write(victim, &bytes).unwrap();
            format!("{} grew", victim.display())
        }
        _ if other != victim => {
            let others = std::fs::read(other).unwrap();
            std::fs::write(victim, &others).unwrap();
            std::fs::write(other, &bytes).unwrap();
            format!("{} and {} swapped", victim.display(), other.display())
        }
        _ => {
            std::fs::write(victim, b"").unwrap();
            format!("{} emptied", victim.display())
        }
    }
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

fn put_back(saved: &[(PathBuf, Vec<u8>)]) {
    for (path, bytes) in saved {
        std::fs::write(path, bytes).unwrap();
    }
}

#[tokio::test]
async fn every_corruption_is_detected_and_nothing_wrong_is_read() {
    for protection in [Protection::Encrypted, Protection::Authenticated] {
        let (world, backups) = filled(protection).await;
        let saved: Vec<_> =
            objects(&world).into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
        let mut random = SmallRng::seed_from_u64(4);
        for _ in 0..60 {
            let what = spoil(&objects(&world), &mut random);
            let verdict = world.cluster.verify(VerifyOptions::default()).await.unwrap();
            let is_last = what.contains("000000000005 removed");
            // That the newest segment never came cannot be told from that it was removed.
            assert!(!verdict.holds() || is_last, "{protection:?}: {what}: not detected");
            assert!(read_all(&world, &backups).await.is_err(), "{protection:?}: {what}: read all the same");
            put_back(&saved);
        }
        assert!(world.cluster.verify(VerifyOptions::default()).await.unwrap().holds());
        read_all(&world, &backups).await.unwrap();
    }
}

#[tokio::test]
async fn a_planted_backup_is_not_taken_for_one() {
    let (world, [first, _]) = filled(Protection::Authenticated).await;
    let (other, [theirs, _]) = filled(Protection::Authenticated).await;
    let place = |world: &World, id: &str| {
        world.directory.path().join(format!("clusters/{SYSTEM}/backups/{id}/manifest"))
    };
    let fake = place(&world, theirs.id.as_str());
    std::fs::create_dir_all(fake.parent().unwrap()).unwrap();
    std::fs::copy(place(&other, theirs.id.as_str()), &fake).unwrap();

    let backups = world.cluster.backups().await.unwrap();
    assert_eq!(backups.damaged.len(), 1, "{backups:?}");
    assert_eq!(backups.whole.len(), 2);
    assert!(world.cluster.manifest(&theirs.id).await.unwrap_err().is_damage());
    // The own, older manifest in the place of another is no better.
    copy_over(&place(&world, first.id.as_str()), &fake);
    assert!(world.cluster.manifest(&theirs.id).await.unwrap_err().is_damage());
}

fn copy_over(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
}

#[tokio::test]
async fn a_gap_in_the_log_is_found_from_names_alone() {
    let (world, [first, _]) = filled(Protection::Encrypted).await;
    archive(&world.cluster, 6..9).await;
    assert_eq!(world.cluster.wal_gaps().await.unwrap(), []);
    let path = |number: u32| {
        world.directory.path().join(format!(
            "clusters/{SYSTEM}/wal/00000001/00000000/{}",
            Segment { timeline: 1, log: 0, number }
        ))
    };
    std::fs::remove_file(path(6)).unwrap();
    std::fs::remove_file(path(7)).unwrap();
    let (from, to) = (Segment { timeline: 1, log: 0, number: 6 }, Segment { timeline: 1, log: 0, number: 7 });
    assert_eq!(world.cluster.wal_gaps().await.unwrap(), [Finding::WalMissing { from, to, needed_by: None }]);

    std::fs::remove_file(path(2)).unwrap();
    let gaps = world.cluster.wal_gaps().await.unwrap();
    assert!(
        gaps.iter()
            .any(|gap| matches!(gap, Finding::WalMissing { needed_by: Some(id), .. } if *id == first.id))
    );
}

#[tokio::test]
async fn a_foreign_segment_and_a_missing_history_are_found() {
    let (world, _) = filled(Protection::Encrypted).await;
    let other = world.repository.cluster(SYSTEM + 1);
    let name = Segment { timeline: 1, log: 0, number: 3 };
    other.put_wal(WalName::Segment(name), segment(name, SYSTEM + 1, 1), Compression::None).await.unwrap();
    let below =
        |system: u64| world.directory.path().join(format!("clusters/{system}/wal/00000001/00000000/{name}"));
    copy_over(&below(SYSTEM + 1), &below(SYSTEM));
    let branch = Segment { timeline: 2, log: 0, number: 5 };
    world
        .cluster
        .put_wal(WalName::Segment(branch), segment(branch, SYSTEM, 5), Compression::None)
        .await
        .unwrap();

    let findings = world.cluster.verify(VerifyOptions::default()).await.unwrap().findings;
    assert!(findings.iter().any(|one| matches!(one, Finding::WalDamaged { .. })), "{findings:?}");
    assert!(findings.contains(&Finding::HistoryMissing { timeline: 2 }), "{findings:?}");
    let history = Bytes::from_static(b"1\t0/500000\ta test\n");
    world.cluster.put_wal(WalName::History(2), history, Compression::None).await.unwrap();
    assert!(!world.cluster.wal_gaps().await.unwrap().contains(&Finding::HistoryMissing { timeline: 2 }));
}

#[tokio::test]
async fn a_backup_that_is_too_old_fails_verification() {
    let world = World::new(Protection::Encrypted).await;
    let options =
        VerifyOptions { newest_within: Some(std::time::Duration::from_secs(60)), ..Default::default() };
    let findings = world.cluster.verify(options).await.unwrap().findings;
    assert!(matches!(findings.as_slice(), [Finding::TooOld { newest: None, .. }]), "{findings:?}");
}

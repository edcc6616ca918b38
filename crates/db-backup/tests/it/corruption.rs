//! Whatever happens to an object, verification and reading notice it, and nothing wrong is ever read.

use std::path::Path;

use bytes::Bytes;
use db_backup::{Compression, Finding, Protection, Segment, VerifyOptions, WalName};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::spoil::{Spoiled, filled};
use crate::world::{SYSTEM, World, archive, segment};

#[tokio::test]
async fn every_corruption_is_detected_and_nothing_wrong_is_read() {
    for protection in [Protection::Encrypted, Protection::Authenticated] {
        let (world, backups) = filled(protection).await;
        let mut random = SmallRng::seed_from_u64(4);
        for _ in 0..40 {
            let spoiled = Spoiled::of(&world, &mut random);
            assert_eq!(spoiled.missed_by(&world, &backups).await, None, "{protection:?}: {}", spoiled.what);
            spoiled.put_back();
        }
        assert!(world.cluster.verify(VerifyOptions::default()).await.unwrap().holds());
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

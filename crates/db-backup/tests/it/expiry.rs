//! What is removed, when, and what is never removed whatever somebody overwrites.

use std::time::Duration;

use chrono::TimeDelta;
use db_backup::{BackupError, Protection, RetentionPolicy, VerifyOptions};

use crate::world::{World, archive, content, some_bytes, take};

const NOTHING: RetentionPolicy = RetentionPolicy::NOTHING;

#[tokio::test]
async fn a_backup_is_marked_first_and_removed_by_a_later_expiry() {
    let world = World::new(Protection::Encrypted).await;
    let old = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let new = take(&world.cluster, &[("a", some_bytes(2, 100))], None).await;
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    assert_eq!(expiry.plan.remove, std::slice::from_ref(&old.id));

    let first = world.cluster.expire_after(&expiry, TimeDelta::hours(1)).await.unwrap();
    assert_eq!((first.marked, first.removed.len()), (vec![old.id.clone()], 0));
    let backups = world.cluster.backups().await.unwrap();
    assert_eq!((backups.whole, backups.expiring), (vec![new.clone()], vec![old.clone()]));

    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    let second = world.cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!(second.removed, std::slice::from_ref(&old.id));
    let left = world.repository.store().list("clusters").await.unwrap();
    assert!(!left.iter().any(|object| object.path.contains(old.id.as_str())), "{left:?}");
    let directory = format!("clusters/{}/backups", crate::world::SYSTEM);
    let directories = world.repository.store().directories(&directory).await.unwrap();
    assert_eq!(directories, [new.id.to_string()], "an empty directory stayed");
    assert_eq!(content(&world.cluster, &new).await.unwrap()[0].1, some_bytes(2, 100));
}

#[tokio::test]
async fn what_a_later_backup_builds_on_stays() {
    let world = World::new(Protection::Encrypted).await;
    let old = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let base = world.cluster.manifest(&old.id).await.unwrap();
    let new = take(&world.cluster, &[("a", some_bytes(1, 100))], Some(&base)).await;
    assert_eq!(new.needs().collect::<Vec<_>>(), [&old.id]);

    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    assert!(expiry.plan.remove.is_empty());
    let deleted = world.cluster.delete(&old.id).await;
    assert!(matches!(deleted, Err(BackupError::Kept { .. })), "{deleted:?}");
    world.cluster.delete(&new.id).await.unwrap();
    world.cluster.delete(&old.id).await.unwrap();
    assert!(world.cluster.backups().await.unwrap().whole.is_empty());
}

#[tokio::test]
async fn a_restore_that_is_under_way_keeps_its_backup() {
    let world = World::new(Protection::Encrypted).await;
    let old = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    take(&world.cluster, &[("a", some_bytes(2, 100))], None).await;
    // Planned before the restore began, done after it.
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    let hold = world.cluster.hold(std::slice::from_ref(&old.id)).await.unwrap();

    let expired = world.cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert!(expired.removed.is_empty() && expired.marked.is_empty(), "{expired:?}");
    assert_eq!(world.cluster.backups().await.unwrap().whole.len(), 2);
    assert!(matches!(world.cluster.delete(&old.id).await, Err(BackupError::Kept { .. })));

    hold.release().await.unwrap();
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    let expired = world.cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!(expired.removed, [old.id]);
}

#[tokio::test]
async fn nothing_builds_on_a_backup_that_is_marked() {
    let world = World::new(Protection::Encrypted).await;
    let old = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let base = world.cluster.manifest(&old.id).await.unwrap();
    take(&world.cluster, &[("a", some_bytes(2, 100))], None).await;
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    world.cluster.expire(&expiry).await.unwrap();

    let held = world.cluster.hold(std::slice::from_ref(&old.id)).await;
    assert!(matches!(held, Err(BackupError::Kept { .. })), "{held:?}");
    let begun = world.cluster.begin(db_backup::Kind::Full, crate::world::server(), Some(&base)).await;
    assert!(matches!(begun, Err(BackupError::Kept { .. })), "{begun:?}");
}

#[tokio::test]
async fn an_overwritten_manifest_stops_expiry_and_removes_nothing() {
    let world = World::new(Protection::Encrypted).await;
    let old = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let new = take(&world.cluster, &[("a", some_bytes(2, 100))], None).await;
    archive(&world.cluster, 0..6).await;
    let path = |id: &str| {
        world.directory.path().join(format!("clusters/{}/backups/{id}/manifest", crate::world::SYSTEM))
    };
    // Somebody who may put replaces the newest manifest by the oldest.
    std::fs::copy(path(old.id.as_str()), path(new.id.as_str())).unwrap();
    let before = world.repository.store().list("clusters").await.unwrap();

    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    assert!(expiry.plan.held_back.as_deref().is_some_and(|why| why.contains(new.id.as_str())), "{expiry:?}");
    let expired = world.cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!(expired, Default::default());
    assert_eq!(world.repository.store().list("clusters").await.unwrap(), before);
}

#[tokio::test]
async fn a_planted_tombstone_marks_nothing() {
    let world = World::new(Protection::Encrypted).await;
    let old = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let directory = world.directory.path().join(format!("clusters/{}/tombstones", crate::world::SYSTEM));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(old.id.as_str()), b"{}").unwrap();

    assert_eq!(world.cluster.backups().await.unwrap().whole, [old]);
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    let expired = world.cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert!(expired.removed.is_empty());
}

#[tokio::test]
async fn log_before_the_oldest_base_goes_and_verification_knows_why() {
    let world = World::new(Protection::Encrypted).await;
    archive(&world.cluster, 0..9).await;
    take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    let expired = world.cluster.expire(&expiry).await.unwrap();
    // The backup begins in segment 2.
    assert_eq!(expired.wal, 2);
    assert!(world.cluster.verify(VerifyOptions::default()).await.unwrap().holds());
}

#[tokio::test]
async fn a_run_that_crashed_is_not_removed_before_its_time() {
    let world = World::new(Protection::Encrypted).await;
    let draft = world.cluster.begin(db_backup::Kind::Full, crate::world::server(), None).await.unwrap();
    let mut writer = draft.writer(Default::default()).unwrap();
    writer.write(&some_bytes(1, 1 << 20)).await.unwrap();
    writer.finish().await.unwrap();
    let id = draft.id().clone();
    drop(draft);
    take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;

    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    assert!(expiry.crashed.is_empty(), "{expiry:?}");
    let yesterday = std::time::SystemTime::now() - Duration::from_secs(25 * 3_600);
    let packs = world.directory.path().join(format!("clusters/{}/backups/{id}/packs", crate::world::SYSTEM));
    for pack in crate::world::files_below(&packs) {
        std::fs::File::options().write(true).open(pack).unwrap().set_modified(yesterday).unwrap();
    }
    let expiry = world.cluster.expiry(&NOTHING).await.unwrap();
    assert_eq!(expiry.crashed, [id.to_string()]);
    assert_eq!(world.cluster.expire(&expiry).await.unwrap().garbage, 1);
    assert!(!packs.exists());
}

#[tokio::test]
async fn backups_that_began_within_a_second_are_in_their_order() {
    let world = World::new(Protection::Encrypted).await;
    let mut taken = Vec::new();
    for seed in 0..8 {
        taken.push(take(&world.cluster, &[("a", some_bytes(seed, 100))], None).await.id);
    }
    let listed: Vec<_> = world.cluster.backups().await.unwrap().whole.into_iter().map(|one| one.id).collect();
    assert_eq!(listed, taken);
}

#[tokio::test]
async fn the_last_backup_of_a_cluster_that_is_gone_or_made_anew_is_never_removed() {
    let world = World::new(Protection::Encrypted).await;
    let first = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let last = take(&world.cluster, &[("a", some_bytes(2, 100))], None).await;
    // Made anew by initdb it has another identity, and backups of its own.
    let anew = world.repository.cluster(crate::world::SYSTEM + 1);
    let draft = anew.begin(db_backup::Kind::Logical, Default::default(), None).await.unwrap();
    draft.publish(Vec::new(), Default::default()).await.unwrap();
    for cluster in [&world.cluster, &anew] {
        for _ in 0..3 {
            let expiry = cluster.expiry(&NOTHING).await.unwrap();
            assert_eq!(expiry.plan.held_back, None);
            cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
        }
        assert_eq!(cluster.backups().await.unwrap().whole.len(), 1);
    }
    assert_eq!(world.cluster.backups().await.unwrap().whole, [last]);
    assert!(world.cluster.manifest(&first.id).await.is_err());
}

#[tokio::test]
async fn less_than_the_policy_asks_for_is_no_error_and_a_backup_waits_for_no_expiry() {
    let world = World::new(Protection::Encrypted).await;
    let only = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let policy = RetentionPolicy { days: 365, last: 10, hourly: 24, daily: 30, weekly: 12, monthly: 12 };
    let expiry = world.cluster.expiry(&policy).await.unwrap();
    assert_eq!((expiry.plan.remove.len(), &expiry.plan.held_back), (0, &None));
    let held = world.cluster.lock("expire", "another host", Duration::from_secs(600)).await.unwrap();
    take(&world.cluster, &[("a", some_bytes(2, 100))], None).await;
    held.release().await.unwrap();
    let expired = world.cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!((expired.removed.len(), expired.marked.len()), (0, 0));
    assert_eq!(world.cluster.backups().await.unwrap().whole[0].id, only.id);
}

//! A bucket that locks what is written: expiry leaves it for later, and nothing of it is a failure.

use chrono::{TimeDelta, Utc};
use db_backup::{BackupError, Keys, Protection, Reason, Repository, RetentionPolicy, Store};

use crate::emulators;
use crate::world::{SYSTEM, archive, some_bytes, take};

const NOTHING: RetentionPolicy = RetentionPolicy::NOTHING;

async fn repository(store: Store) -> (Repository, Keys) {
    let keys = Keys::generate();
    let (repository, _) = Repository::init(store, &keys, Protection::Encrypted).await.unwrap();
    (repository, keys)
}

#[tokio::test]
async fn what_a_bucket_of_s3_locks_is_kept_until_the_lock_is_over() {
    let Some((emulator, store)) = emulators::s3_with_object_lock().await else {
        return db_testkit::skip::this_test("there is no moto_server: pip install 'moto[server,s3]'");
    };
    let (told, keys) = repository(store.clone()).await;
    let cluster = told.cluster(SYSTEM);
    let old = take(&cluster, &[("a", some_bytes(1, 100))], None).await;
    let new = take(&cluster, &[("a", some_bytes(2, 100))], None).await;
    archive(&cluster, 0..4).await;

    let expiry = cluster.expiry(&NOTHING).await.unwrap();
    let locked = expiry.plan.keep[&old.id].iter().find_map(|reason| match reason {
        Reason::Locked(until) => Some(*until),
        _ => None,
    });
    let until = locked.unwrap() - Utc::now();
    assert!(until > TimeDelta::hours(23) && until <= TimeDelta::hours(24), "{until}");
    let expired = cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!((expired.removed.len(), expired.wal), (0, 0));
    assert_eq!(expired.locked, 2, "the segments before the oldest backup: {expired:?}");
    assert!(matches!(cluster.delete(&old.id).await, Err(BackupError::Kept { .. })));

    // Whoever may delete, and does not know of the lock, only hides: each version is still there, and cannot
    // be removed.
    let hasty =
        Repository::open(store.with_object_lock(TimeDelta::zero()), &keys).await.unwrap().cluster(SYSTEM);
    let expiry = hasty.expiry(&NOTHING).await.unwrap();
    let expired = hasty.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!(expired.removed, std::slice::from_ref(&old.id));
    assert_eq!(hasty.backups().await.unwrap().whole, [new]);
    let version = emulator.version_of(&format!("db-backup/clusters/{SYSTEM}/backups/{}/manifest", old.id));
    let refused = emulator.delete_version(&version);
    assert!(refused.contains("403"), "{refused}");
}

#[tokio::test]
async fn what_a_store_refuses_to_remove_is_left_for_a_later_expiry() {
    let (stub, place) = emulators::gcs().await;
    let store = emulators::store_at(&place);
    let (repository, _) = repository(store).await;
    let cluster = repository.cluster(SYSTEM);
    let old = take(&cluster, &[("a", some_bytes(1, 100))], None).await;
    take(&cluster, &[("a", some_bytes(2, 100))], None).await;
    archive(&cluster, 0..4).await;
    stub.retain(true);

    let expiry = cluster.expiry(&NOTHING).await.unwrap();
    let expired = cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert_eq!((expired.removed.len(), expired.wal, expired.locked), (0, 0, 3), "{expired:?}");
    // Backups, holds and locks go on as ever.
    take(&cluster, &[("a", some_bytes(3, 100))], None).await;
    cluster
        .hold(std::slice::from_ref(&expiry.plan.keep.keys().next().unwrap().clone()))
        .await
        .unwrap()
        .release()
        .await
        .unwrap();
    let deleted = cluster.delete(&old.id).await;
    assert!(matches!(deleted, Err(BackupError::Retained { .. })), "{deleted:?}");

    stub.retain(false);
    let expiry = cluster.expiry(&NOTHING).await.unwrap();
    let expired = cluster.expire_after(&expiry, TimeDelta::zero()).await.unwrap();
    assert!(expired.removed.contains(&old.id), "{expired:?}");
    assert_eq!((expired.wal, expired.locked), (2, 0), "{expired:?}");
}

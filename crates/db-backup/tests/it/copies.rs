//! A second repository, and who did what.

use db_backup::{
    AuditAction, AuditEntry, BackupError, Compression, Protection, VerifyOptions, WriterOptions,
};

use crate::world::{SYSTEM, World, archive, content, some_bytes, take};

#[tokio::test]
async fn a_copy_restores_without_the_first_repository() {
    let from = World::new(Protection::Encrypted).await;
    let files = [("a", some_bytes(1, 100_000)), ("b", some_bytes(2, 5 << 20))];
    let first = take(&from.cluster, &files, None).await;
    archive(&from.cluster, 2..6).await;
    let to = World::new(Protection::Authenticated).await;

    let copied = from.cluster.copy_backup(&first.id, &to.cluster, WriterOptions::default()).await.unwrap();
    assert_eq!(copied.backups, std::slice::from_ref(&first.id));
    assert_eq!(from.cluster.copy_wal(&to.cluster, Compression::default()).await.unwrap().wal, 4);
    let again = from.cluster.copy_backup(&first.id, &to.cluster, WriterOptions::default()).await.unwrap();
    assert!(again.backups.is_empty());
    assert_eq!(from.cluster.copy_wal(&to.cluster, Compression::default()).await.unwrap().wal, 0);

    drop(from);
    let found = content(&to.cluster, &first).await.unwrap();
    assert!(found.iter().zip(&files).all(|(found, file)| found.1 == file.1));
    assert!(to.cluster.verify(VerifyOptions::default()).await.unwrap().holds());
}

#[tokio::test]
async fn a_copy_goes_on_where_another_died() {
    let from = World::new(Protection::Encrypted).await;
    let first = take(&from.cluster, &[("a", some_bytes(1, 100_000))], None).await;
    let to = World::new(Protection::Encrypted).await;
    let left = format!("clusters/{SYSTEM}/backups/{}/packs/000000", first.id);
    to.repository.store().put_if_absent(&left, vec![1; 1_000].into()).await.unwrap();

    from.cluster.copy_backup(&first.id, &to.cluster, WriterOptions::default()).await.unwrap();
    assert_eq!(content(&to.cluster, &first).await.unwrap()[0].1, some_bytes(1, 100_000));
    assert_eq!(to.repository.store().get(&left).await.unwrap(), None, "what the other left is removed");
}

#[tokio::test]
async fn what_is_damaged_is_not_copied() {
    let from = World::new(Protection::Encrypted).await;
    let first = take(&from.cluster, &[("a", some_bytes(1, 100_000))], None).await;
    let packs = from.directory.path().join(format!("clusters/{SYSTEM}/backups/{}/packs/000000", first.id));
    let mut bytes = std::fs::read(&packs).unwrap();
    bytes[1_000] ^= 1;
    std::fs::write(&packs, bytes).unwrap();
    let to = World::new(Protection::Encrypted).await;

    let copied = from.cluster.copy_backup(&first.id, &to.cluster, WriterOptions::default()).await;
    assert!(matches!(copied, Err(BackupError::Damaged { .. })), "{copied:?}");
    assert!(to.cluster.backups().await.unwrap().whole.is_empty());
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what() {
    let world = World::new(Protection::Encrypted).await;
    let entry = AuditEntry::new("ada@host-1", AuditAction::Restore).saying("target", "latest");
    world.cluster.record(&entry).await.unwrap();
    let taken = AuditEntry::new("cron@host-2", AuditAction::Take);
    world.cluster.record(&taken).await.unwrap();
    assert_eq!(world.cluster.audit().await.unwrap().0, [entry, taken]);

    let directory = world.directory.path().join(format!("clusters/{SYSTEM}/audit"));
    std::fs::write(&crate::world::files_below(&directory)[0], b"nobody did anything").unwrap();
    let (entries, damaged) = world.cluster.audit().await.unwrap();
    assert_eq!((entries.len(), damaged.len()), (1, 1));
    assert!(!world.cluster.verify(VerifyOptions::default()).await.unwrap().holds());
}

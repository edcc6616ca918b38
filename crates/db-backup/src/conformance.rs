//! What every store must do for a repository: one suite for the local directory, the clouds and their
//! emulators.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    BackupError, Compression, File, Keys, Kind, Protection, Put, Repository, Result, RetentionPolicy, Root,
    Segment, ServerFacts, Store, VerifyOptions, WalName, WalPut, WalRange, What,
};

/// The cluster of the suite.
const SYSTEM: u64 = 7_000_000_000_000_000_001;

/// Runs the whole suite in an empty store. What it writes stays there.
///
/// # Errors
/// Those of the store.
///
/// # Panics
/// The store does not do what it must.
pub async fn conforms(store: &Store) -> Result<()> {
    an_object_is_written_once(store).await?;
    of_many_writers_one_wins(store).await?;
    parts_of_an_object_are_read(store).await?;
    lists_are_complete(store).await?;
    what_is_deleted_is_gone(store).await?;
    store.probe().await?;
    a_repository_works(store).await
}

async fn an_object_is_written_once(store: &Store) -> Result<()> {
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second"));
    assert_eq!(store.get("suite/once").await?, None, "the store is not empty");
    assert_eq!(store.put_if_absent("suite/once", first.clone()).await?, Put::Created);
    assert_eq!(store.put_if_absent("suite/once", second).await?, Put::Exists);
    assert_eq!(
        store.put_if_absent("suite/once", first.clone()).await?,
        Put::Created,
        "the same again is ours"
    );
    assert_eq!(store.get("suite/once").await?, Some(first));
    assert_eq!(store.put_if_absent("suite/empty", Bytes::new()).await?, Put::Created);
    assert_eq!(store.require("suite/empty").await?, Bytes::new());
    Ok(())
}

async fn of_many_writers_one_wins(store: &Store) -> Result<()> {
    for race in 0..3 {
        let path = format!("suite/race-{race}");
        let path = &path;
        let puts = join_all((0..32).map(|writer| async move {
            store.put_if_absent(path, Bytes::from(format!("writer {writer}"))).await
        }));
        let mut winners = Vec::new();
        for (writer, put) in puts.await.into_iter().enumerate() {
            if put? == Put::Created {
                winners.push(format!("writer {writer}"));
            }
        }
        assert_eq!(winners.len(), 1, "of 32 writers these were told that they won: {winners:?}");
        assert_eq!(store.require(path).await?, winners[0].as_bytes());
    }
    Ok(())
}

async fn parts_of_an_object_are_read(store: &Store) -> Result<()> {
    let large: Vec<u8> = (0..9_u32 << 20).map(|at| (at % 251) as u8).collect();
    store.put_if_absent("suite/large", Bytes::from(large.clone())).await?;
    assert!(store.require("suite/large").await? == large, "9 MiB read back as something else");
    for range in [0..1, 5_000_000..5_000_100, (9 << 20) - 7..9 << 20] {
        let expected = &large[range.start as usize..range.end as usize];
        assert_eq!(store.get_range("suite/large", range).await?, expected);
    }
    let beyond = store.get_range("suite/large", (9 << 20) - 7..(9 << 20) + 1).await;
    assert!(matches!(beyond, Err(BackupError::Damaged { .. })), "{beyond:?}");
    let missing = store.get_range("suite/none", 0..1).await;
    assert!(matches!(missing, Err(BackupError::Missing { .. })), "{missing:?}");
    let there = store.head("suite/large").await?;
    assert_eq!(there.map(|object| object.bytes), Some(9 << 20));
    assert_eq!(store.head("suite/none").await?, None);
    Ok(())
}

async fn lists_are_complete(store: &Store) -> Result<()> {
    let names: Vec<String> = (0..25).map(|number| format!("suite/list/{}/{number:02}", number % 3)).collect();
    for name in &names {
        store.put_if_absent(name, Bytes::from_static(b"x")).await?;
    }
    let mut expected = names;
    expected.sort();
    let listed: Vec<String> = store.list("suite/list").await?.into_iter().map(|object| object.path).collect();
    assert_eq!(listed, expected);
    assert_eq!(store.directories("suite/list").await?, ["0", "1", "2"]);
    assert!(store.list("suite/list/0/0").await?.is_empty(), "a list takes a prefix for a directory");
    assert!(store.list("suite/nothing").await?.is_empty());
    assert!(store.directories("suite/nothing").await?.is_empty());
    Ok(())
}

async fn what_is_deleted_is_gone(store: &Store) -> Result<()> {
    store.put_if_absent("suite/gone", Bytes::from_static(b"x")).await?;
    store.delete("suite/gone").await?;
    store.delete("suite/gone").await?;
    assert_eq!(store.get("suite/gone").await?, None);
    assert_eq!(store.put_if_absent("suite/gone", Bytes::from_static(b"y")).await?, Put::Created);
    Ok(())
}

/// A backup, its log, verification, a lock, expiry.
async fn a_repository_works(store: &Store) -> Result<()> {
    let keys = Keys::generate();
    let (repository, _) = Repository::init(store.clone(), &keys, Protection::Encrypted).await?;
    let cluster = repository.cluster(SYSTEM);
    let bytes: Vec<u8> = (0..5_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let server = ServerFacts { wal_segment_bytes: 1 << 20, ..ServerFacts::default() };
    let mut summaries = Vec::new();
    for _ in 0..2 {
        let mut draft = cluster.begin(Kind::Full, server.clone(), None).await?;
        let (start, stop) = (db_core::Lsn((1 << 20) + 40), db_core::Lsn((1 << 20) + 80));
        draft.summary.wal = Some(WalRange { timeline: 1, start, stop });
        let mut writer = draft.writer(Default::default())?;
        writer.begin_file(bytes.len() as u64).await?;
        writer.write(&bytes).await?;
        let what = What::File { extent: writer.end_file() };
        let modified = chrono::DateTime::UNIX_EPOCH;
        let file = File { path: "base/1/1".to_owned(), root: Root::Data, what, mode: 0o600, modified };
        let written = writer.finish().await?;
        summaries.push(draft.publish(vec![file], written.content).await?);
    }
    let segment = Segment { timeline: 1, log: 0, number: 1 };
    let (name, wal) = (WalName::Segment(segment), a_segment(segment));
    assert_eq!(cluster.put_wal(name, wal.clone(), Compression::default()).await?, WalPut::Stored);
    assert_eq!(cluster.put_wal(name, wal.clone(), Compression::default()).await?, WalPut::AlreadyThere);
    assert_eq!(cluster.get_wal(name).await?, Some(wal));

    let cluster = Repository::open(store.clone(), &keys).await?.cluster(SYSTEM);
    assert_eq!(cluster.backups().await?.whole.len(), 2);
    let manifest = cluster.manifest(&summaries[0].id).await?;
    let extent = manifest.files[0].extent().unwrap_or_default();
    assert!(
        cluster.reader(&manifest, 2).read_to_vec(extent).await? == bytes,
        "the file reads back otherwise"
    );
    let verdict = cluster.verify(VerifyOptions::default()).await?;
    assert!(verdict.holds(), "{:?}", verdict.findings);

    let lease = cluster.lock("suite", "the first", Duration::from_secs(60)).await?;
    let second = cluster.lock("suite", "the second", Duration::from_secs(60)).await;
    assert!(
        matches!(&second, Err(BackupError::Locked { holder, .. }) if holder == "the first"),
        "{second:?}"
    );
    lease.release().await?;
    cluster.lock("suite", "the second", Duration::from_secs(60)).await?.release().await?;

    let expiry = cluster.expiry(&RetentionPolicy::NOTHING).await?;
    assert_eq!(expiry.plan.remove.len(), 1, "{expiry:?}");
    let expired = cluster.expire_after(&expiry, chrono::TimeDelta::zero()).await?;
    assert_eq!(expired.removed.len(), 1, "{expired:?}");
    assert_eq!(cluster.backups().await?.whole.len(), 1);
    let verdict = cluster.verify(VerifyOptions::default()).await?;
    assert!(verdict.holds(), "{:?}", verdict.findings);
    Ok(())
}

/// A segment of 1 MiB whose first page says whose it is.
fn a_segment(segment: Segment) -> Bytes {
    let mut bytes = vec![0_u8; 1 << 20];
    bytes[..4].copy_from_slice(&[0x16, 0xD1, 2, 0]);
    bytes[4..8].copy_from_slice(&segment.timeline.to_le_bytes());
    bytes[8..16].copy_from_slice(&segment.start(1 << 20).0.to_le_bytes());
    bytes[24..32].copy_from_slice(&SYSTEM.to_le_bytes());
    bytes[32..36].copy_from_slice(&(1_u32 << 20).to_le_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_le_bytes());
    Bytes::from(bytes)
}

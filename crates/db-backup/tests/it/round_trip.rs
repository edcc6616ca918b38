//! What was put into a repository comes out of it.

use bytes::Bytes;
use db_backup::{BackupError, Compression, Protection, Segment, WalName, WalPut, WriterOptions};

use crate::world::{SEGMENT, SYSTEM, World, content, segment, some_bytes, take};

/// Files of every shape: empty, tiny, just a chunk, more than one, and twice the same.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("PG_VERSION", b"17\n".to_vec()),
        ("empty", Vec::new()),
        ("base/1/1", some_bytes(1, 8192 * 3)),
        ("base/1/2", some_bytes(2, 4 << 20)),
        ("base/1/3", some_bytes(3, (9 << 20) + 17)),
        ("base/1/3_copy", some_bytes(3, (9 << 20) + 17)),
        ("base/1/4", vec![0; 5 << 20]),
        ("global/pg_control", some_bytes(5, 8192)),
    ]
}

#[tokio::test]
async fn a_backup_reads_back_as_it_was_written() {
    for protection in [Protection::Encrypted, Protection::Authenticated] {
        let world = World::new(protection).await;
        let summary = take(&world.cluster, &files(), None).await;

        let found = content(&world.cluster, &summary).await.unwrap();
        let expected: Vec<_> = files().into_iter().map(|(path, bytes)| (path.to_owned(), bytes)).collect();
        assert!(found == expected, "{protection:?}: the files differ");
        assert_eq!(world.cluster.backups().await.unwrap().whole, [summary]);
    }
}

#[tokio::test]
async fn chunks_of_the_base_are_not_stored_again() {
    let world = World::new(Protection::Encrypted).await;
    let first = take(&world.cluster, &files(), None).await;
    let base = world.cluster.manifest(&first.id).await.unwrap();
    let mut changed = files();
    changed[2].1[100] ^= 1;

    let second = take(&world.cluster, &changed, Some(&base)).await;

    assert!(second.figures.stored_bytes < first.figures.stored_bytes / 100, "{:?}", second.figures);
    assert_eq!(second.figures.reuses, [first.id]);
    let found = content(&world.cluster, &second).await.unwrap();
    assert!(found.iter().zip(&changed).all(|(found, expected)| found.1 == expected.1));
}

#[tokio::test]
async fn no_pack_is_larger_than_it_may_be() {
    let world = World::new(Protection::Encrypted).await;
    let draft = world.cluster.begin(db_backup::Kind::Full, crate::world::server(), None).await.unwrap();
    let options =
        WriterOptions { compression: Compression::None, pack_bytes: 5 << 20, ..WriterOptions::default() };
    let mut writer = draft.writer(options).unwrap();
    for part in 0..40 {
        writer.begin_file(1 << 20).await.unwrap();
        writer.write(&some_bytes(part, (100_000 << (part % 6)) as usize)).await.unwrap();
    }
    let content = writer.finish().await.unwrap().content;

    let mut frames = vec![0; content.packs.len()];
    content.chunks.iter().for_each(|chunk| frames[chunk.pack as usize] += 1);
    for (pack, frames) in content.packs.iter().zip(frames) {
        assert!(pack.bytes <= 5 << 20 && pack.frames == frames, "{pack:?} of {frames}");
    }
    draft.abandon().await.unwrap();
}

#[tokio::test]
async fn a_backup_without_a_manifest_does_not_exist() {
    let world = World::new(Protection::Encrypted).await;
    let draft = world.cluster.begin(db_backup::Kind::Full, crate::world::server(), None).await.unwrap();
    let mut writer = draft.writer(Default::default()).unwrap();
    writer.write(&some_bytes(1, 1 << 20)).await.unwrap();
    writer.finish().await.unwrap();

    assert!(world.cluster.backups().await.unwrap().whole.is_empty());
    draft.abandon().await.unwrap();
    assert!(world.repository.store().list("clusters").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_segment_is_stored_once_and_another_of_its_name_never() {
    let world = World::new(Protection::Encrypted).await;
    let (place, zstd) = (Segment { timeline: 1, log: 0, number: 7 }, Compression::default());
    let name = WalName::Segment(place);
    let bytes = segment(place, SYSTEM, 1);

    assert_eq!(world.cluster.put_wal(name, bytes.clone(), zstd).await.unwrap(), WalPut::Stored);
    assert_eq!(world.cluster.put_wal(name, bytes.clone(), zstd).await.unwrap(), WalPut::AlreadyThere);
    let other = world.cluster.put_wal(name, segment(place, SYSTEM, 2), zstd).await;
    assert!(matches!(other, Err(BackupError::WalConflict { .. })), "{other:?}");
    assert_eq!(world.cluster.get_wal(name).await.unwrap(), Some(bytes));
}

#[tokio::test]
async fn what_is_no_whole_segment_of_the_cluster_is_not_stored() {
    let world = World::new(Protection::Encrypted).await;
    let place = Segment { timeline: 1, log: 0, number: 7 };
    let whole = segment(place, SYSTEM, 1);
    let unfit = [
        whole.slice(..SEGMENT as usize / 2),
        Bytes::from(vec![0; SEGMENT as usize]),
        segment(place, SYSTEM + 1, 1),
        segment(place.next(SEGMENT), SYSTEM, 1),
        segment(Segment { timeline: 2, ..place }, SYSTEM, 1),
    ];
    for bytes in unfit {
        let put = world.cluster.put_wal(WalName::Segment(place), bytes, Compression::None).await;
        assert!(matches!(put, Err(BackupError::UnfitWal { .. })), "{put:?}");
    }
    assert_eq!(world.cluster.get_wal(WalName::Segment(place)).await.unwrap(), None);
}

#[tokio::test]
async fn a_partial_segment_is_not_served_in_place_of_the_whole_one() {
    let world = World::new(Protection::Encrypted).await;
    let place = Segment { timeline: 1, log: 0, number: 7 };
    let bytes = segment(place, SYSTEM, 1);
    world.cluster.put_wal(WalName::Partial(place), bytes.clone(), Compression::None).await.unwrap();

    assert_eq!(world.cluster.get_wal(WalName::Segment(place)).await.unwrap(), None);
    assert_eq!(world.cluster.get_wal(WalName::Partial(place)).await.unwrap(), Some(bytes));
}

#[tokio::test]
async fn wal_is_listed_by_timeline() {
    let world = World::new(Protection::Encrypted).await;
    crate::world::archive(&world.cluster, 3..6).await;
    let history = WalName::History(2);
    world
        .cluster
        .put_wal(history, Bytes::from_static(b"1\t0/300000\tfor a test\n"), Compression::None)
        .await
        .unwrap();

    assert_eq!(world.cluster.timelines().await.unwrap(), [1, 2]);
    let names: Vec<String> =
        world.cluster.wal(1).await.unwrap().iter().map(|wal| wal.name.to_string()).collect();
    assert_eq!(names, ["000000010000000000000003", "000000010000000000000004", "000000010000000000000005"]);
    assert_eq!(world.cluster.histories().await.unwrap()[0].0, 2);
}

//! A store on a bad day: what was told to be stored is there, and everything else is told within its
//! deadline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use db_backup::simulation::{FaultStore, Faults};
use db_backup::{
    BackupError, Compression, Keys, Limits, Protection, Put, Repository, Segment, Store, VerifyOptions,
    WalName,
};
use object_store::memory::InMemory;

use crate::world::{SYSTEM, content, segment, some_bytes, take, try_take};

fn limits(deadline: Duration) -> Limits {
    Limits { attempt: Duration::from_millis(200), deadline, pause: Duration::from_millis(1) }
}

fn faulty(inner: &Arc<InMemory>, seed: u64, faults: Faults) -> Store {
    let store = FaultStore::new(Arc::clone(inner) as Arc<_>, seed, faults);
    Store::new(Arc::new(store), "", "memory").unwrap().with_limits(limits(Duration::from_secs(20)))
}

fn sound(inner: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(inner) as Arc<_>, "", "memory").unwrap()
}

#[tokio::test]
async fn on_a_bad_day_everything_is_stored_all_the_same() {
    let bad_day =
        Faults { before: 60, after: 60, hangs: 10, cut: 60, flips: 20, throttles: 60, ..Faults::NONE };
    for seed in 0..6 {
        let inner = Arc::new(InMemory::new());
        let (repository, keys) = made(&inner).await;
        drop(repository);
        let repository = Repository::open(faulty(&inner, seed, bad_day), &keys).await.unwrap();
        let cluster = repository.cluster(SYSTEM);
        let files = [("a", some_bytes(seed, 3 << 20)), ("b", some_bytes(seed + 1, 17))];
        let summary = take(&cluster, &files, None).await;
        for number in 2..5 {
            let name = Segment { timeline: 1, log: 0, number };
            let bytes = segment(name, SYSTEM, seed);
            cluster.put_wal(WalName::Segment(name), bytes, Compression::None).await.unwrap();
        }
        let found = content(&cluster, &summary).await.unwrap();
        assert!(found.iter().zip(&files).all(|(found, file)| found.1 == file.1), "seed {seed}");

        let sound = Repository::open(sound(&inner), &keys).await.unwrap().cluster(SYSTEM);
        let verdict = sound.verify(VerifyOptions::default()).await.unwrap();
        assert!(verdict.holds(), "seed {seed}: {:?}", verdict.findings);
    }
}

/// A repository in memory, made on a good day.
async fn made(inner: &Arc<InMemory>) -> (Repository, Keys) {
    let keys = Keys::generate();
    let (repository, _) = Repository::init(sound(inner), &keys, Protection::Encrypted).await.unwrap();
    (repository, keys)
}

#[tokio::test]
async fn the_real_winner_is_told_that_it_won() {
    // The answer to each put is lost, so each is refused because of itself when it is sent again.
    let lost = Faults { after: 700, ..Faults::NONE };
    for seed in 0..20 {
        let inner = Arc::new(InMemory::new());
        let store = faulty(&inner, seed, lost);
        let writers = (0..8).map(|writer| {
            let store = store.clone();
            async move { store.put_if_absent("lock", Bytes::from(format!("writer {writer}"))).await.unwrap() }
        });
        let won = futures_util::future::join_all(writers).await;
        assert_eq!(won.iter().filter(|put| **put == Put::Created).count(), 1, "seed {seed}: {won:?}");
    }
}

#[tokio::test]
async fn a_store_that_never_answers_is_told_within_the_deadline() {
    let inner = Arc::new(InMemory::new());
    let deadline = Duration::from_millis(500);
    let store = faulty(&inner, 1, Faults { hangs: 1_000, ..Faults::NONE }).with_limits(limits(deadline));
    let began = Instant::now();
    let put = store.put_if_absent("a", Bytes::from_static(b"a")).await;
    assert!(matches!(put, Err(BackupError::Store { action: "write", .. })), "{put:?}");
    assert!(began.elapsed() < deadline * 2, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_store_that_lies_about_conditions_is_refused() {
    let lies = [
        Faults { overwrites: true, ..Faults::NONE },
        Faults { races: true, ..Faults::NONE },
        Faults { late_lists: 1_000, ..Faults::NONE },
    ];
    for faults in lies {
        let store = faulty(&Arc::new(InMemory::new()), 1, faults);
        let made = Repository::init(store, &Keys::generate(), Protection::Encrypted).await;
        assert!(matches!(made, Err(BackupError::Unsuitable { .. })), "{faults:?}: {made:?}");
    }
}

#[tokio::test]
async fn credentials_that_may_only_put_suffice_to_take_and_to_archive() {
    let inner = Arc::new(InMemory::new());
    let (repository, keys) = made(&inner).await;
    let put_only =
        FaultStore::new(Arc::clone(&inner) as Arc<_>, 1, Faults { put_only: true, ..Faults::NONE });
    let counts = put_only.counts();
    let store = Store::new(Arc::new(put_only), "", "memory").unwrap();
    let cluster = Repository::open_to_write(store, &repository.writer_key()).cluster(SYSTEM);

    let summary = take(&cluster, &[("a", some_bytes(1, 1 << 20))], None).await;
    for number in 2..5 {
        let name = Segment { timeline: 1, log: 0, number };
        cluster.put_wal(WalName::Segment(name), segment(name, SYSTEM, 1), Compression::None).await.unwrap();
    }
    assert_eq!(counts.other_than_put(), 0, "something else than a put was asked for");
    let reader = Repository::open(sound(&inner), &keys).await.unwrap().cluster(SYSTEM);
    assert_eq!(content(&reader, &summary).await.unwrap()[0].1, some_bytes(1, 1 << 20));
    assert!(reader.verify(VerifyOptions::default()).await.unwrap().holds());
}

#[tokio::test]
async fn a_put_only_archiver_loses_nothing_and_a_reader_sees_the_conflict() {
    let inner = Arc::new(InMemory::new());
    let (repository, keys) = made(&inner).await;
    let put_only =
        FaultStore::new(Arc::clone(&inner) as Arc<_>, 1, Faults { put_only: true, ..Faults::NONE });
    let store = Store::new(Arc::new(put_only), "", "memory").unwrap();
    let writer = Repository::open_to_write(store, &repository.writer_key()).cluster(SYSTEM);
    let reader = Repository::open(sound(&inner), &keys).await.unwrap().cluster(SYSTEM);
    let place = Segment { timeline: 1, log: 0, number: 2 };
    let name = WalName::Segment(place);
    let put = |content| writer.put_wal(name, segment(place, SYSTEM, content), Compression::None);

    assert_eq!(put(1).await.unwrap(), db_backup::WalPut::Stored);
    assert_eq!(put(1).await.unwrap(), db_backup::WalPut::StoredBeside);
    assert_eq!(reader.get_wal(name).await.unwrap(), Some(segment(place, SYSTEM, 1)));
    assert_eq!(put(2).await.unwrap(), db_backup::WalPut::StoredBeside);
    let got = reader.get_wal(name).await;
    assert!(matches!(got, Err(BackupError::WalConflict { .. })), "{got:?}");
}

#[tokio::test]
async fn a_backup_that_cannot_be_stored_is_not_published() {
    // A file stands where the packs would go.
    let world = crate::world::World::new(Protection::Encrypted).await;
    let blocked = world.directory.path().join(format!("clusters/{SYSTEM}"));
    std::fs::create_dir_all(blocked.parent().unwrap()).unwrap();
    std::fs::write(&blocked, b"in the way").unwrap();
    let store = world.repository.store().clone().with_limits(limits(Duration::from_millis(300)));
    let repository = Repository::open(store, &world.keys).await.unwrap();
    let taken = try_take(&repository.cluster(SYSTEM), &[("a", some_bytes(1, 100))], None).await;
    assert!(taken.is_err(), "{taken:?}");
    std::fs::remove_file(blocked).unwrap();
    assert!(repository.cluster(SYSTEM).backups().await.unwrap().whole.is_empty());
}

#[tokio::test]
async fn credentials_that_run_out_in_a_backup_end_it_at_once_and_the_next_one_is_whole() {
    let files = [("a", some_bytes(1, 9 << 20)), ("b", some_bytes(2, 17))];
    for after in [2, 4, 5, 6] {
        let inner = Arc::new(InMemory::new());
        let (repository, keys) = made(&inner).await;
        let expired = faulty(&inner, 1, Faults { run_out_after: after, ..Faults::NONE });
        let began = Instant::now();
        let taken = match Repository::open(expired, &keys).await {
            Ok(repository) => try_take(&repository.cluster(SYSTEM), &files, None).await.map(drop),
            Err(error) => Err(error),
        };
        let Err(BackupError::Denied { .. }) = &taken else { panic!("after {after}: {taken:?}") };
        let said = taken.unwrap_err().to_string();
        assert!(said.contains("check the credentials"), "{said}");
        assert!(began.elapsed() < Duration::from_secs(10), "it was tried again and again");

        let cluster = repository.cluster(SYSTEM);
        // Where only the receipt could not be written any more, the backup is there, and whole.
        for there in cluster.backups().await.unwrap().whole {
            assert_eq!(
                content(&cluster, &there).await.unwrap()[0].1,
                files[0].1,
                "after {after}: half a backup"
            );
        }
        let whole = take(&cluster, &files, None).await;
        crate::world::archive(&cluster, 2..5).await;
        assert_eq!(content(&cluster, &whole).await.unwrap()[0].1, files[0].1);
        let verdict = cluster.verify(VerifyOptions::default()).await.unwrap();
        assert!(verdict.holds(), "after {after}: {:?}", verdict.findings);
    }
}

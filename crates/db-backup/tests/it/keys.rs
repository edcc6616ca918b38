//! Who may open a repository, and who may only add to it.

use db_backup::{BackupError, Keys, Protection, Repository, Store, WriterKey};

use crate::world::{SYSTEM, World, content, some_bytes, take};

#[tokio::test]
async fn the_recovery_key_opens_the_repository_and_another_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::local(directory.path()).unwrap();
    let passphrase = Keys::from_text("correct horse battery staple").unwrap();
    let (repository, recovery) =
        Repository::init(store.clone(), &passphrase, Protection::Encrypted).await.unwrap();
    let summary = take(&repository.cluster(SYSTEM), &[("a", some_bytes(1, 100))], None).await;

    let printed = recovery.secret_text();
    for keys in [Keys::from_text(&printed).unwrap(), passphrase] {
        let opened = Repository::open(store.clone(), &keys).await.unwrap();
        assert_eq!(content(&opened.cluster(SYSTEM), &summary).await.unwrap()[0].1, some_bytes(1, 100));
    }
    for keys in [Keys::generate(), Keys::from_text("another passphrase").unwrap()] {
        let opened = Repository::open(store.clone(), &keys).await;
        assert!(matches!(opened, Err(BackupError::WrongKey)), "{opened:?}");
    }
}

#[tokio::test]
async fn rotating_a_key_rewrites_no_backup() {
    let world = World::new(Protection::Encrypted).await;
    let summary = take(&world.cluster, &[("a", some_bytes(1, 100))], None).await;
    let store = world.repository.store().clone();
    let before = store.list("clusters").await.unwrap();

    let passphrases =
        ["a first passphrase", "a second passphrase"].map(|text| Keys::from_text(text).unwrap());
    world.repository.rotate(&world.keys, &passphrases[0]).await.unwrap();
    world.repository.rotate(&passphrases[0], &passphrases[1]).await.unwrap();

    assert_eq!(store.list("clusters").await.unwrap(), before);
    for old in [&world.keys, &passphrases[0]] {
        assert!(matches!(Repository::open(store.clone(), old).await, Err(BackupError::WrongKey)));
    }
    let opened = Repository::open(store, &passphrases[1]).await.unwrap();
    assert_eq!(content(&opened.cluster(SYSTEM), &summary).await.unwrap()[0].1, some_bytes(1, 100));
}

#[tokio::test]
async fn a_repository_is_not_made_over_another() {
    let world = World::new(Protection::Encrypted).await;
    let again = Repository::init(world.repository.store().clone(), &world.keys, Protection::Encrypted).await;
    assert!(matches!(again, Err(BackupError::RepositoryExists { .. })), "{again:?}");
}

#[tokio::test]
async fn a_planted_data_key_is_not_taken() {
    let world = World::new(Protection::Encrypted).await;
    let other = World::new(Protection::Encrypted).await;
    // Somebody who may put copies a whole repository of their own over this one, but for what wraps its keys.
    let from = other.directory.path().join("format.json");
    std::fs::copy(from, world.directory.path().join("format.json")).unwrap();
    let opened = Repository::open(world.repository.store().clone(), &world.keys).await;
    assert!(opened.unwrap_err().is_damage());
}

#[test]
fn no_key_shows_and_each_survives_being_printed() {
    let keys = Keys::generate();
    let text = keys.secret_text();
    assert!(!format!("{keys:?}").contains(&text[16..]));
    assert_eq!(Keys::from_text(&text).unwrap().recipient(), keys.recipient());
    assert!(matches!(Keys::from_text(&text[..70]), Err(BackupError::InvalidKey(_))));
    assert!("dbw1-e00".parse::<WriterKey>().is_err());
}

#[tokio::test]
async fn a_writers_key_survives_being_printed_and_a_typo_is_told() {
    let world = World::new(Protection::Encrypted).await;
    let text = world.repository.writer_key().secret_text().to_string();
    let writer: WriterKey = text.parse().unwrap();
    let repository = Repository::open_to_write(world.repository.store().clone(), &writer);
    let summary = take(&repository.cluster(SYSTEM), &[("a", some_bytes(1, 100))], None).await;

    assert!(matches!(repository.cluster(SYSTEM).backups().await, Err(BackupError::Misuse(_))));
    assert_eq!(content(&world.cluster, &summary).await.unwrap()[0].1, some_bytes(1, 100));
    let typo = text.replacen('0', "1", 1);
    assert!(typo.parse::<WriterKey>().is_err() || typo == text);
}

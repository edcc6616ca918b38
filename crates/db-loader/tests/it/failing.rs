//! Batch functions that fail, panic, hang, and answer what they were not asked.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use db_core::{Class, Classify, Error, SqlState};
use db_loader::{Found, LoadError, Loader, LoaderConfig};

fn one_at_a_time() -> LoaderConfig {
    LoaderConfig { max_concurrent: NonZeroUsize::MIN, ..LoaderConfig::default() }
}

#[tokio::test]
async fn a_failure_reaches_every_caller_with_its_class_and_is_not_remembered() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let loader = Loader::new("failing", move |keys: Vec<u32>| {
        let fails = failing.load(Ordering::Relaxed);
        async move {
            if fails {
                return Err(Error::ConnectionLost { reason: "reset".to_owned() });
            }
            Ok(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
        }
    });
    let scope = loader.scope();
    let (one, two) = tokio::join!(scope.get(1), scope.get(2));
    let (one, two) = (one.unwrap_err(), two.unwrap_err());
    let (LoadError::Failed(a), LoadError::Failed(b)) = (&one, &two) else { panic!("{one} {two}") };
    assert!(Arc::ptr_eq(a, b), "one error for all");
    assert_eq!((one.class(), one.code()), (Class::Unavailable, None));
    let turned = Error::from(one);
    assert_eq!((turned.class(), turned.to_string()), (Class::Unavailable, two.to_string()));
    fails.store(false, Ordering::Relaxed);
    assert_eq!(scope.get(1).await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_key_may_fail_alone() {
    let loader = Loader::new("single", |keys: Vec<u32>| async move {
        let mut found = Found::new();
        for key in keys {
            match key {
                7 => found.insert_error(key, Error::NotFound),
                key => found.insert(key, key),
            }
        }
        Ok::<_, Error>(found)
    });
    let answers = loader.get_many([6, 7, 8]).await;
    assert!(matches!(answers[1], Err(LoadError::Failed(_))), "{answers:?}");
    assert!(answers[0].is_ok() && answers[2].is_ok());
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_own_callers_and_the_loader_lives_on() {
    let loader = Loader::with("panics", one_at_a_time(), |keys: Vec<u32>| {
        assert!(!keys.contains(&13), "planted, before there is a future");
        async move {
            assert!(!keys.contains(&14), "planted, in the future");
            Ok::<_, Error>(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
        }
    });
    for planted in [13, 14, 13] {
        let failed = loader.get(planted).await.unwrap_err();
        assert!(matches!(failed, LoadError::Panicked { loader: "panics" }), "{failed}");
        assert_eq!(loader.get(1).await.unwrap(), Some(1));
    }
    assert_eq!((loader.counts().panicked, loader.counts().succeeded), (3, 3));
}

#[tokio::test]
async fn a_hash_that_panics_harms_only_those_who_wait_for_it() {
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Key(u32);
    static PANICS: AtomicBool = AtomicBool::new(false);
    impl std::hash::Hash for Key {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            assert!(!PANICS.load(Ordering::Relaxed), "planted");
            self.0.hash(state);
        }
    }
    let loader = Loader::with("hashes", one_at_a_time(), |keys: Vec<Key>| async move {
        let found = keys.iter().map(|key| (*key, key.0)).collect::<Vec<_>>();
        PANICS.store(keys[0].0 == 13, Ordering::Relaxed);
        Ok::<_, Error>(found)
    });
    let waiting = tokio::spawn({
        let loader = loader.clone();
        async move { loader.get(Key(13)).await }
    });
    assert!(waiting.await.unwrap().is_err());
    PANICS.store(false, Ordering::Relaxed);
    assert_eq!(loader.get(Key(1)).await.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_hangs_ends_with_the_timeout_and_gives_its_place_back() {
    let timeout = Duration::from_secs(5);
    let config = LoaderConfig { timeout: Some(timeout), ..one_at_a_time() };
    let loader = Loader::with("hangs", config, |keys: Vec<u32>| async move {
        if keys.contains(&13) {
            std::future::pending::<()>().await;
        }
        Ok::<_, Error>(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    });
    for _ in 0..3 {
        let failed = loader.get(13).await.unwrap_err();
        assert!(matches!(failed, LoadError::TimedOut { waited, .. } if waited == timeout), "{failed}");
        assert_eq!(failed.class(), Class::Overloaded);
        assert_eq!(loader.get(1).await.unwrap(), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_timeout_is_no_overflow() {
    let config = LoaderConfig { timeout: Some(Duration::MAX), ..LoaderConfig::default() };
    let loader = Loader::with("patient", config, |keys: Vec<u32>| async move {
        Ok::<_, Error>(keys.into_iter().map(|key| (key, key)).collect::<HashMap<_, _>>())
    });
    assert_eq!(loader.get(1).await.unwrap(), Some(1));
}

#[tokio::test]
async fn what_is_forgotten_is_missing_what_is_unasked_harms_nobody_and_what_comes_twice_is_an_error() {
    let loader = Loader::new("careless", |keys: Vec<u32>| async move {
        assert_eq!(keys, [1, 2, 3]);
        Ok::<_, Error>(vec![(1, "one"), (2, "two"), (2, "other"), (99, "unasked")])
    });
    let answers = loader.get_many([1, 2, 3]).await;
    assert_eq!(answers[0].as_ref().unwrap(), &Some("one"));
    assert!(matches!(answers[1], Err(LoadError::Ambiguous { loader: "careless" })), "{answers:?}");
    assert_eq!(answers[2].as_ref().unwrap(), &None);
    let counts = loader.counts();
    assert_eq!((counts.missing, counts.unasked), (1, 1));
}

#[test]
fn a_shutdown_of_the_runtime_is_an_error_for_those_who_wait_elsewhere() {
    let started = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&started);
    let loader = Loader::with("ends", one_at_a_time(), move |_: Vec<u32>| {
        let started = Arc::clone(&told);
        async move {
            started.notify_one();
            std::future::pending::<Result<Vec<(u32, ())>, Error>>().await
        }
    });
    let first = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let second = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (one, two) = (loader.clone(), loader.clone());
    first.spawn(async move { one.get(1).await });
    second.block_on(started.notified());
    // This one joins the batch that the first runtime runs, that one waits for its place.
    let joined = second.spawn(async move { two.get(1).await });
    let queued = second.spawn({
        let loader = loader.clone();
        async move { loader.get(2).await }
    });
    second.block_on(db_testkit::until("both wait", async || {
        let counts = loader.counts();
        (counts.loads, counts.joined) == (3, 1)
    }));
    first.shutdown_background();
    let ended = |outcome: Result<_, LoadError>| matches!(outcome, Err(LoadError::Ended { .. }));
    second.block_on(async {
        assert!(ended(joined.await.unwrap()));
        queued.abort();
    });
}

#[test]
fn a_class_says_what_to_do_and_an_error_the_way_out() {
    let waited = Duration::from_secs(1);
    let report = db_core::ServerReport::new(
        "told",
        Some((SqlState::SERIALIZATION_FAILURE, db_core::Evidence::Server)),
    );
    let all = [
        (LoadError::Failed(Arc::new(Error::from_report(report))), Class::Conflict),
        (LoadError::Ambiguous { loader: "users" }, Class::Permanent),
        (LoadError::Cycle { path: "users -> users".into() }, Class::Permanent),
        (LoadError::Panicked { loader: "users" }, Class::Permanent),
        (LoadError::TimedOut { loader: "users", waited }, Class::Overloaded),
        (LoadError::Ended { loader: "users" }, Class::Unavailable),
    ];
    for (error, class) in all {
        assert_eq!(error.class(), class, "{error}");
        let code = error.code();
        let turned = Error::from(error);
        assert_eq!((turned.class(), turned.code()), (class, code), "{turned}");
    }
}

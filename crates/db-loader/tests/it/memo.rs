//! What a scope remembers, and how it learns of writes.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use db_core::Error;
use db_loader::{Loader, LoaderConfig, Scope};
use tokio::sync::Semaphore;

use crate::squares;

#[tokio::test]
async fn a_scope_loads_each_key_once_and_a_loader_does_not_remember() {
    let (loader, _) = squares(LoaderConfig::default());
    let scope = loader.scope();
    for _ in 0..3 {
        assert_eq!(scope.get(4).await.unwrap(), Some(16));
    }
    assert_eq!((loader.counts().keys, loader.counts().remembered), (1, 2));
    for _ in 0..3 {
        loader.get(4).await.unwrap();
    }
    assert_eq!(loader.counts().keys, 4);
    assert_eq!(loader.scope().get(4).await.unwrap(), Some(16));
    assert_eq!(loader.counts().keys, 5, "another scope remembers for itself");
}

type Rows = Arc<Mutex<HashMap<u32, u32>>>;

/// A table whose reads pause: each load reads, then waits for a permit.
fn table() -> (Loader<u32, u32>, Rows, Arc<Semaphore>, Arc<Semaphore>) {
    let rows = Arc::new(Mutex::new(HashMap::from([(1, 10), (2, 20)])));
    let (has_read, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let of = (Arc::clone(&rows), Arc::clone(&has_read), Arc::clone(&go_on));
    let loader = Loader::new("rows", move |keys: Vec<u32>| {
        let (rows, has_read, go_on) = of.clone();
        async move {
            let found: HashMap<_, _> = {
                let rows = rows.lock().unwrap();
                keys.into_iter().filter_map(|key| Some((key, *rows.get(&key)?))).collect()
            };
            has_read.add_permits(1);
            go_on.acquire().await.unwrap().forget();
            Ok::<_, Error>(found)
        }
    });
    (loader, rows, has_read, go_on)
}

#[tokio::test]
async fn a_load_under_way_does_not_bring_back_what_was_cleared() {
    for clears_all in [false, true] {
        let (loader, rows, has_read, go_on) = table();
        let scope = loader.scope();
        let reader = tokio::spawn({
            let scope = scope.clone();
            async move { scope.get(1).await.unwrap() }
        });
        has_read.acquire().await.unwrap().forget();
        rows.lock().unwrap().insert(1, 11);
        if clears_all {
            scope.clear_all();
        } else {
            scope.clear(&1);
        }
        // Asked after the write, while the old load is still under way.
        let after = tokio::spawn({
            let scope = scope.clone();
            async move { scope.get(1).await.unwrap() }
        });
        has_read.acquire().await.unwrap().forget();
        go_on.add_permits(10);
        assert_eq!(reader.await.unwrap(), Some(10), "it asked before the write");
        assert_eq!(after.await.unwrap(), Some(11));
        assert_eq!(scope.get(1).await.unwrap(), Some(11), "the old load left nothing");
        assert_eq!(loader.counts().keys, 2);
    }
}

#[tokio::test]
async fn what_is_primed_beats_a_load_under_way() {
    let (loader, _, has_read, go_on) = table();
    let scope = loader.scope();
    let reader = tokio::spawn({
        let scope = scope.clone();
        async move { scope.get(1).await.unwrap() }
    });
    has_read.acquire().await.unwrap().forget();
    scope.prime(1, 12);
    go_on.add_permits(10);
    reader.await.unwrap();
    assert_eq!(scope.get(1).await.unwrap(), Some(12));
    scope.prime(1, None);
    assert_eq!(scope.get(1).await.unwrap(), None, "deleted by the request");
    assert_eq!(loader.counts().keys, 1);
}

#[tokio::test]
async fn what_is_primed_while_it_is_queued_is_not_loaded() {
    let (loader, batches) = squares(LoaderConfig::default());
    let scope = loader.scope();
    let (primed, ()) = tokio::join!(scope.get(5), async { scope.prime(5, 1) });
    assert_eq!((primed.unwrap(), batches.lock().unwrap().len()), (Some(1), 0));
    let (primed, ()) = tokio::join!(loader.get(6), async { loader.prime(6, 2) });
    assert_eq!(primed.unwrap(), Some(2), "whoever waits is served");
    assert_eq!(loader.get(6).await.unwrap(), Some(36), "a loader remembers nothing");
}

#[tokio::test]
async fn a_scope_remembers_no_more_than_it_may() {
    let config = LoaderConfig { memo_keys: 10, max_batch: NonZeroUsize::MIN, ..LoaderConfig::default() };
    let (loader, _) = squares(config);
    let scope = loader.scope();
    for n in 0..100 {
        assert_eq!(scope.get(n).await.unwrap(), Some(n * n));
        scope.prime(1_000 + n, n);
    }
    for n in 0..100 {
        assert_eq!(scope.get(n).await.unwrap(), Some(n * n));
    }
    let remembered = loader.counts().remembered;
    assert!((1..=10).contains(&remembered), "{remembered}");
}

#[tokio::test]
async fn forgetting_reaches_every_loader_of_a_request() {
    let ((one, _), (two, _)) = (squares(LoaderConfig::default()), squares(LoaderConfig::default()));
    let request = Scope::new();
    for _ in 0..2 {
        request.of(&one).get(1).await.unwrap();
        request.of(&two).get(1).await.unwrap();
    }
    assert_eq!((one.counts().keys, two.counts().keys), (1, 1));
    request.clone().forget();
    request.of(&one).get(1).await.unwrap();
    request.of(&two).get(1).await.unwrap();
    assert_eq!((one.counts().keys, two.counts().keys), (2, 2));
    let other = Scope::new();
    other.of(&one).get(1).await.unwrap();
    assert_eq!(one.counts().keys, 3, "requests share no memo");
}

#[tokio::test]
async fn a_scope_that_knows_of_writes_forgets_by_itself_what_is_older() {
    let (loader, rows, has_read, go_on) = table();
    let writes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&writes);
    let scope = loader.scope_while(move || counted.load(Ordering::Acquire));
    let write = |value| {
        rows.lock().unwrap().insert(1, value);
        writes.fetch_add(1, Ordering::Release);
    };
    let reader = tokio::spawn({
        let scope = scope.clone();
        async move { scope.get(1).await.unwrap() }
    });
    has_read.acquire().await.unwrap().forget();
    write(11);
    go_on.add_permits(10);
    assert_eq!(reader.await.unwrap(), Some(10), "it asked before the write");
    assert_eq!(scope.get(1).await.unwrap(), Some(11), "what was read before the write is not remembered");
    assert_eq!((scope.get(1).await.unwrap(), loader.counts().keys), (Some(11), 2), "what is newer is");
    write(12);
    // What the request knows of its own write outlives that write, and not the next one.
    scope.prime(1, 12);
    assert_eq!((scope.get(1).await.unwrap(), loader.counts().keys), (Some(12), 2));
    write(13);
    assert_eq!(scope.get(1).await.unwrap(), Some(13));
    assert_eq!(loader.counts().keys, 3);
}

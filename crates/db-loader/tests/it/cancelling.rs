//! Callers that go at any moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_core::Error;
use db_loader::{Loader, LoaderConfig};
use db_testkit::{Polled, cancel_at_each_poll, poll_times};
use futures_util::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use crate::{sizes, squares};

#[tokio::test]
async fn a_caller_dropped_at_any_poll_harms_no_other() {
    let (squares, _) = squares(LoaderConfig::default());
    let next = AtomicU64::new(0);
    let polls = cancel_at_each_poll(
        || squares.get(next.fetch_add(1, Ordering::Relaxed)),
        async |_| {
            let others = squares.get_many([1_000, 1_001]).await;
            assert!(others.into_iter().all(|other| other.unwrap().is_some()));
        },
    );
    assert!(polls.await.unwrap() >= 2, "there was something to cancel");
}

#[tokio::test]
async fn whoever_opened_the_batch_may_go_and_the_others_are_served() {
    let (squares, batches) = squares(LoaderConfig::default());
    let mut first = Box::pin(squares.get(1));
    assert!(first.as_mut().now_or_never().is_none());
    let second = squares.get(2);
    drop(first);
    assert_eq!(second.await.unwrap(), Some(4));
    assert_eq!(sizes(&batches), [1], "nobody waits for the first any more");
    assert_eq!(squares.counts().abandoned, 1);
}

#[tokio::test]
async fn whoever_opened_the_batch_may_never_be_polled_again() {
    let (squares, _) = squares(LoaderConfig::default());
    let mut first = Box::pin(squares.get(1));
    assert!(first.as_mut().now_or_never().is_none());
    // It lies there, as a future does that a select! loop does not poll while it is busy in a branch.
    assert_eq!(squares.get(2).await.unwrap(), Some(4));
    assert_eq!(first.await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_load_goes_on_for_the_others_when_its_first_caller_goes() {
    let (started, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let of = (Arc::clone(&started), Arc::clone(&go_on));
    let loader = Loader::new("slow", move |keys: Vec<u32>| {
        let (started, go_on) = of.clone();
        async move {
            started.add_permits(1);
            go_on.acquire().await.unwrap().forget();
            Ok::<_, Error>(keys.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
        }
    });
    let first = tokio::spawn({
        let loader = loader.clone();
        async move { loader.get(7).await }
    });
    started.acquire().await.unwrap().forget();
    let mut second = Box::pin(loader.get(7));
    assert!(second.as_mut().now_or_never().is_none());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    go_on.add_permits(1);
    assert_eq!(second.await.unwrap(), Some(7));
    assert_eq!(loader.counts().keys, 1);
}

#[tokio::test]
async fn keys_that_nobody_waits_for_are_not_loaded() {
    let (squares, batches) = squares(LoaderConfig::default());
    for n in 0..100 {
        assert!(matches!(poll_times(squares.get(n), 1).await.unwrap(), Polled::Cancelled));
    }
    yield_now().await;
    assert_eq!(squares.get(1_000).await.unwrap(), Some(1_000_000));
    let loaded: usize = sizes(&batches).into_iter().sum();
    assert_eq!((loaded as u64, loaded as u64 + squares.counts().abandoned), (1, 101));
}

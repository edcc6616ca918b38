//! What one batch is.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use db_core::Error;
use db_loader::{Loader, LoaderConfig};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};

use crate::{sizes, squares};

async fn a_thousand_of_one_task_are_one_batch() {
    let (squares, batches) = squares(LoaderConfig::default());
    let answers = join_all((0..1_000).map(|n| squares.get(n))).await;
    assert!(answers.into_iter().zip(0..).all(|(answer, n)| answer.unwrap() == Some(n * n)));
    let unordered: FuturesUnordered<_> = (0..1_000).map(|n| squares.get(n)).collect();
    assert_eq!(unordered.count().await, 1_000);
    assert_eq!(squares.get_many(0..1_000).await.len(), 1_000);
    assert_eq!(sizes(&batches), [1_000, 1_000, 1_000]);
}

#[tokio::test]
async fn a_thousand_of_one_task_are_one_batch_on_one_thread() {
    a_thousand_of_one_task_are_one_batch().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_of_one_task_are_one_batch_on_two_threads() {
    tokio::spawn(a_thousand_of_one_task_are_one_batch()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_works_between_two_keys_of_one_poll_is_waited_for() {
    let (squares, batches) = squares(LoaderConfig::default());
    let works = |n| {
        let squares = squares.clone();
        async move {
            // Longer than any quiet turn of the other thread, far shorter than the longest wait.
            let started = std::time::Instant::now();
            while started.elapsed().as_micros() < 20 {}
            squares.get(n).await
        }
    };
    for _ in 0..100 {
        tokio::spawn(join_all((0..10).map(works))).await.unwrap();
    }
    let whole = sizes(&batches).into_iter().filter(|size| *size == 10).count();
    assert!(whole >= 95, "{whole} of 100: {:?}", sizes(&batches));
}

#[tokio::test]
async fn a_thousand_tasks_on_one_thread_are_one_batch() {
    let (squares, batches) = squares(LoaderConfig::default());
    let mut tasks = JoinSet::new();
    for n in 0..1_000 {
        let squares = squares.clone();
        tasks.spawn(async move { squares.get(n).await.unwrap() });
    }
    assert_eq!(tasks.join_all().await.len(), 1_000);
    assert_eq!(sizes(&batches), [1_000]);
}

#[tokio::test]
async fn whoever_is_woken_in_the_same_turn_joins() {
    let (squares, batches) = squares(LoaderConfig::default());
    let late = async {
        for _ in 0..3 {
            yield_now().await;
            squares.get(8).await.unwrap();
        }
    };
    // Each of the second's keys comes in the turn after the first's.
    let woken = Arc::new(Semaphore::new(0));
    let waker = async {
        let first = squares.get(1);
        woken.add_permits(1);
        first.await.unwrap()
    };
    let sleeper = async {
        woken.acquire().await.unwrap().forget();
        squares.get(2).await.unwrap()
    };
    tokio::join!(waker, sleeper);
    assert_eq!(sizes(&batches), [2]);
    late.await;
}

#[tokio::test]
async fn no_batch_is_larger_and_no_more_run_at_once_than_configured() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (max_batch, max_concurrent) = (NonZeroUsize::new(10).unwrap(), NonZeroUsize::new(3).unwrap());
    let config = LoaderConfig { max_batch, max_concurrent, ..LoaderConfig::default() };
    let seen = Arc::clone(&most);
    let loader = Loader::with("counted", config, move |keys: Vec<u32>| {
        assert!(keys.len() <= 10);
        let (now, most) = (Arc::clone(&now), Arc::clone(&seen));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            for _ in 0..5 {
                yield_now().await;
            }
            now.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, Error>(keys.into_iter().map(|key| (key, ())).collect::<Vec<_>>())
        }
    });
    let answers = loader.get_many(0..200).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap().is_some()));
    assert_eq!((loader.counts().batches(), most.load(Ordering::Relaxed)), (20, 3));
}

#[tokio::test]
async fn one_key_of_many_callers_is_loaded_once() {
    let (squares, batches) = squares(LoaderConfig::default());
    let answers = join_all((0..100).map(|_| squares.get(7))).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Some(49)));
    assert_eq!(sizes(&batches), [1]);
    assert_eq!((squares.counts().loads, squares.counts().joined), (100, 99));
}

#[tokio::test]
async fn a_loader_outlives_the_runtime_that_it_was_first_used_on() {
    let (squares, _) = squares(LoaderConfig::default());
    let used = squares.clone();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { used.get(3).await.unwrap() })
    });
    assert_eq!(other.join().unwrap(), Some(9));
    assert_eq!(squares.get(4).await.unwrap(), Some(16));
}

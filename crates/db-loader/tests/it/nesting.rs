//! Loaders that load through loaders.

use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};

use db_core::{Class, Classify, Error};
use db_loader::{LoadError, Loader, LoaderConfig};
use futures_util::future::join_all;

type Late = Arc<OnceLock<Loader<u64, u64>>>;

fn one_at_a_time() -> LoaderConfig {
    LoaderConfig { max_concurrent: NonZeroUsize::MIN, timeout: None, ..LoaderConfig::default() }
}

/// A loader that asks another one for each key, as `inner` says, and answers what that answers.
fn through(name: &'static str, inner: &Late, key: fn(u64) -> Option<u64>) -> Loader<u64, u64> {
    let inner = Arc::clone(inner);
    Loader::with(name, one_at_a_time(), move |keys: Vec<u64>| {
        let inner = inner.get().cloned();
        async move {
            let asked = keys.iter().map(|n| {
                let inner = inner.clone();
                async move {
                    match (key(*n), inner) {
                        (Some(next), Some(inner)) => Ok((*n, inner.get(next).await?.unwrap_or_default() + 1)),
                        _ => Ok((*n, 0)),
                    }
                }
            });
            let answers = join_all(asked).await;
            answers.into_iter().collect::<Result<Vec<_>, LoadError>>()
        }
    })
}

#[tokio::test]
async fn a_chain_of_loaders_makes_one_batch_each() {
    let mut chain: Vec<Loader<u64, u64>> = Vec::new();
    for depth in 0..5 {
        let inner = Late::default();
        if let Some(below) = chain.last() {
            inner.set(below.clone()).unwrap();
        }
        chain.push(through(["a", "b", "c", "d", "e"][depth], &inner, Some));
    }
    let answers = chain[4].get_many(0..100).await;
    assert!(answers.into_iter().all(|answer| answer.unwrap() == Some(4)));
    assert!(chain.iter().all(|loader| loader.counts().batches() == 1));
}

#[tokio::test]
async fn a_loader_may_load_other_keys_through_itself_although_only_one_batch_may_run() {
    let ancestors = Late::default();
    let loader = through("ancestors", &ancestors, |n| n.checked_sub(1));
    ancestors.set(loader.clone()).unwrap();
    assert_eq!(loader.get(100).await.unwrap(), Some(100));
    assert_eq!(loader.counts().batches(), 101);
}

#[tokio::test]
async fn a_key_that_needs_itself_is_a_cycle() {
    let own = Late::default();
    let loader = through("selfish", &own, Some);
    own.set(loader.clone()).unwrap();
    let failed = loader.get(1).await.unwrap_err();
    assert!(matches!(&failed, LoadError::Cycle { path } if &**path == "selfish -> selfish"), "{failed:?}");
    // The loader and its place are whole.
    let (other, _) = crate::squares(one_at_a_time());
    assert_eq!(other.get(2).await.unwrap(), Some(4));
    assert!(loader.get(1).await.is_err());
}

#[tokio::test]
async fn a_cycle_through_several_loaders_is_an_error_that_names_them() {
    let (first, second) = (Late::default(), Late::default());
    let a = through("posts", &first, Some);
    let b = through("users", &second, Some);
    let third = Late::default();
    let c = through("teams", &third, Some);
    first.set(b.clone()).unwrap();
    second.set(c).unwrap();
    third.set(a.clone()).unwrap();
    let failed = a.get(1).await.unwrap_err();
    let LoadError::Cycle { path } = &failed else { panic!("{failed:?}") };
    assert_eq!(&**path, "teams -> posts -> users -> teams");
    assert_eq!(failed.class(), Class::Permanent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_batches_that_wait_for_each_other_end_whoever_comes_first() {
    for round in 0..200_u64 {
        let (first, second) = (Late::default(), Late::default());
        let a = through("posts", &first, Some);
        let b = through("users", &second, Some);
        first.set(b.clone()).unwrap();
        second.set(a.clone()).unwrap();
        let (one, two) = (
            tokio::spawn(async move { a.get(round).await }),
            tokio::spawn(async move { b.get(round).await }),
        );
        let both = tokio::join!(one, two);
        let is_cycle = |answer: Result<_, LoadError>| matches!(answer, Err(LoadError::Cycle { .. }));
        assert!(is_cycle(both.0.unwrap()) && is_cycle(both.1.unwrap()));
    }
}

#[tokio::test]
async fn keys_that_take_turns_between_two_loaders_are_no_cycle() {
    let (first, second) = (Late::default(), Late::default());
    let a = through("posts", &first, |n| n.checked_sub(1));
    let b = through("users", &second, |n| n.checked_sub(1));
    first.set(b.clone()).unwrap();
    second.set(a.clone()).unwrap();
    assert_eq!(a.get(50).await.unwrap(), Some(50));
}

#[tokio::test]
async fn a_batch_that_needs_one_of_its_own_other_keys_is_a_cycle_too() {
    let own = Late::default();
    let loader = through("ancestors", &own, |n| n.checked_sub(1));
    own.set(loader.clone()).unwrap();
    // A batch ends as a whole: 5 needs 3, which is answered when 5 is.
    let both = loader.get_many([5, 3]).await;
    assert!(both.into_iter().all(|answer| matches!(answer, Err(LoadError::Cycle { .. }))));
    assert_eq!(loader.get(5).await.unwrap(), Some(5));
}

#[tokio::test]
async fn a_batch_with_a_cycle_in_one_key_fails_and_another_one_does_not() {
    let own = Late::default();
    let loader = through("tree", &own, |n| if n == 13 { Some(13) } else { n.checked_sub(1) });
    own.set(loader.clone()).unwrap();
    assert!(matches!(loader.get(13).await, Err(LoadError::Cycle { .. })));
    assert_eq!(loader.get(12).await.unwrap(), Some(12));
}

#[test]
fn a_cycle_says_the_way_out() {
    let error = Error::from(LoadError::Cycle { path: "users -> users".into() });
    assert!(error.to_string().contains("after the batch"), "{error}");
}

#[tokio::test]
async fn what_a_loader_says_of_itself_reaches_callers_of_other_loaders() {
    let inner = Loader::new("inner", |keys: Vec<u64>| async move {
        assert!(!keys.contains(&13), "planted");
        Ok::<_, Error>(vec![(keys[0], 1), (keys[0], 2)])
    });
    let late = Late::default();
    late.set(inner).unwrap();
    let outer = through("outer", &late, Some);
    let failed = outer.get(1).await.unwrap_err();
    assert!(matches!(failed, LoadError::Ambiguous { loader: "inner" }), "{failed:?}");
    let failed = outer.get(13).await.unwrap_err();
    assert!(matches!(failed, LoadError::Panicked { loader: "inner" }), "{failed:?}");
}

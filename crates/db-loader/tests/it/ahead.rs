//! A cache in front of the batch function.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use db_core::Error;
use db_loader::{Ahead, Found, Loader, ahead};

/// Knows what it was told, and that 404 does not exist; 5,013 makes a look panic, 5,014 a fill.
#[derive(Default)]
struct Known {
    rows: Mutex<HashMap<u32, u32>>,
    looks: AtomicU64,
    absent: Mutex<Vec<u32>>,
}

impl Ahead<u32, u32> for Known {
    type Ticket = u64;

    async fn look(&self, keys: &[u32]) -> (Found<u32, u32>, u64) {
        assert!(!keys.contains(&5_013), "planted");
        let rows = self.rows.lock().unwrap();
        let mut found: Found<u32, u32> =
            keys.iter().filter_map(|key| Some((*key, *rows.get(key)?))).collect();
        if keys.contains(&404) {
            found.insert_missing(404);
        }
        (found, self.looks.fetch_add(1, Ordering::Relaxed))
    }

    async fn fill(&self, ticket: u64, keys: &[u32], loaded: &Found<u32, u32>) {
        assert!(!keys.contains(&5_014), "planted");
        assert!(ticket < self.looks.load(Ordering::Relaxed), "the ticket of its own look");
        for key in keys {
            match loaded.get(key) {
                Some(value) => drop(self.rows.lock().unwrap().insert(*key, *value)),
                None => self.absent.lock().unwrap().push(*key),
            }
        }
    }
}

type Asked = Arc<Mutex<Vec<Vec<u32>>>>;

fn tiered() -> (Loader<u32, u32>, Arc<Known>, Asked) {
    let (known, asked) = (Arc::new(Known::default()), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&asked);
    let batch = move |keys: Vec<u32>| {
        noted.lock().unwrap().push(keys.clone());
        async move {
            let there = keys.into_iter().filter(|key| *key != 2_000);
            Ok::<_, Error>(there.map(|key| (key, key + 1)).collect::<Vec<_>>())
        }
    };
    (Loader::new("tiered", ahead(Arc::clone(&known), batch)), known, asked)
}

#[tokio::test]
async fn a_batch_looks_once_and_the_rest_is_one_batch() {
    let (loader, known, asked) = tiered();
    known.rows.lock().unwrap().extend((0..50).map(|key| (key, 7)));
    let answers = loader.get_many((0..100).chain([404, 2_000])).await;
    let answers: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!((answers[0], answers[50], answers[100], answers[101]), (Some(7), Some(51), None, None));
    assert_eq!(*asked.lock().unwrap(), [(50..100).chain([2_000]).collect::<Vec<_>>()]);
    assert_eq!(known.looks.load(Ordering::Relaxed), 1);
    assert_eq!(*known.absent.lock().unwrap(), [2_000]);
    loader.get_many(0..100).await;
    assert_eq!(asked.lock().unwrap().len(), 1, "all is known now");
}

#[tokio::test]
async fn a_cache_that_panics_costs_no_load() {
    let (loader, known, _) = tiered();
    assert_eq!(loader.get(5_013).await.unwrap(), Some(5_014));
    assert_eq!(loader.get(5_014).await.unwrap(), Some(5_015));
    assert_eq!(loader.counts().panicked, 0);
    assert!(known.rows.lock().unwrap().is_empty());
}

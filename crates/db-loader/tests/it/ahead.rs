//! A cache in front of a query's statement.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use db_core::{Acquire, Error, Result};
use db_loader::{Ahead, Found, LoadError, Loader, LoaderConfig, Order, Page, PageOf, Query, Statement, lend};
use db_testkit::Source;
use diesel_async::AsyncPgConnection;

use crate::children::{self, Comment};
use crate::statements::{STATEMENTS, count, database, names};

/// Remembers what it was asked for, and what does not exist; it counts how often it is asked.
struct Known<K, V> {
    source: Source,
    rows: Arc<Mutex<HashMap<K, Option<V>>>>,
    asked: Arc<AtomicU64>,
}

impl<K: Eq + Hash, V> Known<K, V> {
    fn before(source: Source) -> Self {
        Known { source, rows: Arc::default(), asked: Arc::default() }
    }
}

impl<K, V> Ahead<K, V> for Known<K, V>
where
    K: Eq + Hash + Clone + Debug + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    async fn answer(&self, keys: Vec<K>, statement: Statement<K, V>) -> Result<Found<K, V>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let mut found = Found::new();
        let rest: Vec<K> = {
            let rows = self.rows.lock().unwrap();
            keys.into_iter()
                .filter(|key| match rows.get(key) {
                    Some(Some(row)) => {
                        found.insert(key.clone(), row.clone());
                        false
                    }
                    Some(None) => {
                        found.insert_missing(key.clone());
                        false
                    }
                    None => true,
                })
                .collect()
        };
        if !rest.is_empty() {
            // As a cache does whose loads no caller cancels.
            let (source, wanted) = (self.source.clone(), rest.clone());
            let load = async move {
                let mut conn = source.acquire_at(statement.site()).await?;
                statement.run(&mut conn, wanted).await
            };
            let loaded = tokio::spawn(load).await.unwrap()?;
            let rows = rest.into_iter().map(|key| (key.clone(), loaded.get(&key).cloned()));
            self.rows.lock().unwrap().extend(rows);
            found.merge(loaded);
        }
        Ok(found)
    }
}

#[tokio::test]
async fn a_batch_asks_the_cache_once_and_the_rest_is_one_statement() {
    let database = database().await;
    let cache = Known::before(Source::opening(database.url()));
    let asked = Arc::clone(&cache.asked);
    let names = names().behind(cache);
    for (round, wanted) in
        [1..=500, 1..=1_000, 501..=1_000, 1_900..=2_400, 2_100..=2_400].into_iter().enumerate()
    {
        let answers = names.get_many(wanted.clone()).await;
        for (id, answer) in wanted.zip(answers) {
            let expected = (id <= 2_000).then(|| format!("user {id}"));
            assert_eq!(answer.unwrap(), expected);
        }
        assert_eq!(asked.load(Ordering::Relaxed), round as u64 + 1);
    }
    // Neither the third round nor the last one asked the server: that a user does not exist is known, too.
    assert_eq!(count(&mut database.connect().await.unwrap(), STATEMENTS).await, 3);
}

#[tokio::test]
async fn pages_of_children_come_from_the_cache_each_by_its_own_key() {
    let database = children::database().await;
    let mut conn = database.connect().await.unwrap();
    let cache: Known<PageOf<i32, children::Key>, Arc<[Comment]>> =
        Known::before(Source::opening(database.url()));
    let comments = children::shown().behind(cache);
    for _ in 0..2 {
        let (three, five, down) = tokio::join!(
            comments.load_top(40, 3, Order::Ascending),
            comments.load_top(40, 5, Order::Ascending),
            comments.load_top(40, 3, Order::Descending),
        );
        let (three, five, down) = (three.unwrap(), five.unwrap(), down.unwrap());
        assert_eq!((three.len(), &five[..3]), (3, &three[..]));
        assert_ne!(three, down);
        let next = Page::first(2).after((three[2].score, three[2].id));
        assert_eq!(*comments.load_page(40, next, Order::Ascending).await.unwrap(), five[3..]);
    }
    // Three shapes: up and down from the start, and up behind a cursor.
    assert_eq!(children::statements(&mut conn).await, 3);
}

#[tokio::test]
async fn a_transaction_asks_no_cache() {
    let database = database().await;
    let query = names();
    let cache = Known::before(Source::opening(database.url()));
    let asked = Arc::clone(&cache.asked);
    let behind = query.behind(cache);
    assert_eq!(behind.get(1).await.unwrap().as_deref(), Some("user 1"));
    let mut conn = database.connect().await.unwrap();
    let (lent, mut loan) = lend(&mut conn);
    let names = query.within(&lent);
    assert_eq!(loan.run(names.get(1)).await.unwrap().as_deref(), Some("user 1"));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(count(&mut conn, STATEMENTS).await, 2);
}

#[tokio::test]
async fn a_cache_that_panics_is_an_error_of_its_callers_and_the_loader_goes_on() {
    struct Panics(Source);

    impl Ahead<i32, String> for Panics {
        async fn answer(&self, ids: Vec<i32>, names: Statement<i32, String>) -> Result<Found<i32, String>> {
            assert!(!ids.contains(&13), "planted");
            let mut conn = self.0.acquire_at(names.site()).await?;
            names.run(&mut conn, ids).await
        }
    }

    let database = database().await;
    let names = names().behind(Panics(Source::opening(database.url())));
    let failed = names.get(13).await.unwrap_err();
    assert!(matches!(failed, LoadError::Panicked { loader: "names" }), "{failed}");
    assert_eq!(names.get(14).await.unwrap().as_deref(), Some("user 14"));
}

/// Users whose names are those of another loader's, behind a cache of their own.
fn through(name: &'static str, inner: &Late, source: &Source) -> Loader<i32, String> {
    let inner = Arc::clone(inner);
    let query = Query::new(name, async move |_: &mut AsyncPgConnection, ids: Vec<i32>| {
        let inner = inner.get().unwrap();
        let answers: Result<Vec<_>, LoadError> = inner.get_many(ids.clone()).await.into_iter().collect();
        Ok::<_, Error>(ids.into_iter().zip(answers?.into_iter().flatten()).collect::<Vec<_>>())
    });
    let patient =
        LoaderConfig { timeout: None, max_concurrent: NonZeroUsize::MIN, ..LoaderConfig::default() };
    query.with(patient).behind(Known::before(source.clone()))
}

type Late = Arc<OnceLock<Loader<i32, String>>>;

#[tokio::test]
async fn loaders_behind_caches_load_through_one_another_and_a_cycle_is_an_error() {
    let database = database().await;
    let source = Source::opening(database.url());
    let (names, outer) = (Late::default(), Late::default());
    names.set(self::names().behind(Known::before(source.clone()))).unwrap();
    outer.set(through("inner", &names, &source)).unwrap();
    let greetings = through("outer", &outer, &source);
    assert_eq!(greetings.get(7).await.unwrap().as_deref(), Some("user 7"));

    // Neither has a timeout: a cycle that is not seen would never end.
    let (posts, users) = (Late::default(), Late::default());
    posts.set(through("posts", &users, &source)).unwrap();
    users.set(through("users", &posts, &source)).unwrap();
    let failed = posts.get().unwrap().get(1).await.unwrap_err();
    assert!(matches!(&failed, LoadError::Cycle { path } if path.contains("users -> posts")), "{failed:?}");
}

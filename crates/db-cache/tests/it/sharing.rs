//! Which callers may have the value of a load that another one began.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use db_cache::{Cache, CacheConfig, Foundation, Keyspace, Loaded, Mode, ReadAt, Tag, TokioClock};
use tokio::task::yield_now;

static NAMES: Keyspace<i64, String> =
    Keyspace::new("names").mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("users", id)]);

/// The clock stands still: nothing here waits for time.
#[tokio::test(start_paused = true)]
async fn a_strict_read_after_a_commit_shares_no_load_from_before_it_in_the_same_tick() {
    let clock = Arc::new(TokioClock::start());
    let cache = Cache::on(CacheConfig::default(), Foundation { clock, ..Foundation::default() });
    let row = Arc::new(Mutex::new("old"));
    let (begun, go_on) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let read = || {
        let (cache, row) = (cache.clone(), Arc::clone(&row));
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        let load = move |_| {
            let (row, begun, go_on) = (Arc::clone(&row), Arc::clone(&begun), Arc::clone(&go_on));
            async move {
                let name = row.lock().unwrap().to_owned();
                begun.fetch_add(1, Ordering::SeqCst);
                while !go_on.load(Ordering::SeqCst) {
                    yield_now().await;
                }
                Ok::<_, std::io::Error>(Loaded::new(Some(name), ReadAt::Primary(None)))
            }
        };
        tokio::spawn(async move { cache.get_with(&NAMES.key(7), load).await.unwrap().unwrap().to_string() })
    };

    let before = read();
    while begun.load(Ordering::SeqCst) == 0 {
        yield_now().await;
    }
    let transaction = cache.transaction();
    transaction.touch(Tag::row("users", 7));
    transaction.before_commit().await.unwrap();
    *row.lock().unwrap() = "new";
    transaction.committed(None).await;

    let after = read();
    while cache.stats().coalesced == 0 {
        yield_now().await;
    }
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(after.await.unwrap(), "new");
    assert!(["old", "new"].contains(&before.await.unwrap().as_str()));
}

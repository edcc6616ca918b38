//! What becomes of a tier whose server dies, stops, is emptied, is full, or gives way to another one.

use std::time::{Duration, Instant};

use db_cache::{EntryKey, NewEpoch, RedisConfig, RedisTier, SecondTier, TierFailure};
use db_testkit::{Redis, skip, until};

use super::{Bench, LIMIT, ask, client_of, entry, slot, tier_at, within};

#[tokio::test]
async fn a_restart_is_another_run_that_the_epoch_does_not_belong_to() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    bench.open(&[slot(1)]).await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let _: String = bench.ask(&["SAVE"]).await;
    bench.redis.kill().await.unwrap();
    let error = bench.read(&[]).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::Unreachable, "{error}");
    bench.redis.restart().await.unwrap();

    let back = bench.read_again(&[slot(1)]).await;
    assert!(back.slots[0].is_some(), "its data was kept");
    assert_eq!(back.epoch, Some(epoch));
    assert_ne!(back.run, epoch.run);
    assert!(within(bench.tier.feed(Some(cursor), LIMIT, None)).await.unwrap().lost);
    let renewed = bench.tier.epoch(bench.generation(), NewEpoch::IfOfAnotherRun).await.unwrap();
    assert_eq!(renewed.run, back.run);
    assert_ne!(renewed.generation, epoch.generation);
}

#[tokio::test]
async fn a_restart_with_nothing_kept_has_no_epoch() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    bench.redis.kill().await.unwrap();
    bench.redis.restart().await.unwrap();
    let back = bench.read_again(&[]).await;
    assert_eq!(back.epoch, None);
    assert_ne!(back.run, epoch.run);
    assert!(within(bench.tier.feed(Some(cursor), LIMIT, None)).await.unwrap().lost);
    assert_ne!(bench.settle().await.generation, epoch.generation);
}

#[tokio::test]
async fn callers_of_a_dead_server_are_told_at_once() {
    let Some(bench) = Bench::start().await else { return };
    bench.run().await;
    bench.redis.kill().await.unwrap();
    let started = Instant::now();
    let mut failed = 0;
    while failed < 1_000 {
        assert_eq!(bench.read(&[]).await.unwrap_err().failure, TierFailure::Unreachable);
        failed += 1;
    }
    // Far less than one attempt to connect each.
    assert!(started.elapsed() < Duration::from_secs(2), "{failed} took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_stopped_server_is_slow_and_works_again_afterwards() {
    let Some(bench) = Bench::start().await else { return };
    let run = bench.run().await;
    bench.redis.pause().await.unwrap();
    let started = Instant::now();
    let error = bench.read(&[]).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::TimedOut, "{error}");
    assert!(started.elapsed() < Duration::from_secs(3));
    bench.redis.resume().await.unwrap();
    assert_eq!(bench.read_again(&[]).await.run, run, "nobody has taken over");
}

#[tokio::test]
async fn a_connection_that_went_silent_is_given_up_by_callers_that_do_not_wait() {
    let Some(bench) = Bench::start().await else { return };
    let proxy = db_testkit::Proxy::start(("127.0.0.1", bench.redis.port())).unwrap();
    let tier = tier_at(&proxy.through(&bench.redis.url()).unwrap(), "test");
    within(tier.read(&[], &[])).await.unwrap();
    proxy.half_open();
    let mut gave_up = 0;
    until("another connection answers", async || {
        let read = tier.read(&[], &[]);
        let answer = tokio::time::timeout(Duration::from_millis(5), read).await;
        gave_up += u32::from(answer.is_err());
        answer.is_ok_and(|answer| answer.is_ok())
    })
    .await;
    assert!(gave_up > 10, "it was silent for a while");
}

#[tokio::test]
async fn one_caller_that_gave_up_costs_no_connection() {
    let Some(bench) = Bench::start().await else { return };
    let response_timeout = Duration::from_millis(300);
    let (url, installation) = (bench.redis.url(), "test".to_owned());
    let config = RedisConfig { url, installation, response_timeout, ..RedisConfig::default() };
    let tier = RedisTier::new(&config).unwrap();
    within(tier.read(&[], &[])).await.unwrap();
    let id = connection_ids(&bench).await;
    bench.redis.pause().await.unwrap();
    let gave_up = tokio::time::timeout(Duration::from_millis(5), tier.read(&[], &[])).await;
    assert!(gave_up.is_err());
    bench.redis.resume().await.unwrap();
    // The server counts whole seconds.
    until("it has been silent for longer than a connection may be", async || {
        let clients = client_list(&bench).await;
        !clients.is_empty() && !clients.contains(" idle=0 ")
    })
    .await;
    within(tier.read(&[], &[])).await.unwrap();
    assert_eq!(connection_ids(&bench).await, id);
}

/// The server's numbers for the tier's connections.
async fn connection_ids(bench: &Bench) -> Vec<String> {
    let clients = client_list(bench).await;
    clients.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

/// What the server says of the tier's connections.
async fn client_list(bench: &Bench) -> String {
    let clients: String = bench.ask(&["CLIENT", "LIST"]).await;
    clients.lines().filter(|line| line.contains("name=db-cache")).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn an_emptied_server_has_no_epoch_and_its_readers_are_told() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    let key = EntryKey::from_bytes(b"k".to_vec());
    bench.tier.store(&entry(&key, b"v")).await.unwrap();
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let _: String = bench.ask(&["FLUSHALL"]).await;
    let emptied = bench.tier.read(&[key], &[slot(1)]).await.unwrap();
    assert_eq!((emptied.epoch, emptied.slots[0], emptied.entries), (None, None, vec![None]));
    assert_eq!(emptied.run, epoch.run);
    assert!(within(bench.tier.feed(Some(cursor), LIMIT, None)).await.unwrap().lost);
    assert_ne!(bench.settle().await.generation, epoch.generation);
}

#[tokio::test]
async fn a_reader_that_waits_is_told_that_the_feed_is_another() {
    let Some(bench) = Bench::start().await else { return };
    bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let waits = bench.tier.feed(Some(cursor), LIMIT, None);
    let empties = async {
        until("the reader waits", async || is_waiting(&bench).await).await;
        let _: String = bench.ask(&["FLUSHALL"]).await;
        bench.settle().await;
    };
    let (feed, ()) = within(async { tokio::join!(waits, empties) }).await;
    assert!(feed.unwrap().lost);
}

async fn is_waiting(bench: &Bench) -> bool {
    bench.ask::<String>(&["INFO", "clients"]).await.contains("blocked_clients:1")
}

#[tokio::test]
async fn killed_connections_lose_nothing() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let waits = bench.tier.feed(Some(cursor), LIMIT, None);
    let kills = async {
        until("the reader waits", async || is_waiting(&bench).await).await;
        let _: i64 = bench.ask(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    };
    let (feed, ()) = within(async { tokio::join!(waits, kills) }).await;
    assert_eq!(feed.unwrap_err().failure, TierFailure::Unreachable);
    let back = bench.read_again(&[]).await;
    assert_eq!((back.run, back.epoch), (epoch.run, Some(epoch)));
    let touched = bench.fresh(&[slot(3)]);
    bench.tier.bump(None, &touched, None).await.unwrap();
    let feed = within(bench.tier.feed(Some(cursor), LIMIT, None)).await.unwrap();
    assert!(!feed.lost && feed.changes.len() == 1);
}

#[tokio::test]
async fn a_reader_that_gives_up_blocks_no_other() {
    let Some(bench) = Bench::start().await else { return };
    bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    for _ in 0..20 {
        let waits = bench.tier.feed(Some(cursor), LIMIT, None);
        let gone = tokio::time::timeout(Duration::from_millis(5), waits).await;
        assert!(gone.is_err(), "nothing changes");
    }
    let touched = bench.fresh(&[slot(3)]);
    let started = Instant::now();
    let waits = bench.tier.feed(Some(cursor), LIMIT, None);
    let (feed, bumped) = within(async { tokio::join!(waits, bench.tier.bump(None, &touched, None)) }).await;
    bumped.unwrap();
    assert_eq!(feed.unwrap().changes.len(), 1);
    assert!(started.elapsed() < LIMIT / 2);
    until("the connections of those that gave up are closed", async || {
        let clients: String = bench.ask(&["CLIENT", "LIST"]).await;
        clients.lines().filter(|line| line.contains("name=db-cache")).count() <= 2
    })
    .await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let Some(bench) = Bench::start().await else { return };
    let touched = bench.fresh(&[slot(3)]);
    for _ in 0..3 {
        bench.tier.bump(None, &touched, None).await.unwrap();
        let _: String = bench.ask(&["SCRIPT", "FLUSH"]).await;
    }
}

#[tokio::test]
async fn a_full_server_takes_no_entries_and_still_invalidates() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    let before = bench.open(&[slot(1)]).await.slots[0].unwrap();
    let mut client = bench.client().await;
    let _: String = ask(&mut client, &["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: String = ask(&mut client, &["CONFIG", "SET", "maxmemory", "1mb"]).await;
    let key = EntryKey::from_bytes(b"k".to_vec());
    let error = within(bench.tier.store(&entry(&key, &[7; 4_096]))).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::Full, "{error}");
    assert!(!error.failure.is_outage());

    let (writer, fresh) = (bench.writer(), bench.fresh(&[slot(1), slot(2)]));
    within(bench.tier.mark(writer, &fresh, LIMIT)).await.unwrap();
    assert!(bench.read(&[slot(1)]).await.unwrap().slots[0].unwrap().doubt.is_some());
    within(bench.tier.bump(Some(writer), &fresh, None)).await.unwrap();
    let after = bench.read(&[slot(1)]).await.unwrap();
    assert_ne!(after.slots[0].unwrap().generation, before.generation);
    assert_eq!(after.epoch, Some(epoch));
    let holder = db_cache::Holder(1);
    assert_eq!(bench.tier.lease(&key, holder, LIMIT).await, Ok(db_cache::Lease::Taken));
    let usage = bench.tier.usage().await.unwrap();
    assert_eq!((usage.limit_bytes, usage.policy.as_deref()), (Some(1 << 20), Some("noeviction")));
    assert!(usage.used_bytes > usage.limit_bytes);
}

#[tokio::test]
async fn records_that_were_evicted_drop_the_cache_and_never_revive_it() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    let opened = bench.open(&[slot(1)]).await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let member = Some((db_cache::Member(7), LIMIT));
    bench.tier.feed(Some(cursor), Duration::ZERO, member).await.unwrap();
    assert_eq!(bench.tier.members().await.unwrap(), [(db_cache::Member(7), cursor.id)]);
    let _: i64 = bench.ask(&["DEL", "{db-cache:test}:records"]).await;
    let evicted = bench.read(&[slot(1)]).await.unwrap();
    assert_eq!((evicted.epoch, evicted.slots[0]), (None, None));
    assert!(bench.tier.members().await.unwrap().is_empty(), "members go with the epoch");
    let after = bench.open(&[slot(1)]).await;
    assert_ne!(after.epoch.unwrap().generation, epoch.generation);
    assert_ne!(after.slots[0].unwrap().generation, opened.slots[0].unwrap().generation);
    assert!(after.tail > opened.tail, "places in the feed grow all the same");
    let feed = within(bench.tier.feed(Some(cursor), LIMIT, None)).await.unwrap();
    assert!(!feed.lost && feed.changes.contains(&db_cache::Change::Epoch(after.epoch.unwrap())));
}

#[tokio::test]
async fn a_feed_that_was_evicted_is_another_and_places_grow() {
    let Some(bench) = Bench::start().await else { return };
    let epoch = bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    let _: i64 = bench.ask(&["DEL", "{db-cache:test}:feed"]).await;
    let feed = within(bench.tier.feed(Some(cursor), LIMIT, None)).await.unwrap();
    assert!(feed.lost && feed.cursor.id > cursor.id);
    assert_eq!(feed.epoch, Some(epoch));
    let again = within(bench.tier.feed(Some(feed.cursor), Duration::ZERO, None)).await.unwrap();
    assert!(!again.lost);
}

#[tokio::test]
async fn a_replica_serves_nothing_until_it_is_promoted_and_then_is_another_run() {
    let Some(bench) = Bench::start().await else { return };
    let Some(second) = skip::without(Redis::start().await) else { return };
    let epoch = bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    follow(&second, &bench.redis).await;
    let tier = tier_at(&second.url(), "test");
    let error = within(tier.read(&[], &[])).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::ReadOnly, "{error}");

    bench.redis.kill().await.unwrap();
    let _: String = ask(&mut client_of(&second.url()).await, &["REPLICAOF", "NO", "ONE"]).await;
    until("the promoted server answers", async || tier.read(&[], &[]).await.is_ok()).await;
    let promoted = tier.read(&[], &[]).await.unwrap();
    assert_eq!(promoted.epoch, Some(epoch));
    assert_ne!(promoted.run, epoch.run);
    assert!(within(tier.feed(Some(cursor), LIMIT, None)).await.unwrap().lost);
    let renewed = tier.epoch(bench.generation(), NewEpoch::IfOfAnotherRun).await.unwrap();
    assert_ne!(renewed.generation, epoch.generation);
}

#[tokio::test]
async fn a_demoted_primary_serves_nothing_over_its_old_connections() {
    let Some(bench) = Bench::start().await else { return };
    let Some(second) = skip::without(Redis::start().await) else { return };
    let epoch = bench.settle().await;
    let other = tier_at(&bench.redis.url(), "test");
    within(other.read(&[], &[])).await.unwrap();
    follow(&bench.redis, &second).await;
    // The connections from before are still open: the server keeps those of its clients.
    let error = bench.read(&[]).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::ReadOnly, "{error}");
    let key = [EntryKey::from_bytes(b"k".to_vec())];
    let error = within(other.read(&key, &[slot(1)])).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::ReadOnly, "{error}");
    let fresh = bench.fresh(&[slot(1)]);
    let error = within(bench.tier.bump(None, &fresh, None)).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::ReadOnly, "{error}");
    let _: String = bench.ask(&["REPLICAOF", "NO", "ONE"]).await;
    assert_ne!(
        bench.read_again(&[]).await.run,
        epoch.run,
        "what the other one had is gone or is here: who knows"
    );
}

#[tokio::test]
async fn a_server_that_takes_no_marks_serves_no_hits() {
    let Some(bench) = Bench::start().await else { return };
    bench.settle().await;
    let key = EntryKey::from_bytes(b"k".to_vec());
    bench.tier.store(&entry(&key, b"v")).await.unwrap();
    let read = async || within(bench.tier.read(std::slice::from_ref(&key), &[slot(1)])).await;
    let _: String = bench.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let error = bench.tier.bump(None, &bench.fresh(&[slot(1)]), None).await.unwrap_err();
    assert_eq!(error.failure, TierFailure::ReadOnly, "{error}");
    assert_eq!(read().await.unwrap_err().failure, TierFailure::ReadOnly);
    let _: String = bench.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    assert_eq!(read().await.unwrap().entries, [Some(b"v".to_vec())]);
}

#[tokio::test]
async fn two_changes_of_role_that_no_read_met_are_another_run_to_readers_of_the_feed() {
    let Some(bench) = Bench::start().await else { return };
    let Some(second) = skip::without(Redis::start().await) else { return };
    let epoch = bench.settle().await;
    let cursor = bench.tier.feed(None, Duration::ZERO, None).await.unwrap().cursor;
    follow(&bench.redis, &second).await;
    let _: String = bench.ask(&["REPLICAOF", "NO", "ONE"]).await;
    until(
        "the reader is told",
        async || matches!(within(bench.tier.feed(Some(cursor), LIMIT, None)).await, Ok(feed) if feed.lost),
    )
    .await;
    assert_ne!(bench.run().await, epoch.run);
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_not_ready() {
    let Some(bench) = Bench::start().await else { return };
    let Some(second) = skip::without(Redis::start().await) else { return };
    bench.run().await;
    let mut filled = client_of(&second.url()).await;
    let fill = "for key = 1, 5000 do redis.call('SET', key, key) end";
    let _: Option<String> = ask(&mut filled, &["EVAL", fill, "0"]).await;
    let mut client = bench.client().await;
    for [name, value] in [["key-load-delay", "400"], ["loading-process-events-interval-bytes", "1024"]] {
        let _: String = ask(&mut client, &["CONFIG", "SET", name, value]).await;
    }
    begin_to_follow(&bench.redis, &second).await;
    until("it says so over the open connection and over new ones", async || {
        let failure = |answer: Result<_, db_cache::TierError>| answer.err().map(|error| error.failure);
        let fresh = tier_at(&bench.redis.url(), "test");
        let asked = [failure(bench.read(&[]).await), failure(within(fresh.read(&[], &[])).await)];
        asked == [Some(TierFailure::NotReady); 2]
    })
    .await;
}

/// Makes `replica` a replica of `primary`, and waits until it is up to date.
async fn follow(replica: &Redis, primary: &Redis) {
    let mut client = begin_to_follow(replica, primary).await;
    until("the replica is up to date", async || {
        let info: String = ask(&mut client, &["INFO", "replication"]).await;
        info.contains("master_link_status:up")
    })
    .await;
}

async fn begin_to_follow(replica: &Redis, primary: &Redis) -> ::redis::aio::MultiplexedConnection {
    let url = primary.url();
    let password = url.split(['@', ':']).nth(2).expect("the URL has one");
    let port = primary.port().to_string();
    let at_once = ["CONFIG", "SET", "repl-diskless-sync-delay", "0"];
    let _: String = ask(&mut client_of(&url).await, &at_once).await;
    let mut client = client_of(&replica.url()).await;
    let _: String = ask(&mut client, &["CONFIG", "SET", "masterauth", password]).await;
    let _: String = ask(&mut client, &["REPLICAOF", "127.0.0.1", &port]).await;
    client
}

#[tokio::test]
async fn a_server_that_is_busy_with_a_script_is_not_ready() {
    let Some(bench) = Bench::start().await else { return };
    let run = bench.run().await;
    let mut client = bench.client().await;
    let _: String = ask(&mut client, &["CONFIG", "SET", "lua-time-limit", "20"]).await;
    let busy = tokio::spawn(async move {
        let script = ::redis::cmd("EVAL").arg("while true do end").arg(0).to_owned();
        script.query_async::<()>(&mut client).await
    });
    until(
        "the server says so",
        async || matches!(bench.read(&[]).await, Err(error) if error.failure == TierFailure::NotReady),
    )
    .await;
    let mut other = ::redis::Client::open(bench.redis.url()).unwrap().get_connection().unwrap();
    ::redis::cmd("SCRIPT").arg("KILL").exec(&mut other).unwrap();
    assert!(busy.await.unwrap().is_err());
    assert_eq!(bench.read_again(&[]).await.run, run);
}

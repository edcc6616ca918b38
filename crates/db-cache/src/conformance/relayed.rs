//! Up to when the relay has caught up.

use std::time::Duration;

use super::Bench;

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) async fn check(bench: &Bench<'_>) {
    what_the_relay_says_is_told_by_reads_and_by_the_feed(bench).await;
    nobody_has_caught_up_to_what_is_to_come(bench).await;
}

async fn what_the_relay_says_is_told_by_reads_and_by_the_feed(bench: &Bench<'_>) {
    let before = bench.read(&[], &[]).await;
    bench.tier.relayed(before.now).await.expect("it is kept");
    let after = bench.read(&[], &[]).await;
    assert_eq!((after.relayed, after.epoch, after.tail), (Some(before.now), before.epoch, before.tail));
    let start = bench.tier.feed(None, Duration::ZERO, None).await.expect("read");
    assert_eq!(start.relayed, Some(before.now));
    assert!(start.now >= before.now);
    bench.open(&[bench.slot()]).await;
    let feed = bench.tier.feed(Some(start.cursor), Duration::ZERO, None).await.expect("read");
    assert_eq!((feed.relayed, feed.changes.len()), (Some(before.now), 1));
}

async fn nobody_has_caught_up_to_what_is_to_come(bench: &Bench<'_>) {
    let now = bench.read(&[], &[]).await.now;
    bench.tier.relayed(now).await.expect("it is kept");
    bench.tier.relayed(now.after(HOUR)).await.expect("it is heard");
    assert_eq!(bench.read(&[], &[]).await.relayed, Some(now));
}

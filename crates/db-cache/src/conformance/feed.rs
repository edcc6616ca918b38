//! The feed: everything that changes, in order, or the word that something is missing.

use std::time::Duration;

use super::Bench;
use crate::record::{FeedId, Run};
use crate::second_tier::{Change, Cursor, Feed};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

pub(super) async fn check(bench: &Bench<'_>) {
    every_change_is_told_in_order(bench).await;
    a_reader_waits_for_the_first_change(bench).await;
    a_reader_from_elsewhere_is_told_that_it_lost(bench).await;
    members_are_seen_with_what_they_applied(bench).await;
}

async fn read(bench: &Bench<'_>, after: Option<Cursor>, wait: Duration) -> Feed {
    bench.tier.feed(after, wait, None).await.expect("the feed can be read")
}

async fn every_change_is_told_in_order(bench: &Bench<'_>) {
    let touched = bench.slot();
    let opened = bench.open(&[touched]).await.slots[0].expect("it was opened");
    let start = read(bench, None, LONG).await;
    assert!(start.changes.is_empty() && !start.lost && start.epoch.is_some());
    let (one, two) = (bench.writer(), bench.writer());
    bench.tier.mark(one, &bench.fresh(&[touched]), LONG).await.expect("marked");
    bench.tier.abort(one, &[touched]).await.expect("aborted");
    bench.tier.mark(two, &bench.fresh(&[touched]), LONG).await.expect("marked");
    let fresh = bench.fresh(&[touched]);
    let last = bench.tier.bump(Some(two), &fresh, None).await.expect("bumped");
    let feed = read(bench, Some(start.cursor), LONG).await;
    let expected = [
        Change::InDoubt(touched),
        Change::Settled(touched, opened.generation),
        Change::InDoubt(touched),
        Change::Settled(touched, fresh.0[0].1),
    ];
    assert_eq!(feed.changes, expected);
    assert_eq!(feed.cursor, last);
    assert!(!feed.lost);
    assert_eq!(bench.read(&[], &[touched]).await.tail, last.id);
}

async fn a_reader_waits_for_the_first_change(bench: &Bench<'_>) {
    let start = read(bench, None, LONG).await.cursor;
    let idle = read(bench, Some(start), SHORT).await;
    assert_eq!((idle.changes.len(), idle.cursor, idle.lost), (0, start, false));
    let touched = bench.slot();
    let fresh = bench.fresh(&[touched]);
    let (feed, bumped) = tokio::join!(read(bench, Some(start), LONG), bench.tier.bump(None, &fresh, None));
    assert_eq!(feed.cursor, bumped.expect("bumped"));
    assert_eq!(feed.changes, [Change::Settled(touched, fresh.0[0].1)]);
}

async fn a_reader_from_elsewhere_is_told_that_it_lost(bench: &Bench<'_>) {
    let start = read(bench, None, LONG).await.cursor;
    let strangers = [
        Cursor { run: Run(start.run.0 ^ 1), ..start },
        Cursor { id: FeedId(start.id.0, start.id.1 ^ 1), ..start },
        Cursor { id: FeedId(u64::MAX, 0), ..start },
    ];
    for stranger in strangers {
        let feed = read(bench, Some(stranger), LONG).await;
        assert!(feed.lost, "{stranger:?} is no place in this feed");
        assert_eq!(feed.cursor.run, start.run);
        assert!(feed.changes.is_empty() && feed.epoch.is_some());
    }
}

async fn members_are_seen_with_what_they_applied(bench: &Bench<'_>) {
    let member = bench.member();
    let start = read(bench, None, LONG).await.cursor;
    let applied = async || {
        let members = bench.tier.members().await.expect("members can be listed");
        members.into_iter().find(|(other, _)| *other == member).map(|(_, applied)| applied)
    };
    assert_eq!(applied().await, None);
    bench.tier.feed(Some(start), Duration::ZERO, Some((member, SHORT))).await.expect("read");
    assert_eq!(applied().await, Some(start.id));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(applied().await, None, "a member that reads no more is none");
}

//! backup-6: how much a crash loses, and how soon a server answers again.
//!
//! It fails where what a receiver has got waits for more instead of for a time.

use db_testkit::claims::{Figure, Size};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

use crate::emulators;
use crate::rpo::{By, crashes};
use crate::rto::{Amount, against_pgbackrest};

/// Seconds within which a commit is in a local repository, and in an object store.
const LOCAL: f64 = 0.1;
const OBJECT_STORE: f64 = 1.0;
/// archive_timeout in seconds.
const TIMEOUT: u64 = 5;
/// What the server may take to notice that it has passed, in seconds.
const NOTICED: f64 = 0.5;
/// Our time from nothing to the first answer, by pgBackRest's.
const RTO: f64 = 0.7;

pub(crate) fn measure(size: Size) -> Figure {
    crate::runtime().block_on(async {
        let crash = if size == Size::Nightly { 100 } else { 5 };
        let amount = match size {
            Size::Nightly => Amount { rows: 300_000, segments: 8, pairs: 30 },
            Size::Ci => Amount { rows: 300_000, segments: 8, pairs: 5 },
        };
        let mut random = StdRng::seed_from_u64(6);
        let local = crashes(By::Receiver, None, crash, &mut random).await;
        let s3 = emulators::s3().await;
        let (_stub, gcs) = emulators::gcs().await;
        let place = s3.as_ref().map_or(gcs, |(_, place)| place.clone());
        let cloud = crashes(By::Receiver, Some(place.clone().into()), crash, &mut random).await;
        let synchronous = crashes(By::SynchronousReceiver, None, crash, &mut random).await;
        let push = crashes(By::Push(TIMEOUT), None, crash.min(10), &mut random).await;
        let (rto, restores) = against_pgbackrest(&amount).await;
        let holds = local.p99() <= LOCAL
            && local.within(LOCAL)
            && cloud.p99() <= OBJECT_STORE
            && cloud.within(OBJECT_STORE)
            && synchronous.nothing()
            && push.within_and_one_push(TIMEOUT as f64 + NOTICED)
            && rto <= RTO;
        Figure {
            value: local.p99() * 1e3,
            unit: "ms until 99 of 100 commits are in a local repository",
            holds,
            detail: json!({
                "local": local.detail(), "object_store": cloud.detail(), "object_store_is": place,
                "synchronous": synchronous.detail(), "push_alone": push.detail(), "archive_timeout_seconds": TIMEOUT,
                "rto_ratio": rto, "rto": restores,
            }),
        }
    })
}

/// backup-6b: the time until a server answers again, of 1 GB and 30 segments.
pub(crate) fn of_a_gigabyte(size: Size) -> Figure {
    crate::runtime().block_on(async {
        let pairs = if size == Size::Nightly { 30 } else { 7 };
        let (ratio, detail) = against_pgbackrest(&Amount { rows: 2_200_000, segments: 30, pairs }).await;
        Figure {
            value: ratio,
            unit: "times pgBackRest's time from nothing to the first answer",
            holds: ratio <= RTO,
            detail,
        }
    })
}

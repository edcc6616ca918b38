//! Load leases.

use std::time::Duration;

use super::Bench;
use crate::second_tier::Lease;

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

pub(super) async fn check(bench: &Bench<'_>) {
    one_holder_at_a_time(bench).await;
    a_lease_that_is_not_renewed_is_taken_over(bench).await;
    a_store_gives_the_lease_back(bench).await;
}

async fn one_holder_at_a_time(bench: &Bench<'_>) {
    let (key, one, two) = (bench.key(), bench.holder(), bench.holder());
    let lease = async |holder| bench.tier.lease(&key, holder, LONG).await.expect("a lease can be asked for");
    assert_eq!(lease(one).await, Lease::Taken);
    assert!(matches!(lease(two).await, Lease::Held(left) if left <= LONG && left > LONG / 2));
    assert_eq!(lease(one).await, Lease::Taken, "its holder renews it");
    bench.tier.release(&key, two).await.expect("released");
    assert!(matches!(lease(two).await, Lease::Held(_)), "nobody gives back another's");
    bench.tier.release(&key, one).await.expect("released");
    assert_eq!(lease(two).await, Lease::Taken);
}

async fn a_lease_that_is_not_renewed_is_taken_over(bench: &Bench<'_>) {
    let (key, one, two) = (bench.key(), bench.holder(), bench.holder());
    assert_eq!(bench.tier.lease(&key, one, SHORT).await, Ok(Lease::Taken));
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(bench.tier.lease(&key, two, LONG).await, Ok(Lease::Taken));
    assert!(matches!(bench.tier.lease(&key, one, LONG).await, Ok(Lease::Held(_))));
}

async fn a_store_gives_the_lease_back(bench: &Bench<'_>) {
    let (key, one, two) = (bench.key(), bench.holder(), bench.holder());
    assert_eq!(bench.tier.lease(&key, one, LONG).await, Ok(Lease::Taken));
    let mut store = bench.entry(&key, b"x");
    store.release = Some(two);
    bench.tier.store(&store).await.expect("stored");
    assert!(matches!(bench.tier.lease(&key, two, LONG).await, Ok(Lease::Held(_))));
    store.release = Some(one);
    bench.tier.store(&store).await.expect("stored");
    assert_eq!(bench.tier.lease(&key, two, LONG).await, Ok(Lease::Taken));
}

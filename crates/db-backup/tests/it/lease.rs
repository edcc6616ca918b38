//! One holder at a time, by the store's clock.

use std::time::Duration;

use db_backup::{BackupError, Protection};
use futures_util::future::join_all;

use crate::world::World;

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn of_many_that_take_a_lock_at_once_one_has_it() {
    let world = World::new(Protection::Encrypted).await;
    for round in 0..3 {
        let name = format!("backup-{round}");
        let takers = (0..12).map(|taker| {
            let (cluster, name) = (world.cluster.clone(), name.clone());
            async move { cluster.lock(&name, &format!("taker {taker}"), LONG).await }
        });
        let taken = join_all(takers).await;
        assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1, "{taken:?}");
    }
}

#[tokio::test]
async fn the_one_who_waits_is_told_for_whom() {
    let world = World::new(Protection::Encrypted).await;
    let mut lease = world.cluster.lock("backup", "host-1 pid 7", LONG).await.unwrap();
    let refused = world.cluster.lock("backup", "host-2 pid 9", LONG).await.unwrap_err();
    assert!(refused.to_string().starts_with("host-1 pid 7 holds the lock backup until"), "{refused}");
    assert!(refused.is_temporary());

    lease.renew().await.unwrap();
    let token = lease.token();
    lease.release().await.unwrap();
    let next = world.cluster.lock("backup", "host-2 pid 9", LONG).await.unwrap();
    assert!(next.token() > token);
}

#[tokio::test]
async fn a_lease_that_ran_out_goes_to_the_next_and_cannot_be_renewed() {
    let world = World::new(Protection::Encrypted).await;
    let mut dead = world.cluster.lock("backup", "dead", Duration::from_millis(1)).await.unwrap();
    let mut next = None;
    db_testkit::until("the lease ran out", async || {
        next = world.cluster.lock("backup", "alive", LONG).await.ok();
        next.is_some()
    })
    .await;
    assert!(matches!(dead.renew().await, Err(BackupError::LeaseLost(_))));
    next.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn an_overwritten_lock_counts_as_held() {
    let world = World::new(Protection::Encrypted).await;
    world.cluster.lock("backup", "a holder", LONG).await.unwrap();
    let path = world.directory.path().join(format!("clusters/{}/locks/backup", crate::world::SYSTEM));
    for object in crate::world::files_below(&path) {
        std::fs::write(object, b"released").unwrap();
    }
    let taken = world.cluster.lock("backup", "another", LONG).await;
    assert!(matches!(taken, Err(BackupError::Locked { .. })), "{taken:?}");
}

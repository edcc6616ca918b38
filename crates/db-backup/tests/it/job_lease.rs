//! Jobs on a repository: one host at a time, and a backup of a due time is taken once.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use db_backup::{Cluster, JobLease, Keys, Kind, OpenCluster, Protection, Repository, ServerFacts, Store};
use db_schedule::{Claim, Lease};

/// A cluster in a new repository, and hosts that share it.
async fn shared(home: &std::path::Path) -> (Cluster, impl Fn(&str) -> JobLease + use<>) {
    let store = Store::local(home).unwrap();
    let (repository, _) = Repository::init(store, &Keys::generate(), Protection::Encrypted).await.unwrap();
    let cluster = repository.cluster(7);
    let given = cluster.clone();
    let host = move |name: &str| {
        let cluster = given.clone();
        let open: OpenCluster = Arc::new(move || {
            let cluster = cluster.clone();
            Box::pin(async move { Ok(cluster) })
        });
        JobLease::new(open, name).taking(Kind::Full)
    };
    (cluster, host)
}

async fn publish(cluster: &Cluster, kind: Kind) -> String {
    let facts = ServerFacts { system_identifier: 7, ..ServerFacts::default() };
    let draft = cluster.begin(kind, facts, None).await.unwrap();
    let written = draft.writer(Default::default()).unwrap().finish().await.unwrap();
    draft.publish(Vec::new(), written.content).await.unwrap().id.to_string()
}

fn now() -> DateTime<Utc> {
    Utc::now()
}

#[tokio::test]
async fn of_two_hosts_one_holds_the_lock_and_the_other_is_told_whom_it_waits_for() {
    let home = tempfile::tempdir().unwrap();
    let (_, host) = shared(home.path()).await;
    let (first, second) = (host("db1 pid 7"), host("db2 pid 8"));
    let Claim::Held(mut held) = first.try_take("backup", now()).await.unwrap() else { panic!("it is free") };
    let Claim::Busy { why } = second.try_take("backup", now()).await.unwrap() else { panic!("it is taken") };
    assert!(why.starts_with("db1 pid 7 holds the lock backup of the repository"), "{why}");
    assert!(
        matches!(second.try_take("verify", now()).await.unwrap(), Claim::Held(_)),
        "each job has its own"
    );
    let lost = tokio::time::timeout(Duration::from_millis(50), held.lost()).await;
    assert!(lost.is_err(), "it is held: {lost:?}");
}

#[tokio::test]
async fn a_backup_that_was_taken_for_a_due_time_is_not_taken_again() {
    let home = tempfile::tempdir().unwrap();
    let (cluster, host) = shared(home.path()).await;
    let lease = host("db2 pid 8");
    publish(&cluster, Kind::Logical).await;
    assert!(matches!(lease.try_take("logical beside", now()).await.unwrap(), Claim::Held(_)), "another kind");
    let id = publish(&cluster, Kind::Full).await;
    let Claim::Done { why } = lease.try_take("backup", now()).await.unwrap() else { panic!("{id} is there") };
    assert_eq!(why, format!("{id} was taken for it"));
    let tomorrow = now() + TimeDelta::days(1);
    assert!(
        matches!(lease.try_take("backup", tomorrow).await.unwrap(), Claim::Held(_)),
        "that is another time"
    );
}

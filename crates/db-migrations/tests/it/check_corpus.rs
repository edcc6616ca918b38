//! The corpora: every planted fault is found, nothing is found where there is none, and every lock is seen.

use db_testkit::TestDatabase;

use crate::check_server::Server;
use crate::judge::{self, Judgement};

/// The server of this process, or the one that the environment names.
pub(crate) async fn shared() -> Server {
    // Its databases are on the same server as those of the check.
    let database = TestDatabase::empty().await.unwrap();
    Server::new(database.url().to_owned())
}

#[track_caller]
fn all_right(judgement: &Judgement, at_least: usize) {
    let Judgement { cases, wrong } = judgement;
    assert!(*cases >= at_least, "{cases} cases");
    assert!(wrong.is_empty(), "{} of {cases} are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_planted_fault_is_found() {
    all_right(&judge::faults(&shared().await).await, 40);
}

#[tokio::test]
async fn what_is_right_is_not_reported() {
    all_right(&judge::right(&shared().await).await, 60);
}

#[tokio::test]
async fn locks_rewrites_and_scans_are_seen_as_they_are() {
    all_right(&judge::locks(&shared().await).await, 120);
}

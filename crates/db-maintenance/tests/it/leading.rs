//! One maintainer at a time.

use db_maintenance::Leader;

use crate::database::{connect, with};

#[tokio::test]
async fn a_second_maintainer_does_not_wait_and_does_nothing() {
    let (database, first) = with("").await;
    let second = connect(database.url()).await;
    let leader = Leader::try_become(&first).await.unwrap().unwrap();
    assert!(Leader::try_become(&second).await.unwrap().is_none());
    leader.resign(&first).await;
    assert!(Leader::try_become(&second).await.unwrap().is_some());
}

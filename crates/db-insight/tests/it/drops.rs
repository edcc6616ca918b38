//! Which indexes the advisor would drop.

use std::collections::BTreeSet;

use db_insight::indexes::Prove;
use db_testkit::TestkitError;
use diesel_async::SimpleAsyncConnection;

use crate::shop::{advice, shop};

#[tokio::test]
async fn duplicates_and_prefixes_go_and_constraints_stay() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let found = advice(&mut conn, Prove::Model, &[]).await;
    let dropped: BTreeSet<&str> = found.drop.iter().map(String::as_str).collect();
    assert_eq!(dropped, BTreeSet::from(["dup_a", "dup_b_again", "dup_id"]));
    // Each can be dropped as it is written, and nothing depends on it.
    for drop in &found.drops {
        conn.batch_execute(&drop.sql).await.unwrap_or_else(|error| panic!("{}: {error}", drop.sql));
    }
    assert!(advice(&mut conn, Prove::Model, &[]).await.drop.is_empty());
    Ok(())
}

#[tokio::test]
async fn nothing_is_unused_while_the_counters_are_young() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let found = advice(&mut conn, Prove::Model, &[]).await;
    assert!(found.drops.iter().all(|drop| drop.kind != "unused"));
    assert!(found.notes.iter().any(|note| note.code == "young_statistics"));
    Ok(())
}

#[tokio::test]
async fn what_a_constraint_replica_identity_or_cluster_stands_on_stays() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    conn.batch_execute(
        "CREATE TABLE kept (a int NOT NULL, b int NOT NULL, c int);
         CREATE INDEX kept_b ON kept (b); CREATE INDEX kept_b2 ON kept (b); CLUSTER kept USING kept_b2;
         CREATE UNIQUE INDEX kept_a ON kept (a); CREATE UNIQUE INDEX kept_a2 ON kept (a);
         ALTER TABLE kept REPLICA IDENTITY USING INDEX kept_a2;
         CREATE INDEX kept_desc ON kept (c, b DESC); CREATE INDEX kept_asc ON kept (c, b);
         CREATE INDEX kept_part ON kept (c) WHERE a > 5;",
    )
    .await
    .expect("the tables are ours");
    let found = advice(&mut conn, Prove::Model, &[]).await;
    let of_kept: Vec<&str> =
        found.drops.iter().filter(|drop| drop.table == "kept").map(|drop| drop.index.as_str()).collect();
    assert_eq!(of_kept, ["kept_b"]);
    Ok(())
}

#[tokio::test]
async fn a_role_that_may_not_drop_an_index_is_told_so() -> Result<(), TestkitError> {
    let (_database, mut conn) = shop().await?;
    let role = format!("looker_{}", std::process::id());
    let found = advice(&mut conn, Prove::Model, &[]).await;
    assert!(found.drops.iter().all(|drop| drop.notes.is_empty()));
    conn.batch_execute(&format!("CREATE ROLE {role}; SET ROLE {role}")).await.expect("a superuser may");
    let found = advice(&mut conn, Prove::Model, &[]).await;
    conn.batch_execute(&format!("RESET ROLE; DROP ROLE {role}")).await.expect("it is ours");
    assert_eq!(found.drops.len(), 3);
    for drop in &found.drops {
        assert!(drop.notes.iter().any(|note| note.contains("this role cannot drop it")), "{drop:?}");
    }
    Ok(())
}

//! Loaders on a transaction's own connection.

use db_core::{Class, Classify, Error};
use db_loader::{LoadError, Loader, Query, lend};
use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

use crate::statements::{database, names, users};

async fn rename(conn: &mut AsyncPgConnection, id: i32, name: &'static str) -> QueryResult<usize> {
    diesel::update(users::table.find(id)).set(users::name.eq(name)).execute(conn).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_in_a_transaction_see_its_writes_and_are_one_statement() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let names = names();
    let in_task = tokio::spawn(async move {
        conn.transaction(async |conn| {
            rename(conn, 1, "renamed").await?;
            let (lent, mut loan) = lend(conn);
            let names = names.within(&lent);
            let loads = names.get_many(1..=100);
            let answers = loan.run(loads).await;
            assert_eq!(answers[0].as_ref().unwrap().as_deref(), Some("renamed"));
            assert_eq!(answers[99].as_ref().unwrap().as_deref(), Some("user 100"));
            assert_eq!(names.counts().batches(), 1);

            rename(conn, 2, "again").await?;
            let (lent, mut loan) = lend(conn);
            let names = names_of(&lent);
            assert_eq!(loan.run(names.get(2)).await.unwrap().as_deref(), Some("again"));
            Err::<(), Error>(Error::NotFound)
        })
        .await
    });
    assert!(in_task.await.unwrap().is_err());
    let mut conn = database.connect().await.unwrap();
    let name: String = users::table.find(1).select(users::name).first(&mut conn).await.unwrap();
    assert_eq!(name, "user 1", "rolled back with the rest");
}

fn names_of(lent: &db_loader::Lent) -> Loader<i32, String> {
    names().within(lent)
}

#[tokio::test]
async fn writes_between_loads_are_seen_and_a_scope_is_told_of_them() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let (lent, mut loan) = lend(&mut conn);
    let names = names().within(&lent);
    let scope = names.scope();
    loan.run(async {
        assert_eq!(scope.get(3).await.unwrap().as_deref(), Some("user 3"));
        let written =
            lent.run(async |conn: &mut AsyncPgConnection| Ok(rename(conn, 3, "third").await?)).await;
        assert_eq!(written.unwrap(), 1);
        assert_eq!(names.get(3).await.unwrap().as_deref(), Some("third"), "no memo, no stale value");
        scope.clear(&3);
        assert_eq!(scope.get(3).await.unwrap().as_deref(), Some("third"));
    })
    .await;
}

#[tokio::test]
async fn several_loaders_take_turns_on_one_connection() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let lengths: Query<i32, i32> =
        Query::new("lengths", async |conn: &mut AsyncPgConnection, ids: Vec<i32>| {
            let length = diesel::dsl::sql::<diesel::sql_types::Integer>("length(name)");
            users::table
                .filter(users::id.eq_any(ids))
                .select((users::id, length))
                .load::<(i32, i32)>(conn)
                .await
        });
    let (lent, mut loan) = lend(&mut conn);
    let (names, lengths) = (names().within(&lent), lengths.within(&lent));
    let both = async { tokio::join!(names.get_many(1..=50), lengths.get_many(1..=50)) };
    let (names, lengths) = loan.run(both).await;
    for (name, length) in names.into_iter().zip(lengths) {
        assert_eq!(name.unwrap().unwrap().len(), usize::try_from(length.unwrap().unwrap()).unwrap());
    }
}

#[tokio::test]
async fn a_batch_that_needs_the_connection_it_holds_is_a_cycle_and_no_hang() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let (lent, mut loan) = lend(&mut conn);
    let inner = names().within(&lent);
    let held = inner.clone();
    let outer: Query<i32, String> =
        Query::new("outer", async move |_: &mut AsyncPgConnection, ids: Vec<i32>| {
            let answers = held.get_many(ids.clone()).await;
            let answers: Result<Vec<_>, LoadError> = answers.into_iter().collect();
            Ok::<_, Error>(ids.into_iter().zip(answers?.into_iter().flatten()).collect::<Vec<_>>())
        });
    let outer = outer.within(&lent);
    let failed = loan.run(outer.get(1)).await.unwrap_err();
    assert!(failed.to_string().contains("the connection that outer holds"), "{failed}");

    // The same through the work's own statements, and through a loader that has no connection.
    let through = inner.clone();
    let composed = Loader::new("composed", move |ids: Vec<i32>| {
        let inner = through.clone();
        async move {
            let name = inner.get(ids[0]).await?.unwrap_or_default();
            Ok::<_, LoadError>(vec![(ids[0], name)])
        }
    });
    let direct = inner.clone();
    loan.run(async {
        assert_eq!(
            composed.get(5).await.unwrap().as_deref(),
            Some("user 5"),
            "without the connection it may"
        );
        let failed =
            lent.run(async move |_: &mut AsyncPgConnection| Ok(direct.get(1).await?)).await.unwrap_err();
        assert_eq!(failed.class(), Class::Permanent);
        let through = composed.clone();
        let failed =
            lent.run(async move |_: &mut AsyncPgConnection| Ok(through.get(1).await?)).await.unwrap_err();
        assert!(failed.to_string().contains("waits for itself"), "{failed}");
        assert_eq!(inner.get(7).await.unwrap().as_deref(), Some("user 7"), "the connection is free again");
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_panics_leaves_the_transaction_whole() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let panics: Query<i32, String> =
        Query::new("panics", async |_: &mut AsyncPgConnection, ids: Vec<i32>| {
            assert!(ids.is_empty(), "planted");
            Ok::<_, Error>(Vec::new())
        });
    let outcome = conn.transaction(async |conn| {
        let (lent, mut loan) = lend(conn);
        let failed = loan.run(panics.within(&lent).get(1)).await.unwrap_err();
        assert!(matches!(failed, LoadError::Panicked { loader: "panics" }), "{failed}");
        Ok::<_, Error>(rename(conn, 1, "after").await?)
    });
    assert_eq!(outcome.await.unwrap(), 1);
}

#[tokio::test]
async fn after_the_loan_a_load_fails_and_does_not_hang() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let (lent, mut loan) = lend(&mut conn);
    let names = names().within(&lent);
    let before = names.get(1).await.unwrap_err();
    assert!(before.to_string().contains("Loan::run"), "{before}");
    assert!(loan.run(names.get(1)).await.is_ok());
    let between = names.get(1).await.unwrap_err();
    assert_eq!(between.class(), Class::Permanent, "{between}");
    drop(loan);
    assert!(names.get(1).await.is_err());
    assert_eq!(rename(&mut conn, 1, "mine").await.unwrap(), 1);
}

#[tokio::test]
async fn a_conflict_in_a_load_keeps_its_class_in_the_transaction() {
    let database = database().await;
    let mut conn = database.connect().await.unwrap();
    let conflicts: Query<i32, String> =
        Query::new("conflicts", async |conn: &mut AsyncPgConnection, _: Vec<i32>| {
            let raise = "DO $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '40001'; END $$";
            diesel::sql_query(raise).execute(conn).await?;
            Ok::<_, Error>(Vec::new())
        });
    let outcome = conn.transaction(async |conn| {
        let (lent, mut loan) = lend(conn);
        let (one, _) = loan
            .run(async {
                let conflicts = conflicts.within(&lent);
                tokio::join!(conflicts.get(1), conflicts.get(2))
            })
            .await;
        one?;
        Ok::<(), Error>(())
    });
    let failed = outcome.await.unwrap_err();
    assert_eq!((failed.class(), failed.sqlstate().unwrap().as_str()), (Class::Conflict, "40001"));
}

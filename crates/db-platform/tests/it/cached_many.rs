//! Many keys through the cache: one statement for what no tier has, and each key as valid as alone.

use std::collections::BTreeMap;
use std::sync::Mutex;

use db_platform::cache::{Keyspace, Mode, Policy, Tag};
use db_platform::{CachedValue, Db, Error, Result};
use diesel::sql_types::{Array, BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::cached::{alone, process, rename};

#[derive(QueryableByName)]
struct User {
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Text)]
    name: String,
}

const POLICY: Policy = Policy { early_refresh: 0.0, ..Policy::DEFAULT };

static NAMES: Keyspace<i64, String> =
    Keyspace::new("names").policy(POLICY).mode(Mode::Strict).tags_of_key(|id| vec![Tag::row("users", id)]);

/// The keys of each load, in their order.
static LOADS: Mutex<Vec<Vec<i64>>> = Mutex::new(Vec::new());

async fn named(conn: &mut AsyncPgConnection, mut ids: Vec<i64>) -> Result<Vec<(i64, String)>> {
    ids.sort_unstable();
    LOADS.lock().unwrap().push(ids.clone());
    let users = sql_query("SELECT id, name FROM users WHERE id = ANY($1)").bind::<Array<BigInt>, _>(ids);
    let rows: Vec<User> = users.load(conn).await?;
    Ok(rows.into_iter().map(|user| (user.id, user.name)).collect())
}

async fn names(db: &Db, ids: &[i64]) -> BTreeMap<i64, String> {
    let read = db.cached_many(NAMES.keys(ids.iter().copied()), named).await;
    read.unwrap().into_iter().map(|(id, name)| (id, name.to_string())).collect()
}

fn loads() -> Vec<Vec<i64>> {
    std::mem::take(&mut *LOADS.lock().unwrap())
}

#[tokio::test]
async fn many_keys_take_one_statement_and_each_is_dropped_by_its_own_commit() {
    let (cluster, tier) = alone().await;
    let (one, other) =
        (process(crate::config(&cluster), &tier).await, process(crate::config(&cluster), &tier).await);
    let known = |pairs: &[(i64, &str)]| -> BTreeMap<i64, String> {
        pairs.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
    };
    assert_eq!(names(&one, &[1, 2, 9]).await, known(&[(1, "Ada"), (2, "Bob")]));
    assert_eq!(names(&other, &[1, 2, 9]).await, known(&[(1, "Ada"), (2, "Bob")]));
    assert_eq!(loads(), [vec![1, 2, 9]], "one statement, and what is absent is remembered");
    rename(&one, 1, "Eve", true).await.unwrap();
    assert_eq!(names(&other, &[1, 2]).await, known(&[(1, "Eve"), (2, "Bob")]));
    assert_eq!(loads(), [vec![1]]);

    let inside = one.transaction(async |_: &mut AsyncPgConnection| {
        let read = one.cached_many(NAMES.keys([1, 2]), named).await;
        let names = read.map_err(|error| Error::Client(Box::new(error)))?;
        assert!(names.values().all(|name| matches!(name, CachedValue::Own(_))));
        Ok::<_, Error>(names.len())
    });
    assert_eq!(inside.await.unwrap(), 2);
    assert_eq!(loads(), [vec![1, 2]], "past the cache");

    let twice = async |_: &mut AsyncPgConnection, _: Vec<i64>| {
        Ok::<_, Error>(vec![(7, "a".to_owned()), (7, "b".to_owned())])
    };
    let error = other.cached_many(NAMES.keys([7]), twice).await.unwrap_err();
    assert!(error.to_string().contains("could not be loaded"), "{error}");

    let metrics = other.part_metrics();
    for name in ["db.cache.keyspace.hits", "db.cache.keyspace.misses"] {
        let of = ("keyspace", "names".to_owned());
        assert!(metrics.iter().any(|one| one.name == name && one.attributes.contains(&of)), "{name}");
    }
}

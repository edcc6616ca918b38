//! A package registry on db-platform: publishing, searching, and a page that must see what was just
//! published.
//!
//! `cargo run -p db-platform --example registry -- NAME` publishes NAME in the database that `DATABASE_URL`
//! names.

mod database;

use db_platform::{Db, Error, Freshness, Result};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};

use schema::{packages, releases};

mod schema {
    diesel::table! { packages (id) { id -> Integer, name -> Text, } }
    diesel::table! { releases (package_id, number) { package_id -> Integer, number -> Text, } }
}

/// Adds a release, and its package where that is new.
async fn publish(db: &Db, name: &str, number: &str) -> Result<i32> {
    db.transaction(async |conn| {
        let id = package_id(conn, name).await?;
        let release = (releases::package_id.eq(id), releases::number.eq(number));
        diesel::insert_into(releases::table).values(release).execute(conn).await?;
        Ok(id)
    })
    .await
}

/// Takes a connection, and so runs in whatever its caller runs in.
async fn package_id(conn: &mut AsyncPgConnection, name: &str) -> QueryResult<i32> {
    let known = packages::table.filter(packages::name.eq(name)).select(packages::id);
    if let Some(id) = known.get_result(conn).await.optional()? {
        return Ok(id);
    }
    let package = diesel::insert_into(packages::table).values(packages::name.eq(name));
    package.returning(packages::id).get_result(conn).await
}

async fn search(db: &Db, text: &str) -> Result<Vec<String>> {
    let found = packages::table.filter(packages::name.like(format!("%{text}%"))).select(packages::name);
    db.read(async |conn| found.order(packages::name).load(conn).await).await
}

/// The author's own page: what they published a moment ago is on it.
async fn releases_of(db: &Db, id: i32) -> Result<Vec<String>> {
    let numbers = releases::table.filter(releases::package_id.eq(id)).select(releases::number);
    db.read_within(Freshness::Primary, async |conn| numbers.order(releases::number).load(conn).await).await
}

async fn create_schema(db: &Db) -> Result<()> {
    db.transaction(async |conn| {
        let schema = "CREATE TABLE IF NOT EXISTS packages (id serial PRIMARY KEY, name text UNIQUE NOT NULL);
                      CREATE TABLE IF NOT EXISTS releases
                          (package_id int REFERENCES packages, number text, PRIMARY KEY (package_id, number))";
        Ok::<_, Error>(conn.batch_execute(schema).await?)
    })
    .await
}

#[tokio::main]
async fn main() -> Result<()> {
    let db = database::connect(|name| std::env::var(name).ok()).await?;
    create_schema(&db).await?;
    let name = std::env::args().nth(1).unwrap_or_else(|| "left-pad".to_owned());
    match publish(&db, &name, "1.0.0").await {
        Ok(id) => eprintln!("published {name}: {:?}", releases_of(&db, id).await?),
        Err(error) => eprintln!("{}: {error}", database::status(&error)),
    }
    eprintln!("there are {:?}", search(&db, "").await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_testkit::TestDatabase;

    #[test]
    fn the_module_is_as_short_as_it_claims() {
        let code = include_str!("database.rs").lines().map(str::trim);
        let lines = code.filter(|line| !line.is_empty() && !line.starts_with("//")).count();
        assert!(lines <= 25, "{lines} lines");
    }

    #[tokio::test]
    async fn what_is_published_is_found_and_a_second_time_is_a_conflict() {
        let database = TestDatabase::empty().await.unwrap();
        let lookup = |name: &str| match name {
            "DATABASE_URL" => Some(database.url().to_owned()),
            "DB_PRIMARY_POOL_SIZE" => Some("2".to_owned()),
            _ => None,
        };
        let db = database::connect(lookup).await.unwrap();
        assert_eq!(db.pools()[0].max, 2, "the name that operators know counts");
        create_schema(&db).await.unwrap();

        let id = publish(&db, "left-pad", "1.0.0").await.unwrap();
        assert_eq!(publish(&db, "left-pad", "1.1.0").await.unwrap(), id);
        assert_eq!(releases_of(&db, id).await.unwrap(), ["1.0.0", "1.1.0"]);
        assert_eq!(search(&db, "pad").await.unwrap(), ["left-pad"]);

        let again = publish(&db, "left-pad", "1.0.0").await.unwrap_err();
        assert_eq!(database::status(&again), 409);
        let write = db.read(async |conn| package_id(conn, "right-pad").await).await.unwrap_err();
        assert_eq!(database::status(&write), 500, "no other server would take it: {write}");
        drop(database);
        let gone = search(&db, "pad").await.unwrap_err();
        assert!(database::status(&gone) >= 500, "{gone}");
        assert_eq!(database::status(&Error::NotFound), 404);
    }

    #[tokio::test]
    async fn all_wrong_settings_are_told_at_once() {
        let lookup = |name: &str| name.ends_with("POOL_SIZE").then(|| "0".to_owned());
        let error = database::connect(lookup).await.unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL") && error.contains("DB_POOL_MAX"), "{error}");
    }
}

//! The load's reads: a page of one of its queries, from the database or through the cache.

use db_platform::cache::CacheError;
use db_platform::{CachedValue, Config, Db, DbCache, Error, Freshness, Result};
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::queries::LoadQuery;

#[derive(QueryableByName)]
struct Page {
    #[diesel(sql_type = Text)]
    page: String,
}

/// One read of the load: a query, and what its placeholders are.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) query: &'static LoadQuery,
    pub(crate) values: Vec<String>,
}

impl Read {
    /// The page as the database has it.
    pub(crate) async fn past_cache(self, db: &Db, freshness: Freshness) -> Result<String> {
        db.read_within(freshness, async move |conn: &mut AsyncPgConnection| self.page(conn).await).await
    }

    /// The page through the cache.
    pub(crate) async fn through_cache(
        self,
        db: &Db,
    ) -> Result<Option<CachedValue<String>>, CacheError<Error>> {
        let key = self.query.pages.key(self.values.clone());
        db.cached(key, async move |conn: &mut AsyncPgConnection| self.page(conn).await.map(Some)).await
    }

    async fn page(&self, conn: &mut AsyncPgConnection) -> Result<String> {
        let statement = sql_query(self.query.sql).into_boxed::<Pg>();
        let bound = self.values.iter().fold(statement, |statement, value| statement.bind::<Text, _>(value));
        Ok(bound.get_result::<Page>(conn).await?.page)
    }
}

/// The cache of the load: what its pages are made from.
pub(crate) fn cache(config: &Config) -> Result<DbCache> {
    let whole = ["api_keys", "organizations", "patients", "users"];
    let rows = [
        "audit_logs",
        "events",
        "notes",
        "notification_deliveries",
        "notifications",
        "sessions",
        "todos",
        "user_organizations",
    ];
    let cache = whole.into_iter().fold(DbCache::of(config)?, DbCache::table);
    Ok(rows.into_iter().fold(cache, DbCache::rows_of))
}

//! A real PgBouncer between the runner and the server.

use db_core::Endpoint;
use db_migrations::MigrationError;
use db_testkit::{PgBouncer, PoolMode, TestDatabase, skip};
use diesel_async::{AsyncConnection, AsyncPgConnection};

use crate::fixture::{PEOPLE, migrator};
use crate::to::To;

/// `None` where there is no PgBouncer.
async fn through(mode: PoolMode, settings: &[(&str, &str)]) -> Option<Result<usize, MigrationError>> {
    let database = TestDatabase::empty().await.unwrap();
    let pooler = skip::without(PgBouncer::start(database.url(), mode, settings).await)?;
    let mut conn = AsyncPgConnection::establish(pooler.url()).await.unwrap();
    let to = To(pooler.url().to_owned());
    let migrator = migrator(&[PEOPLE]).opened_by(to, Endpoint::new("127.0.0.1", 1));
    Some(migrator.apply(&mut conn, |_| ()).await.map(|steps| steps.len()))
}

#[tokio::test]
async fn a_transaction_pooling_proxy_is_refused() {
    for settings in [&[][..], &[("server_round_robin", "1"), ("min_pool_size", "4")]] {
        let Some(outcome) = through(PoolMode::Transaction, settings).await else { return };
        let refused = outcome.unwrap_err();
        assert!(matches!(refused, MigrationError::Pooled), "{refused:?}");
        assert!(refused.to_string().contains("DATABASE_DIRECT_URL"), "{refused}");
    }
}

#[tokio::test]
async fn a_proxy_that_pools_sessions_is_as_good_as_none() {
    // Where there is only one session it is the runner's own: nobody else gets one.
    for settings in [&[][..], &[("default_pool_size", "1")]] {
        let Some(outcome) = through(PoolMode::Session, settings).await else { return };
        assert_eq!(outcome.unwrap(), 1);
    }
}

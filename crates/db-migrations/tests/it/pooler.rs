//! A real PgBouncer between the runner and the server.

use db_core::Endpoint;
use db_migrations::MigrationError;
use db_testkit::TestDatabase;

use crate::fixture::{PEOPLE, migrator};
use crate::pgbouncer::{PgBouncer, To};

async fn through(settings: &str) -> Result<usize, MigrationError> {
    let database = TestDatabase::empty().await.unwrap();
    let proxy = PgBouncer::start(&database, settings).await;
    let mut conn = proxy.connect().await;
    let migrator = migrator(&[PEOPLE]).opened_by(To(proxy.url.clone()), Endpoint::new("127.0.0.1", 1));
    migrator.apply(&mut conn, |_| ()).await.map(|steps| steps.len())
}

#[tokio::test]
async fn a_transaction_pooling_proxy_is_refused() {
    for settings in ["", "server_round_robin = 1\nmin_pool_size = 4"] {
        let refused = through(&format!("pool_mode = transaction\n{settings}")).await.unwrap_err();
        assert!(matches!(refused, MigrationError::Pooled), "{refused:?}");
        assert!(refused.to_string().contains("DATABASE_DIRECT_URL"), "{refused}");
    }
}

#[tokio::test]
async fn a_proxy_that_pools_sessions_is_as_good_as_none() {
    assert_eq!(through("pool_mode = session").await.unwrap(), 1);
    // The only session is the runner's own: nobody else gets one.
    assert_eq!(through("pool_mode = session\ndefault_pool_size = 1").await.unwrap(), 1);
}

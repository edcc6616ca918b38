//! PgBouncer, where it is installed.

use std::net::TcpStream;

use db_testkit::{PgBouncer, PoolMode, TestDatabase, skip};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::{LIMIT, SILENCE, children, connect, until};

/// The server process that answers, asked without preparing a statement.
async fn backend(client: &Client) -> Option<String> {
    let rows = client.simple_query("SELECT pg_backend_pid()").await.unwrap();
    rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    })
}

#[tokio::test]
async fn a_server_connection_goes_to_the_next_client_after_a_transaction_or_after_a_session() {
    let database = TestDatabase::empty().await.unwrap();
    for (mode, shared) in [(PoolMode::Transaction, true), (PoolMode::Session, false)] {
        let pooler = PgBouncer::start(database.url(), mode, &[("default_pool_size", "1")]).await;
        let Some(pooler) = skip::without(pooler) else { return };
        let (first, second) = (connect(pooler.url()).await.unwrap(), connect(pooler.url()).await.unwrap());
        let answered = backend(&first).await;
        if shared {
            assert_eq!(backend(&second).await, answered, "{mode:?}");
            continue;
        }
        let mut waiting = Box::pin(backend(&second));
        assert!(
            tokio::time::timeout(SILENCE, &mut waiting).await.is_err(),
            "{mode:?}: the first is still there"
        );
        drop(first);
        assert_eq!(tokio::time::timeout(LIMIT, waiting).await.unwrap(), answered);
    }
}

#[tokio::test]
async fn a_pooler_ends_with_its_value_and_with_its_process() {
    let pooler = PgBouncer::start("postgres://nobody@127.0.0.1:1/none", PoolMode::Session, &[]).await;
    let Some(pooler) = skip::without(pooler) else { return };
    let port = pooler.port();
    let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(listens(port));
    drop(pooler);
    assert!(!listens(port));

    let mut owner = children::start("pooler", None, None);
    let port = owner.heard().parse().unwrap();
    assert!(listens(port));
    owner.kill();
    until("its end", async || !listens(port)).await;
}

#[tokio::test]
async fn a_pooler_lets_nobody_in_without_the_servers_password() {
    let database = TestDatabase::empty().await.unwrap();
    let pooler = PgBouncer::start(database.url(), PoolMode::Session, &[]).await;
    let Some(pooler) = skip::without(pooler) else { return };
    assert!(connect(pooler.url()).await.is_ok());
    let (start, end) = pooler.url().split_once('@').unwrap();
    let user = start.rsplit_once(':').unwrap().0;
    for wrong in [format!("{user}@{end}"), format!("{user}:wrong@{end}")] {
        assert!(connect(&wrong).await.is_err());
    }
}

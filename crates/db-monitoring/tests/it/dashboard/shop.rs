//! A database with tables, load and waits for the pages and reports to show.

use std::sync::Arc;
use std::time::Duration;

use db_core::{Endpoint, Error};
use db_monitoring::dashboard::Source;
use db_monitoring::server::{Collector, CollectorConfig, OpenConnection};
use db_monitoring::{Monitor, PoolLoad};
use db_testkit::{TestDatabase, until};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};

pub(crate) type Tested = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const SCHEMA: &str = "
    CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL);
    CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint NOT NULL, note text, placed timestamptz DEFAULT now());
    CREATE INDEX orders_note ON orders (note);
    CREATE TABLE \"<b>bold</b>\" (id int PRIMARY KEY);
    INSERT INTO customers SELECT n, 'customer' || n || '@example.com' FROM generate_series(1, 2000) n;
    INSERT INTO orders (customer_id, note) SELECT n % 2000 + 1, repeat('x', 60) FROM generate_series(1, 20000) n;
    ANALYZE;";

/// What the server counts, which a copy of a database begins without.
const WORK: &str = "
    DELETE FROM orders WHERE id % 4 = 0;
    SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off;
    SELECT count(*) FROM orders WHERE note LIKE '%y%';
    SELECT count(*) FROM orders WHERE note LIKE '%z%';";

pub(crate) struct Shop {
    pub(crate) database: TestDatabase,
    pub(crate) collector: Collector,
    task: tokio::task::JoinHandle<()>,
}

impl Shop {
    pub(crate) async fn start() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let database = TestDatabase::from_template(SCHEMA, async |conn: &mut AsyncPgConnection| {
            conn.batch_execute(SCHEMA).await
        })
        .await?;
        database.connect().await?.batch_execute(WORK).await?;
        let periods = [100, 200, 200, 400, 1_000].map(Duration::from_millis);
        let config = CollectorConfig { periods, ..CollectorConfig::default() };
        let collector = Collector::new(open(database.url()), config);
        let task = tokio::spawn(collector.clone().run());
        let shop = Shop { database, collector, task };
        until("the database was looked into", async || {
            let latest = shop.collector.latest();
            latest.databases.get().is_ok()
                && latest.settings.get().is_ok()
                && latest.by_database.values().any(|of| of.indexes.get().is_ok())
        })
        .await;
        Ok(shop)
    }

    pub(crate) fn open(&self) -> OpenConnection {
        open(self.database.url())
    }

    /// What a service with this database would give to its dashboard.
    pub(crate) fn source(&self, monitor: Monitor) -> Source {
        let load = || vec![PoolLoad { name: "db:5432".to_owned(), in_use: 18, max: 20, waiting: 2 }];
        Source::named("shop").monitor(monitor).collector(self.collector.clone()).pools(Arc::new(load))
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn open(url: impl ToString) -> OpenConnection {
    let url = url.to_string();
    Arc::new(move |_| {
        let url = url.clone();
        Box::pin(async move {
            let connected = AsyncPgConnection::establish(&url).await;
            let conn = connected.map_err(|error| Error::ConnectionLost { reason: error.to_string() })?;
            Ok((Endpoint::new("here", 5432), conn))
        })
    })
}

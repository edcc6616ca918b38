//! What the wire tap costs: the same pool and the same statement with it, and without.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use db_core::{Observe, QueryEvent};
use db_pool::{Connection, Pool, PoolConfig};
use diesel::IntoSql;
use diesel::sql_types::Integer;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::pairs::{Compared, Took, compare};
use crate::peers::connector;
use crate::server::{OnOneProcessor, on_one_thread};

/// Adds up what it hears, as a metrics exporter does.
#[derive(Debug, Default)]
pub struct Sum {
    events: AtomicU64,
    rows: AtomicU64,
    nanos: AtomicU64,
}

impl Sum {
    fn events(&self) -> u64 {
        AtomicU64::load(&self.events, Ordering::Relaxed)
    }
}

impl Observe for Sum {
    fn on_query(&self, event: &QueryEvent<'_>) {
        self.events.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(event.rows.unwrap_or_default(), Ordering::Relaxed);
        let nanos = u64::try_from(event.elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

/// `SELECT 1`, prepared and kept, in nanoseconds for each.
pub fn on_select_1(pairs: usize) -> Compared {
    const ROUNDS: u32 = 20;
    measure(pairs, ROUNDS, 1, async |conn| {
        for _ in 0..ROUNDS {
            let one: i32 = diesel::select(1.into_sql::<Integer>()).get_result(conn).await.unwrap();
            assert_eq!(one, 1);
        }
    })
}

/// One statement with 200,000 rows, in nanoseconds.
pub fn on_200_000_rows(pairs: usize) -> Compared {
    const ROWS: u64 = 200_000;
    measure(pairs, 1, ROWS, async |conn| {
        let rows = diesel::dsl::sql::<Integer>("SELECT generate_series(1, 200000)");
        let rows: Vec<i32> = rows.get_results(conn).await.unwrap();
        assert_eq!(rows.len() as u64, ROWS);
    })
}

fn measure(pairs: usize, operations: u32, rows: u64, run: impl AsyncFn(&mut AsyncPgConnection)) -> Compared {
    on_one_thread(async |url| {
        let _pinned = OnOneProcessor::keep(url).await;
        let sum = Arc::new(Sum::default());
        let mut tapped = checked_out(url, Some(Arc::clone(&sum))).await;
        // Logging in has run statements that have no rows.
        let before = sum.events();
        let mut bare = checked_out(url, None).await;
        let compared = compare(
            pairs,
            async || Took::of(operations, run(&mut tapped)).await,
            async || Took::of(operations, run(&mut bare)).await,
        )
        .await;
        let (events, heard) = (sum.events() - before, AtomicU64::load(&sum.rows, Ordering::Relaxed));
        assert!(events >= pairs as u64 * u64::from(operations), "the observer hears of every statement");
        assert_eq!(heard, events * rows, "the observer hears of every row");
        compared
    })
}

async fn checked_out(url: &str, observer: Option<Arc<Sum>>) -> Connection {
    let connector =
        connector(url, observer.is_some()).observed_by(observer.map(|observer| observer as Arc<dyn Observe>));
    let endpoint = connector.url().hosts().first().unwrap().clone();
    Pool::open(connector, endpoint, PoolConfig::default()).get().await.unwrap()
}

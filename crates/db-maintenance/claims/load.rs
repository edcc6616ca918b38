//! A load on a table, which notes how long its statements take and what it was told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use crate::database::connect;

/// What one client of a load saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Numbers of rows that were acknowledged and not deleted since.
    pub(crate) there: Vec<i64>,
    pub(crate) worst: Duration,
    pub(crate) statements: usize,
    pub(crate) errors: Vec<String>,
}

/// Clients that insert, update and delete until they are told to end.
pub(crate) struct Load {
    end: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// `insert` answers the number of its row; `update` and `delete` take it.
    pub(crate) fn start(url: &str, clients: usize, insert: &str, update: &str, delete: &str) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let clients = (0..clients).map(|_| {
            let statements = [insert, update, delete].map(str::to_owned);
            tokio::spawn(write(url.to_owned(), statements, Arc::clone(&end)))
        });
        Load { clients: clients.collect(), end }
    }

    pub(crate) async fn end(self) -> Seen {
        self.end.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for client in self.clients {
            let seen = client.await.unwrap();
            all.there.extend(seen.there);
            all.errors.extend(seen.errors);
            all.statements += seen.statements;
            all.worst = all.worst.max(seen.worst);
        }
        all.there.sort_unstable();
        all
    }
}

async fn write(url: String, [insert, update, delete]: [String; 3], end: Arc<AtomicBool>) -> Seen {
    let client = connect(&url).await;
    let mut seen = Seen::default();
    while !AtomicBool::load(&end, Ordering::Relaxed) {
        let began = Instant::now();
        match client.query_one(&insert, &[]).await {
            Ok(row) => seen.there.push(row.get(0)),
            Err(error) => seen.errors.push(error.to_string()),
        }
        seen.worst = seen.worst.max(began.elapsed());
        let Some(last) = seen.there.last().copied() else { continue };
        let goes = seen.statements.is_multiple_of(10);
        for (statement, id) in [(&update, last), (&delete, last)].into_iter().take(1 + usize::from(goes)) {
            let began = Instant::now();
            match client.execute(statement, &[&id]).await {
                Ok(1) => {}
                Ok(rows) => seen.errors.push(format!("{rows} rows have one number")),
                Err(error) => seen.errors.push(error.to_string()),
            }
            seen.worst = seen.worst.max(began.elapsed());
        }
        if goes {
            seen.there.pop();
        }
        seen.statements += 3;
    }
    seen
}

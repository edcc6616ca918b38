//! Loaders in process, and on a real server.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod ahead;
mod batching;
mod cancelling;
mod children;
mod failing;
mod memo;
mod metrics;
mod nesting;
mod statements;
mod transactions;

use std::sync::{Arc, Mutex};

use db_core::Error;
use db_loader::{Loader, LoaderConfig};

/// The batches that a loader made.
type Batches = Arc<Mutex<Vec<Vec<u64>>>>;

/// A loader of squares that notes its batches.
fn squares(config: LoaderConfig) -> (Loader<u64, u64>, Batches) {
    let batches = Batches::default();
    let noted = Arc::clone(&batches);
    let squares = Loader::with("squares", config, move |keys: Vec<u64>| {
        noted.lock().unwrap().push(keys.clone());
        async move { Ok::<_, Error>(keys.into_iter().map(|n| (n, n * n)).collect::<Vec<_>>()) }
    });
    (squares, batches)
}

fn sizes(batches: &Batches) -> Vec<usize> {
    batches.lock().unwrap().iter().map(Vec::len).collect()
}

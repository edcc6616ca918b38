//! What others want to do with each connection: when it is opened, and right before a caller gets it.
//!
//! A hook is foreign code: its error means that the connection is not to be used, its panic means nothing.

use std::sync::Arc;

use db_core::{ConnectionHook, Result, foreign};
use diesel_async::AsyncPgConnection;

/// The hooks of a connector, each with the name of the part that it belongs to; none on most.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    named: Arc<[(&'static str, ConnectionHook)]>,
}

impl Hooks {
    pub(crate) fn new(hooks: impl IntoIterator<Item = (&'static str, ConnectionHook)>) -> Self {
        Hooks { named: hooks.into_iter().collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// Runs them in their order.
    pub(crate) async fn run(&self, conn: &mut AsyncPgConnection) -> Result<()> {
        for (name, hook) in self.named.iter() {
            let hooked = foreign::run(async { hook(&mut *conn).await }).await;
            let Some(hooked) = hooked else {
                tracing::error!(
                    part = name,
                    "a hook on a connection panicked: the connection is used as it is"
                );
                continue;
            };
            hooked?;
        }
        Ok(())
    }
}

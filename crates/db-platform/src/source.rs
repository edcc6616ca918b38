//! A pool as the router sees it: one whose connections can all be evicted at once.

use db_core::{Acquire, Endpoint, Result};
use db_pool::{Connection, Pool};

#[derive(Debug, Clone)]
pub(crate) struct Source(pub(crate) Pool);

impl Acquire for Source {
    type Conn = Connection;

    fn acquire(&self) -> impl Future<Output = Result<Connection>> + Send {
        self.0.get()
    }

    fn endpoint(&self) -> Option<&Endpoint> {
        Some(self.0.endpoint())
    }

    fn evict(&self, conn: &mut Connection) {
        self.0.evict(conn);
    }

    fn evict_all(&self) {
        self.0.evict_all();
    }
}

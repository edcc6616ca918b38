//! Where batches run.

use db_core::{Acquire, Error, Result, Site, Work};

/// Where batches run: a source of connections is one, and a service's own may retry and route.
pub trait Connections: Send + Sync + 'static {
    /// Runs `work` on a connection, and again on another one where that helps, on behalf of the code at
    /// `site`: where the query was declared.
    ///
    /// # Errors
    /// The work's own, and that no connection was to be had.
    fn run<T: Send + 'static>(
        &self,
        site: Site,
        work: impl Work<T, Error> + 'static,
    ) -> impl Future<Output = Result<T>> + Send;
}

impl<A: Acquire + Send + 'static> Connections for A {
    async fn run<T: Send + 'static>(&self, site: Site, work: impl Work<T, Error> + 'static) -> Result<T> {
        let mut conn = self.acquire_at(site).await?;
        work(&mut conn).await
    }
}

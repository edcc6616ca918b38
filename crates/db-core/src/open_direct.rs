//! A way to the primary, for whoever needs a connection of its own there.

use std::pin::Pin;
use std::sync::Arc;

use diesel_async::AsyncPgConnection;

use crate::{Endpoint, Result};

type Opening = Pin<Box<dyn Future<Output = Result<(Endpoint, AsyncPgConnection)>> + Send>>;

/// Opens a connection to the primary past any pooler, wherever that is now, and says where: in the database
/// of the settings, or in the one that is named.
///
/// ```no_run
/// # async fn look(open: db_core::OpenDirect) -> db_core::Result<()> {
/// let (server, conn) = open(None).await?;
/// # Ok(())
/// # }
/// ```
pub type OpenDirect = Arc<dyn Fn(Option<Arc<str>>) -> Opening + Send + Sync>;

//! A statement whose type does not matter.

use std::pin::Pin;

use db_core::Result;
use diesel_async::AsyncPgConnection;

use crate::found::Found;

/// What is answered later.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A statement whose type does not matter.
pub(crate) trait AnyFetch<K, V>: Send + Sync {
    fn fetch<'c>(&'c self, conn: &'c mut AsyncPgConnection, keys: Vec<K>) -> Answer<'c, Result<Found<K, V>>>;
}

//! A pool of PostgreSQL connections for diesel-async.

//! Everything between a Rust service and PostgreSQL.

//! Finds, fetches, starts and stops PostgreSQL and Redis servers.

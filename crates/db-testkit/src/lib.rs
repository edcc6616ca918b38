//! Real PostgreSQL clusters, test databases and faults for tests.

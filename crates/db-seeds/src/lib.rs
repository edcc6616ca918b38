//! Fills a database with deterministic data, by COPY.

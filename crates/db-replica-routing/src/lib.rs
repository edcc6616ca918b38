//! Sends reads to standbys that are alive and fresh enough.

//! Applies and undoes SQL migrations in diesel's layout, one runner at a time.

//! The nouns that every crate of db-platform agrees on.

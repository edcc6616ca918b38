//! The repository, on every kind of store and under faults.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping")]

mod collations;
mod commands;
mod copies;
mod corruption;
mod debian;
mod dumps;
mod emulators;
mod expiry;
mod faults;
mod fetching;
mod front;
mod gcs_stub;
mod history;
mod importing;
mod job_lease;
mod keys;
mod layouts;
mod lease;
mod leftovers;
mod live;
mod losses;
mod object_lock;
mod pgbackrest;
mod pushing;
mod python;
mod receiving;
mod recovering;
mod rehearsing;
mod retention;
mod round_trip;
mod slice;
mod spoil;
mod stores;
mod world;

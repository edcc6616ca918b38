//! Chooses loopback ports that stay the server's own across restarts.
//!
//! They lie below the range that the kernel hands to outgoing connections. A port from that range can be
//! taken while its server is down, and a client that dials it can even be connected to itself.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{Error, Result};

const FIRST: u32 = 15_000;
const COUNT: u32 = 17_000;
const TRIES: u32 = 2_000;

/// A port that nobody listens on at this moment; the caller binds it next, and asks again if it lost the
/// race.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static START: OnceLock<u32> = OnceLock::new();
    let start =
        START.get_or_init(|| (RandomState::new().hash_one(std::process::id()) % u64::from(COUNT)) as u32);
    for _ in 0..TRIES {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (FIRST + (start + step) % COUNT) as u16;
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(Error::NoPort { tried: TRIES })
}

/// Whether a server could listen on this loopback port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_below_the_ephemeral_range_and_differ() {
        let first = free_port().unwrap();
        let second = free_port().unwrap();
        assert_ne!(first, second);
        assert!((15_000..32_000).contains(&first), "{first}");
    }
}

//! Finds the episodes in which a pool is under pressure, so that the log tells of each once.
//!
//! A pool is under pressure while callers wait for a connection or nine of ten are in use. One look may meet
//! a moment's peak: an episode begins with the second look in a row, and ends when there was none for
//! [`CALM`] looks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far two looks are apart.
pub(crate) const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// So many looks in a row make an episode, and so many without pressure end it.
const PRESSED: u32 = 2;
const CALM: u32 = 10;

/// How busy one pool is now.
///
/// ```
/// use db_monitoring::PoolLoad;
///
/// let load = PoolLoad { name: "db:5432".to_owned(), in_use: 18, max: 20, waiting: 0 };
/// assert!(load.is_under_pressure());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolLoad {
    /// What tells it apart from the process's other pools.
    pub name: String,
    /// Connections that are in use.
    pub in_use: usize,
    /// The most connections that may be open.
    pub max: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

impl PoolLoad {
    /// Whether callers wait, or nine of ten connections are in use.
    pub fn is_under_pressure(&self) -> bool {
        self.waiting > 0 || (self.max > 0 && self.in_use * 10 >= self.max * 9)
    }
}

/// Tells how busy each pool is now. It is called once a second and must not block.
pub type LookAtPools = Arc<dyn Fn() -> Vec<PoolLoad> + Send + Sync>;

/// The episodes of all pools.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    pools: Mutex<HashMap<String, Episode>>,
}

impl Pressure {
    /// Looks at the pools, and logs what began and what ended.
    pub(crate) fn look(&self, loads: &[PoolLoad], now: Instant) {
        for load in loads {
            let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
            let change = pools.entry(load.name.clone()).or_default().look(load.is_under_pressure(), now);
            drop(pools);
            let PoolLoad { name, in_use, max, waiting } = load;
            match change {
                Some(Change::Began) => tracing::warn!(
                    pool = name,
                    in_use,
                    max,
                    waiting,
                    "a pool is under pressure: callers wait for connections, or nine of ten are in use; this is said once \
                     until it is over. Hold connections for a shorter time, or raise DB_POOL_MAX or DB_READ_POOL_MAX"
                ),
                Some(Change::Ended(lasted)) => {
                    tracing::info!(pool = name, ?lasted, "a pool is no longer under pressure");
                }
                None => {}
            }
        }
    }
}

/// Where one pool stands.
#[derive(Debug, Default)]
struct Episode {
    began: Option<Instant>,
    /// So many looks in a row saw what it was not.
    looks: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Began,
    Ended(Duration),
}

impl Episode {
    fn look(&mut self, pressed: bool, now: Instant) -> Option<Change> {
        if pressed == self.began.is_some() {
            self.looks = 0;
            return None;
        }
        self.looks += 1;
        if self.looks < if pressed { PRESSED } else { CALM } {
            return None;
        }
        self.looks = 0;
        match self.began.take() {
            Some(began) => Some(Change::Ended(now.saturating_duration_since(began))),
            None => {
                self.began = Some(now);
                Some(Change::Began)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said at which look, for looks that see pressure (`#`) or none (`.`).
    fn check(looks: &str, said: &[(usize, &str)]) {
        let (mut episode, start) = (Episode::default(), Instant::now());
        let mut heard = Vec::new();
        for (n, look) in looks.chars().enumerate() {
            let now = start + BETWEEN_LOOKS * u32::try_from(n).unwrap();
            match episode.look(look == '#', now) {
                Some(Change::Began) => heard.push((n, "began".to_owned())),
                Some(Change::Ended(lasted)) => heard.push((n, format!("lasted {lasted:?}"))),
                None => {}
            }
        }
        let said: Vec<_> = said.iter().map(|(n, what)| (*n, (*what).to_owned())).collect();
        assert_eq!(heard, said, "{looks}");
    }

    #[test]
    fn an_episode_is_said_once_however_often_it_flaps() {
        check("#.#.#.", &[]);
        check("..###", &[(3, "began")]);
        check("##.########", &[(1, "began")]);
        check("##.#.........#..........#", &[(1, "began"), (23, "lasted 22s")]);
        check("##..........##", &[(1, "began"), (11, "lasted 10s"), (13, "began")]);
    }

    #[test]
    fn waiting_callers_and_nine_of_ten_are_pressure() {
        let load = |in_use, max, waiting| PoolLoad { name: String::new(), in_use, max, waiting };
        for (load, pressed) in [
            (load(0, 0, 0), false),
            (load(8, 10, 0), false),
            (load(9, 10, 0), true),
            (load(0, 10, 1), true),
            (load(4, 5, 0), false),
            (load(5, 5, 0), true),
        ] {
            assert_eq!(load.is_under_pressure(), pressed, "{load:?}");
        }
    }
}

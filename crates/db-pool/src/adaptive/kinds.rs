//! Weighs what came back by how long its kind usually takes, so that another mix of kinds does not look like
//! another throughput.
//!
//! A kind is the place in the program that asks for the connection. Where one in ten callers holds a
//! connection fifty times as long as the others, how many come back in a fifth of a second depends on chance
//! far more than on the limit; how much of their usual work was done does not.

use std::collections::HashMap;
use std::hash::Hash;
use std::panic::Location;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What is left of what was learnt at the next sample.
const MEMORY: f64 = 0.98;
/// As long as fewer connections than this have come back, all is learnt from.
const FEW: f64 = 500.0;

/// Connections that came back: how many, and how long they had been held, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Held {
    pub(crate) count: f64,
    pub(crate) seconds: f64,
}

impl Held {
    pub(crate) fn add(&mut self, held: Duration) {
        self.count += 1.0;
        self.seconds += held.as_secs_f64();
    }

    fn mean(self) -> f64 {
        if self.count > 0.0 { self.seconds / self.count } else { 0.0 }
    }
}

/// A kind: the address of the place in the program.
pub(crate) type Site = usize;

/// What came back of each kind since it was last read.
#[derive(Default)]
pub(crate) struct Returns {
    seen: Mutex<HashMap<Site, Held>>,
}

impl Returns {
    pub(crate) fn note(&self, site: &'static Location<'static>, held: Duration) {
        self.seen().entry(std::ptr::from_ref(site).addr()).or_default().add(held);
    }

    pub(crate) fn take(&self) -> HashMap<Site, Held> {
        std::mem::take(&mut *self.seen())
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Site, Held>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long each kind usually holds a connection.
#[derive(Debug)]
pub(crate) struct Kinds<K> {
    usual: HashMap<K, Held>,
}

impl<K> Default for Kinds<K> {
    fn default() -> Self {
        Kinds { usual: HashMap::new() }
    }
}

impl<K: Eq + Hash> Kinds<K> {
    /// The work that was done, in units of what a connection that comes back usually has done.
    ///
    /// With `learn` it also takes part in what is usual. While another limit is tried it must not: holds that
    /// grow with the limit would make as much work of fewer statements.
    pub(crate) fn work(&mut self, seen: impl IntoIterator<Item = (K, Held)>, learn: bool) -> f64 {
        let learn = learn || self.total().count < FEW;
        if learn {
            self.usual.values_mut().for_each(|usual| {
                usual.count *= MEMORY;
                usual.seconds *= MEMORY;
            });
        }
        let mut done = 0.0;
        for (kind, held) in seen {
            let usual = self.usual.entry(kind).or_default();
            if learn || usual.count == 0.0 {
                usual.count += held.count;
                usual.seconds += held.seconds;
            }
            done += held.count * usual.mean();
        }
        let mean = self.total().mean();
        if mean > 0.0 { done / mean } else { 0.0 }
    }

    fn total(&self) -> Held {
        self.usual.values().fold(Held::default(), |total, usual| Held {
            count: total.count + usual.count,
            seconds: total.seconds + usual.seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(count: u32, millis: u64) -> Held {
        let mut all = Held::default();
        (0..count).for_each(|_| all.add(Duration::from_millis(millis)));
        all
    }

    #[test]
    fn another_mix_is_as_much_work_and_slower_statements_are_less() {
        let mut kinds = Kinds::default();
        let work = kinds.work([("short", held(900, 1)), ("long", held(100, 21))], true);
        assert!((work - 1_000.0).abs() < 1e-6, "{work}");
        // Three seconds of connections, spent on more long statements and fewer short ones.
        let work = kinds.work([("short", held(480, 1)), ("long", held(120, 21))], false);
        assert!((work - 1_000.0).abs() < 1e-6, "{work}");
        // Every statement takes twice as long.
        let work = kinds.work([("short", held(450, 2)), ("long", held(50, 42))], false);
        assert!((work - 500.0).abs() < 1e-6, "{work}");
    }
}

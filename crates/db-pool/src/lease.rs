//! Who holds which connection: for leak reports, and for those who wait in vain.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use db_core::{Endpoint, Holder};

use crate::wire::{Lease, Wire, fingerprint};

/// The connections of a pool, whoever has them.
#[derive(Clone, Default)]
pub(crate) struct Leases {
    wires: Arc<Mutex<Vec<Weak<Wire>>>>,
}

impl Leases {
    pub(crate) fn add(&self, wire: &Arc<Wire>) {
        self.wires().push(Arc::downgrade(wire));
    }

    fn wires(&self) -> MutexGuard<'_, Vec<Weak<Wire>>> {
        self.wires.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that still exist.
    pub(crate) fn alive(&self) -> Vec<Arc<Wire>> {
        let mut alive = Vec::new();
        self.wires().retain(|wire| match wire.upgrade() {
            Some(wire) => {
                alive.push(wire);
                true
            }
            None => false,
        });
        alive
    }

    /// Who holds connections, the longest first.
    pub(crate) fn holders(&self, now: Instant) -> Vec<Holder> {
        let mut holders: Vec<Holder> = self.alive().iter().filter_map(|wire| holder(wire, now)).collect();
        holders.sort_by_key(|holder| std::cmp::Reverse(holder.held));
        holders
    }

    /// Reports every connection that has been out for longer than `threshold`, once; returns how many are
    /// new.
    pub(crate) fn report_leaks(&self, endpoint: &Endpoint, threshold: Duration, now: Instant) -> usize {
        let mut found = 0;
        for wire in self.alive() {
            let Some(holder) = holder(&wire, now).filter(|holder| holder.held > threshold) else { continue };
            let mut session = wire.session();
            let Some(lease) = session.lease.as_mut().filter(|lease| !lease.reported) else { continue };
            lease.reported = true;
            let span = lease.caller.span.clone();
            drop(session);
            found += 1;
            tracing::warn!(
                parent: &span, endpoint = %endpoint, site = %holder.site, held = ?holder.held,
                statement = holder.statement.as_deref().unwrap_or(""),
                "a connection is held for longer than leak_threshold: {holder}"
            );
        }
        found
    }
}

impl Lease {
    /// Says that a connection which was reported as held for too long came back after all.
    pub(crate) fn say_returned(&self, endpoint: &Endpoint, now: Instant) {
        tracing::info!(
            parent: &self.caller.span, endpoint = %endpoint, site = %self.caller.site,
            held = ?now.duration_since(self.since),
            "a connection that was reported as held for too long was returned after all"
        );
    }
}

fn holder(wire: &Wire, now: Instant) -> Option<Holder> {
    let session = wire.session();
    let lease = session.lease.as_ref()?;
    let held = now.saturating_duration_since(lease.since);
    let statement =
        session.last_statement().filter(|_| session.has_run()).map(|last| fingerprint(&last.text));
    Some(Holder::new(lease.caller.site, held, statement))
}

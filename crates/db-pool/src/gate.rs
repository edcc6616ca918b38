//! Whether a pool hands out connections now, later or never again.

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Gate {
    /// Connections are handed out.
    Open = 0,
    /// Callers wait until it is open again.
    Suspended,
    /// The pool is shut down.
    Closed,
}

/// The gate of one pool.
pub(crate) struct Gatekeeper {
    /// For those who wait until it moves.
    gate: watch::Sender<Gate>,
    /// The same, for those who only look: each get and each return does, and a watch costs a lock.
    now: AtomicU8,
}

impl Default for Gatekeeper {
    fn default() -> Self {
        Gatekeeper { gate: watch::Sender::new(Gate::Open), now: AtomicU8::new(Gate::Open as u8) }
    }
}

impl Gatekeeper {
    pub(crate) fn now(&self) -> Gate {
        match self.now.load(Ordering::SeqCst) {
            0 => Gate::Open,
            1 => Gate::Suspended,
            _ => Gate::Closed,
        }
    }

    /// Moves the gate; one that is closed stays closed.
    pub(crate) fn set(&self, to: Gate) {
        self.gate.send_if_modified(|gate| {
            let moves = *gate != Gate::Closed && *gate != to;
            if moves {
                *gate = to;
                self.now.store(to as u8, Ordering::SeqCst);
            }
            moves
        });
    }

    /// Waits until the gate is one of these, and says which.
    pub(crate) async fn wait_for(&self, wanted: &[Gate]) -> Gate {
        let mut gate = self.gate.subscribe();
        match gate.wait_for(|gate| wanted.contains(gate)).await {
            Ok(gate) => *gate,
            // The sender lives as long as we do.
            Err(_) => Gate::Closed,
        }
    }
}

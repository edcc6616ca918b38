//! Whether a pool hands out connections now, later or never again.

use tokio::sync::watch;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Connections are handed out.
    Open,
    /// Callers wait until it is open again.
    Suspended,
    /// The pool is shut down.
    Closed,
}

/// The gate of one pool.
pub(crate) struct Gatekeeper {
    gate: watch::Sender<Gate>,
}

impl Default for Gatekeeper {
    fn default() -> Self {
        Gatekeeper { gate: watch::Sender::new(Gate::Open) }
    }
}

impl Gatekeeper {
    pub(crate) fn now(&self) -> Gate {
        *self.gate.borrow()
    }

    /// Moves the gate; one that is closed stays closed.
    pub(crate) fn set(&self, to: Gate) {
        self.gate.send_if_modified(|gate| {
            let moves = *gate != Gate::Closed && *gate != to;
            if moves {
                *gate = to;
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

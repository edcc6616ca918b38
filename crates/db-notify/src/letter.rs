//! A message on its way through one channel, and who waits to hear what became of it.

use tokio::sync::oneshot;

use crate::{Message, SendError};

/// What became of a letter: how many attempts it took, or why it was given up.
pub(crate) type Result = std::result::Result<u32, SendError>;

/// A message on its way through one channel.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) message: Message,
    /// What a receiver tells repetitions by; none: one is drawn.
    pub(crate) id: Option<String>,
    /// Who waits to hear. Dropping one says that it was not sent.
    pub(crate) receipts: Vec<oneshot::Sender<Result>>,
}

impl Letter {
    pub(crate) fn of(message: Message) -> Self {
        Letter { message, id: None, receipts: Vec::new() }
    }

    pub(crate) fn with_id(mut self, id: String) -> Self {
        self.id = Some(id);
        self
    }

    /// Tells who waits.
    pub(crate) fn tell(&mut self, result: &Result) {
        for receipt in self.receipts.drain(..) {
            let _nobody_waits = receipt.send(result.clone());
        }
    }
}

#[cfg(test)]
impl PartialEq for Letter {
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message && self.id == other.id
    }
}

//! A transaction whose BEGIN goes out with its first request: what is to be sent, and how far it has come.

use std::sync::Arc;

use db_core::{Opened, Opening, TransactionStatus};

use super::Session;

impl Session {
    /// This goes before the next request.
    pub(in crate::wire) fn open_with(&mut self, opening: Opening) {
        self.opening = Some(opening);
        self.begin = Opened::Unsent;
        self.opened = None;
    }

    /// Whether something is to go before the next request.
    pub(in crate::wire) fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// The statements of a batch that may go out as one request.
    pub(in crate::wire) fn batched(&self) -> Option<usize> {
        self.opening.as_ref()?.batched()
    }

    /// A batch cannot go out as one request: it begins as any other transaction.
    pub(in crate::wire) fn send_apart(&mut self) {
        if let Some(opening) = &mut self.opening {
            opening.sent_apart();
        }
    }

    /// Takes what is to go before the next request, which is about to be sent.
    pub(in crate::wire) fn send_opening(&mut self) -> Option<Opening> {
        let opening = self.opening.take()?;
        self.begin = Opened::Unanswered;
        Some(opening)
    }

    /// How far it has come.
    pub(in crate::wire) fn set_opened(&mut self, begin: Opened) {
        self.begin = begin;
        if begin == Opened::Begun {
            // The client hears of an error before the server says that it is ready, and asks then what is open.
            self.status = TransactionStatus::Open;
            self.failed_with = None;
        }
    }

    pub(in crate::wire) fn set_row(&mut self, row: Arc<[Option<String>]>) {
        self.opened = Some(row);
    }

    /// Whether of the next request a part was written.
    pub(in crate::wire) fn is_building(&self) -> bool {
        self.building.is_some()
    }
}

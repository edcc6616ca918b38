//! A transaction whose BEGIN goes out with its first request: what is to be sent, and how far it has come.

use std::sync::Arc;

use db_core::{Opened, Opening, TransactionStatus};

use super::super::request::Kind;
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

    /// Of so many requests before it the end is yet to come: what they say of the transaction is about
    /// another one.
    pub(in crate::wire) fn begins_behind(&mut self, requests: usize) {
        self.before_begin = requests;
    }

    /// Whether the request that has ended now was sent before BEGIN.
    pub(super) fn was_before_begin(&mut self) -> bool {
        let was = self.before_begin > 0;
        self.before_begin = self.before_begin.saturating_sub(1);
        was
    }

    /// A statement was to be closed and was not.
    pub(in crate::wire) fn keeps_statements(&mut self) {
        self.leftover.prepared = true;
    }

    /// Whether the connection may begin a transaction with its next request: nothing but the end of a
    /// statement is awaited.
    pub(in crate::wire) fn may_begin(&self) -> bool {
        self.status == TransactionStatus::Idle
            && !self.broken
            && self.requests.iter().all(|request| request.kind == Kind::Close)
            && !matches!(self.begin, Opened::Unanswered | Opened::AsOne | Opened::Refused)
    }

    /// How far it has come.
    pub(in crate::wire) fn set_opened(&mut self, begin: Opened) {
        self.begin = begin;
        if begin == Opened::Begun {
            // The client hears of an error before the server says that it is ready, and asks then what is
            // open.
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

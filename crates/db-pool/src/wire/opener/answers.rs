//! The answers to what went before a transaction's first request: they are kept from the client.

use std::sync::Arc;

use db_core::Opening;

use super::super::frames::write;

/// What of the answers has come.
pub(super) struct Answers {
    /// So many requests before it are not answered.
    ahead: usize,
    /// So many of its statements have not ended.
    left: usize,
    /// Whether the last of them is a question.
    asks: bool,
    /// Whether it has a Sync of its own.
    is_apart: bool,
    begun: bool,
    failed: bool,
    row: Option<Arc<[Option<String>]>>,
}

/// What became of a message.
pub(super) struct Passed {
    /// Whether it was the last one of the request that BEGIN went with.
    pub(super) is_over: bool,
}

impl Answers {
    pub(super) fn to(opening: &Opening, ahead: usize, is_apart: bool) -> Self {
        let asks = opening.question().is_some();
        let left = opening.statements().len() + usize::from(asks);
        Answers { ahead, left, asks, is_apart, begun: false, failed: false, row: None }
    }

    /// Whether the server has begun the transaction.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether one of the statements has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn take_row(&mut self) -> Option<Arc<[Option<String>]>> {
        self.row.take()
    }

    /// Reads a message of the server, and writes what the client is to get of it.
    pub(super) fn server_said(&mut self, tag: u8, body: &[u8], come: &mut Vec<u8>) -> Passed {
        let mut is_over = false;
        match tag {
            // What a server says by itself.
            b'N' | b'S' | b'A' => write(tag, body, come),
            _ if self.ahead > 0 => {
                self.ahead -= usize::from(tag == b'Z');
                write(tag, body, come);
            }
            b'Z' => {
                is_over = true;
                match (self.begun, self.is_apart && !self.failed) {
                    (true, true) => {}
                    (true, false) => write(tag, body, come),
                    // What follows is refused until the client rolls back.
                    (false, _) => write(tag, b"E", come),
                }
            }
            b'E' if self.left > 0 => {
                self.failed = true;
                write(tag, body, come);
            }
            _ if self.left == 0 || self.failed => write(tag, body, come),
            b'C' => {
                self.left -= 1;
                self.begun = true;
            }
            b'D' if self.asks && self.left == 1 => self.row = row(body),
            _ => {}
        }
        Passed { is_over }
    }
}

/// The values of a row, as text.
fn row(body: &[u8]) -> Option<Arc<[Option<String>]>> {
    let (count, mut rest) = body.split_first_chunk()?;
    let mut values = Vec::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, after) = rest.split_first_chunk()?;
        let value = match usize::try_from(i32::from_be_bytes(*length)) {
            Err(_) => (None, after),
            Ok(length) => {
                let (value, after) = after.split_at_checked(length)?;
                (Some(String::from_utf8(value.to_vec()).ok()?), after)
            }
        };
        values.push(value.0);
        rest = value.1;
    }
    Some(values.into())
}

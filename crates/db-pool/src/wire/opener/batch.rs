//! A batch of statements as one request: collected until all are there, and answered one by one.

use db_core::{Opened, SqlState};

use super::super::frames::{message, text, write};
use super::super::labels::is_plain;
use super::super::server_error::ServerError;
use super::super::session::Session;
use super::FAILED;

/// What a client has sent so far of a batch.
pub(super) enum Collected<'a> {
    /// A request that only closes statements: it is none of the batch's.
    Closes,
    /// More is to come.
    Incomplete,
    /// All of it is there; what follows it.
    Whole(&'a [u8]),
    /// There is something among it that may not go with others.
    Other,
}

/// Reads the requests of a client that has a batch to send.
pub(super) fn collect<'a>(bytes: &'a [u8], session: &Session) -> Collected<'a> {
    let (mut rest, mut statements) = (bytes, 0);
    while session.batched().is_some_and(|wanted| statements < wanted) {
        let mut tags = Vec::new();
        let mut plain = true;
        loop {
            let Some((tag, body, after)) = message(rest) else { return Collected::Incomplete };
            if tag == b'B' {
                let statement = text(body).and_then(|(_, rest)| text(rest)).map(|(name, _)| name);
                plain &= statement.and_then(|name| session.text_of(name)).is_some_and(is_plain);
            }
            tags.push(tag);
            rest = after;
            match tag {
                b'S' => break,
                b'B' | b'E' | b'C' | b'H' => {}
                _ => return Collected::Other,
            }
        }
        match (&tags[..], statements) {
            (b"BES", _) if plain => statements += 1,
            (b"CS", 0) => return Collected::Closes,
            _ => return Collected::Other,
        }
    }
    Collected::Whole(rest)
}

/// What follows the request that the bytes begin with.
pub(super) fn after_request(mut bytes: &[u8]) -> &[u8] {
    while let Some((tag, _, after)) = message(bytes) {
        bytes = after;
        if tag == b'S' {
            break;
        }
    }
    bytes
}

/// Writes whole requests as one, with the Sync of the last; how many there were.
pub(super) fn write_as_one(mut requests: &[u8], out: &mut Vec<u8>) -> usize {
    let mut count = 0;
    while let Some((tag, _, after)) = message(requests) {
        let whole = &requests[..requests.len() - after.len()];
        match tag {
            b'S' => count += 1,
            _ => out.extend_from_slice(whole),
        }
        requests = after;
    }
    write(b'S', &[], out);
    count
}

/// The answers to a batch.
pub(super) struct Batch {
    /// So many requests before it are not answered.
    ahead: usize,
    /// So many statements have not ended.
    left: usize,
    failed: bool,
    became: Option<Opened>,
}

impl Batch {
    pub(super) fn of(statements: usize, ahead: usize) -> Self {
        Batch { ahead, left: statements, failed: false, became: None }
    }

    /// What has become of it, once that is known.
    pub(super) fn became(&mut self) -> Option<Opened> {
        self.became.take()
    }

    /// Reads a message of the server, and writes what the client is to get; whether it was the last one.
    pub(super) fn server_said(&mut self, tag: u8, body: &[u8], come: &mut Vec<u8>) -> bool {
        let is_answer = self.ahead == 0;
        if tag != b'Z' || !is_answer {
            write(tag, body, come);
        }
        match tag {
            b'Z' if !is_answer => self.ahead -= 1,
            b'C' | b'I' | b's' if is_answer => {
                self.left = self.left.saturating_sub(1);
                if self.left > 0 {
                    write(b'Z', b"T", come);
                }
            }
            b'E' if is_answer => {
                self.failed = true;
                if proves_a_rollback(&ServerError::read(body)) {
                    self.became = Some(Opened::RolledBack);
                }
            }
            b'Z' => {
                write(tag, body, come);
                // Those behind the one that failed were skipped, and so is their answer.
                for _ in 1..self.left {
                    write(b'E', FAILED, come);
                    write(tag, body, come);
                }
                if !self.failed {
                    self.became = Some(Opened::Committed);
                }
                return true;
            }
            _ => {}
        }
        false
    }
}

/// Whether an error says that nothing was committed: the server's own, which did not end the session. A
/// pooler that has lost its server says so in codes of its own.
fn proves_a_rollback(error: &ServerError<'_>) -> bool {
    let is_doubtful = |code: SqlState| {
        matches!(code.category(), "08" | "58" | "XX") || matches!(code.as_str(), "57P01" | "57P02" | "57P03")
    };
    !error.is_fatal && error.code.is_some_and(|code| !is_doubtful(code))
}

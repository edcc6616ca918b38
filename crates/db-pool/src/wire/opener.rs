//! Puts what begins a transaction before its first request, up to the same Sync, so that BEGIN costs no round
//! trip.
//!
//! Source: the PostgreSQL manual, "Extended Query": after an error the server skips what follows up to the
//! next Sync, so where BEGIN fails, the request behind it does not run. What the client sends behind that
//! request waits until BEGIN is answered: it has a Sync of its own, and would run alone. A simple query skips
//! nothing, so BEGIN has a Sync of its own before one, and the query waits. Where the server refuses BEGIN,
//! the client hears of it as the answer to its first request, and what it asks then is answered here, as in a
//! failed transaction, until it rolls back.
//!
//! What goes before the first request is not the client's: its answers are kept from it, and the tap does not
//! see them.
//!
//! A batch needs no BEGIN: its statements go out up to one Sync, which makes them a transaction, and each
//! gets the ReadyForQuery that the client waits for. Where one of them has to be prepared first, it begins as
//! any other transaction.

mod answers;
mod batch;
#[cfg(test)]
mod model;
mod stream;
#[cfg(test)]
mod tests;

use db_core::{Opened, Opening};

use super::frames::{message, text, write};
use super::session::Session;
use super::tokens::{Token, Tokens};
use answers::Answers;
use batch::{Batch, Collected};

/// What stands between a client that has begun a transaction and the server.
#[derive(Default)]
pub(super) struct Opener {
    stage: Stage,
    /// Messages of the client that wait, or the beginning of one.
    held: Vec<u8>,
    stream: stream::Buffers,
}

#[derive(Default)]
enum Stage {
    /// Messages pass; before the next request that does something goes what the session has to begin with.
    #[default]
    Passing,
    /// BEGIN was sent with the first request, whose messages pass up to its Sync if it has one.
    Sent { answers: Answers, first: First },
    /// A batch was sent as one request.
    AsOne(Batch),
    /// The server has refused BEGIN: nothing of what the client asks may reach it.
    Refused,
}

/// How much of the first request has passed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Partly,
    Wholly,
    /// It waits: BEGIN has a Sync of its own.
    Held,
}

/// What a simple query does to a transaction that has not begun.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    /// It is empty: it asks for a sign of life, or whether all that was queued has been written.
    Empty,
    /// It rolls back and does nothing else.
    RollsBack,
    /// It rolls back, and does more.
    RollsBackFirst,
    Other,
}

impl Opener {
    /// Whether bytes may not pass as they are.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.stage, Stage::Passing) || !self.held.is_empty() || !self.stream.are_empty()
    }

    /// Whether the client has to wait with what it writes.
    fn is_full(&self) -> bool {
        matches!(self.stage, Stage::Sent { .. } | Stage::AsOne(_)) && self.held.len() >= stream::MOST_HELD
    }

    /// Takes what the client writes, from the beginning of a message on, and writes what the server is to
    /// get.
    fn client_said(&mut self, session: &mut Session, bytes: &[u8], ahead: usize) {
        // The end of a request that began before passes.
        let midway = self.held.is_empty() && session.is_building();
        self.held.extend_from_slice(bytes);
        self.go_on(session, ahead, midway);
    }

    /// Deals with the messages that are held, as far as the stage allows; so many requests are unanswered.
    fn go_on(&mut self, session: &mut Session, mut ahead: usize, mut midway: bool) {
        if self.held.len() >= stream::MOST_HELD {
            // Too much to keep until the last statement is there.
            session.send_apart();
        }
        let mut held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        while let Some((tag, body, after)) = message(rest) {
            let whole = &rest[..rest.len() - after.len()];
            let out = &mut self.stream.out.bytes;
            match &mut self.stage {
                Stage::Passing if !midway && session.batched().is_some() => {
                    match batch::collect(rest, session) {
                        Collected::Closes => {
                            let after = batch::after_request(rest);
                            out.extend_from_slice(&rest[..rest.len() - after.len()]);
                            (rest, ahead) = (after, ahead + 1);
                        }
                        Collected::Incomplete => break,
                        Collected::Whole(after) => {
                            let count = batch::write_as_one(&rest[..rest.len() - after.len()], out);
                            drop(session.send_opening());
                            session.set_opened(Opened::AsOne);
                            self.stage = Stage::AsOne(Batch::of(count, self.stream.awaited(ahead)));
                            rest = after;
                        }
                        Collected::Other => session.send_apart(),
                    }
                    continue;
                }
                Stage::Passing => {
                    let query = if tag == b'Q' { Query::of(body) } else { Query::Other };
                    let does =
                        matches!(tag, b'P' | b'B' | b'D' | b'E' | b'F' | b'Q') && query != Query::Empty;
                    let opening = if does && !midway { session.send_opening() } else { None };
                    match opening {
                        None => out.extend_from_slice(whole),
                        // Nothing has begun, so there is nothing to roll back: the server would warn.
                        Some(_) if query == Query::RollsBack => {
                            session.set_opened(Opened::Apart);
                            write(b'Q', b"\0", out);
                        }
                        Some(_) if query == Query::RollsBackFirst => {
                            session.set_opened(Opened::Apart);
                            out.extend_from_slice(whole);
                        }
                        Some(opening) => {
                            begin(&opening, out);
                            let held = matches!(tag, b'Q' | b'F');
                            if held {
                                write(b'S', &[], out);
                            }
                            let first = if held { First::Held } else { First::Partly };
                            session.begins_behind(ahead);
                            let answers = Answers::to(&opening, self.stream.awaited(ahead), held);
                            self.stage = Stage::Sent { answers, first };
                            continue;
                        }
                    }
                    let ends = matches!(tag, b'S' | b'Q' | b'F');
                    ahead += usize::from(ends);
                    midway &= !ends;
                }
                Stage::Sent { first: first @ First::Partly, .. } => {
                    out.extend_from_slice(whole);
                    if tag == b'S' {
                        *first = First::Wholly;
                    }
                }
                // The transaction is open: whatever comes now is in it.
                Stage::Sent { first: First::Wholly, answers } if answers.has_begun() => {
                    out.extend_from_slice(whole);
                }
                Stage::Sent { .. } | Stage::AsOne(_) => break,
                Stage::Refused => self.refuse(session, tag, body, whole),
            }
            rest = after;
        }
        let done = held.len() - rest.len();
        drop(held.drain(..done));
        self.held = held;
        if matches!(self.stage, Stage::Passing) && !session.is_opening() {
            self.stream.out.bytes.append(&mut self.held);
        }
    }

    /// Something came of which the session knows that the batch will not be whole: what of it is held goes
    /// out.
    fn batch_is_off(&self, session: &Session) -> bool {
        matches!(self.stage, Stage::Passing)
            && !self.held.is_empty()
            && session.is_opening()
            && session.batched().is_none()
    }

    /// Answers in the server's place, as it would in a failed transaction.
    fn refuse(&mut self, session: &mut Session, tag: u8, body: &[u8], whole: &[u8]) {
        let come = self.stream.come.unread();
        let query = if tag == b'Q' { Query::of(body) } else { Query::Other };
        match (tag, query) {
            (b'Q', Query::Empty) => write(b'I', &[], come),
            (b'Q', Query::RollsBack) => write(b'C', b"ROLLBACK\0", come),
            (b'Q', Query::RollsBackFirst) | (b'X', _) => self.stream.out.bytes.extend_from_slice(whole),
            (b'Q' | b'S' | b'F', _) => write(b'E', FAILED, come),
            // The server still has the statement: it is rid of all of them when the connection comes back.
            (b'C', _) => return session.keeps_statements(),
            // What belongs to a request is answered with its Sync.
            _ => return,
        }
        let over = matches!(query, Query::RollsBack | Query::RollsBackFirst) || tag == b'X';
        match query {
            Query::RollsBackFirst => {}
            Query::RollsBack => write(b'Z', b"I", self.stream.come.unread()),
            _ if tag == b'X' => {}
            _ => write(b'Z', b"E", self.stream.come.unread()),
        }
        if over {
            self.stage = Stage::Passing;
            session.set_opened(Opened::Apart);
        }
    }

    /// Takes what the server says, from the beginning of a message on, and writes what the client is to get.
    fn server_said(&mut self, session: &mut Session, tag: u8, body: &[u8]) {
        let come = self.stream.come.unread();
        if let Stage::AsOne(batch) = &mut self.stage {
            let ended = batch.server_said(tag, body, come);
            if let Some(became) = batch.became() {
                session.set_opened(became);
            }
            if ended {
                self.stage = Stage::Passing;
                self.go_on(session, 0, false);
            }
            return;
        }
        let Stage::Sent { answers, first } = &mut self.stage else { return write(tag, body, come) };
        let was_begun = answers.has_begun();
        let passed = answers.server_said(tag, body, come);
        if answers.has_begun() && !was_begun {
            session.set_opened(Opened::Begun);
        }
        if let Some(row) = answers.take_row() {
            session.set_row(row);
        }
        if passed.is_over {
            if *first == First::Held && answers.has_failed() {
                // It has had its answer.
                self.held = message(&self.held).map_or_else(Vec::new, |(_, _, after)| after.to_vec());
            }
            let begun = answers.has_begun();
            self.stage = if begun { Stage::Passing } else { Stage::Refused };
            if !begun {
                session.set_opened(Opened::Refused);
            }
            self.go_on(session, 0, false);
        } else if answers.has_begun() && !was_begun {
            self.go_on(session, 0, false);
        }
    }
}

impl Query {
    fn of(body: &[u8]) -> Self {
        let Some((sql, _)) = text(body) else { return Query::Other };
        let mut tokens = Tokens::of(sql).map(|(token, _)| token);
        match tokens.next() {
            None if sql.is_empty() => Query::Empty,
            Some(Token::Word(word))
                if [&b"rollback"[..], b"abort"].iter().any(|verb| word.eq_ignore_ascii_case(verb)) =>
            {
                match (tokens.next(), tokens.next()) {
                    (None | Some(Token::Sign(b';')), None) => Query::RollsBack,
                    (Some(Token::Sign(b';')), Some(_)) => Query::RollsBackFirst,
                    _ => Query::Other,
                }
            }
            _ => Query::Other,
        }
    }
}

/// Parse, Bind and Execute of each statement and of the question, without a Sync.
fn begin(opening: &Opening, out: &mut Vec<u8>) {
    let statements = opening.statements().iter().map(|statement| &**statement);
    for sql in statements.chain(opening.question()) {
        write(b'P', format!("\0{sql}\0\0\0").as_bytes(), out);
        write(b'B', &[0; 8], out);
        write(b'E', &[0; 5], out);
    }
}

/// What the server says of a statement in a failed transaction: the fields of an ErrorResponse.
const FAILED: &[u8] = b"SERROR\0VERROR\0C25P02\0\
    Mcurrent transaction is aborted, commands ignored until end of transaction block\0\0";

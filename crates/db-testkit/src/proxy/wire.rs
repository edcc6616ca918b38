//! Follows the PostgreSQL protocol as it passes, without holding it up.
//!
//! The client's side is read to know where a message that executes a COMMIT ends; the server's side, to know
//! when it has answered that COMMIT. Nothing is stored but a few counters, the first bytes of a message and
//! the names of prepared COMMITs, all bounded: a length that a peer claims is only ever counted down.
//!
//! Whatever cannot be followed (TLS, GSSAPI, a peer that does not speak the protocol) turns the conversation
//! opaque: its bytes pass, and no COMMIT is seen in them.

use super::sql::CommitScan;
use std::collections::HashSet;

/// The longest name of a prepared statement or portal that is followed.
const NAME: usize = 256;
/// The most names of prepared COMMITs that are followed on one connection.
const NAMES: usize = 64;

const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const TLS_HANDSHAKE: u8 = 0x16;

/// What a piece of the client's bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// How many of the bytes it covers, at least one.
    pub(super) len: usize,
    /// It ends with the last byte of a message that executes a COMMIT; its answer comes in this batch.
    pub(super) commit: Option<u64>,
    /// Where the last message begins, where it lies whole in these bytes.
    pub(super) start: Option<usize>,
}

/// The client's half of one connection.
#[derive(Debug, Default)]
pub(super) struct Client {
    state: ClientState,
    scan: CommitScan,
    /// The first bytes of the message, as far as its names reach.
    head: Vec<u8>,
    /// The names in `head` are complete, or too long to follow.
    names: Names,
    statements: HashSet<Vec<u8>>,
    portals: HashSet<Vec<u8>>,
    /// Batches that the server was asked to end with ReadyForQuery, the start-up being the first.
    asked: u64,
    /// SSLRequest and GSSENCRequest are answered with one bare byte each.
    pub(super) bare_answers: u32,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Names {
    #[default]
    Wanted,
    Known,
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClientState {
    /// Collecting the eight bytes that open a connection: length and code.
    Opening {
        seen: u8,
        bytes: [u8; 8],
    },
    /// Inside the rest of a start-up packet.
    Startup {
        left: u32,
    },
    /// Collecting a message's type and length.
    Header {
        seen: u8,
        bytes: [u8; 5],
    },
    Body {
        kind: u8,
        left: u32,
    },
    Opaque,
}

impl Default for ClientState {
    fn default() -> Self {
        Self::Opening { seen: 0, bytes: [0; 8] }
    }
}

const HEADER: ClientState = ClientState::Header { seen: 0, bytes: [0; 5] };

impl Client {
    /// Reads on, up to the end of the next COMMIT or of `bytes`, whichever comes first.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Step {
        let (mut at, mut start) = (0, None);
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                ClientState::Opaque => break,
                ClientState::Opening { seen, bytes } => {
                    at += 1;
                    self.opening(seen, bytes, rest[0]);
                }
                ClientState::Startup { left } => {
                    let taken = rest.len().min(left as usize);
                    at += taken;
                    self.state = match left - taken as u32 {
                        0 => HEADER,
                        left => ClientState::Startup { left },
                    };
                }
                ClientState::Header { seen, mut bytes } => {
                    if seen == 0 {
                        start = Some(at);
                    }
                    at += 1;
                    bytes[usize::from(seen)] = rest[0];
                    self.state = if seen < 4 {
                        ClientState::Header { seen: seen + 1, bytes }
                    } else {
                        self.begin(bytes)
                    };
                }
                ClientState::Body { kind, left } => {
                    let taken = rest.len().min(left as usize);
                    self.body(kind, &rest[..taken]);
                    at += taken;
                    self.state = ClientState::Body { kind, left: left - taken as u32 };
                }
            }
            if let ClientState::Body { kind, left: 0 } = self.state {
                self.state = HEADER;
                if let Some(batch) = self.end(kind) {
                    return Step { len: at, commit: Some(batch), start };
                }
            }
        }
        Step { len: bytes.len(), commit: None, start: None }
    }

    /// Stops following.
    pub(super) fn give_up(&mut self) {
        self.state = ClientState::Opaque;
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.head.capacity() + self.scan.held_bytes()
    }

    fn opening(&mut self, seen: u8, mut bytes: [u8; 8], byte: u8) {
        if seen == 0 && byte == TLS_HANDSHAKE {
            return self.give_up();
        }
        bytes[usize::from(seen)] = byte;
        if seen < 7 {
            self.state = ClientState::Opening { seen: seen + 1, bytes };
            return;
        }
        let [l0, l1, l2, l3, c0, c1, c2, c3] = bytes;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let major = u16::from_be_bytes([c0, c1]);
        self.state = match (u32::from_be_bytes([c0, c1, c2, c3]), length) {
            (SSL | GSS, 8) => {
                self.bare_answers = self.bare_answers.saturating_add(1);
                ClientState::default()
            }
            (CANCEL, _) => ClientState::Opaque,
            (_, length) if major == 3 && length > 8 => {
                self.asked = 1;
                ClientState::Startup { left: length - 8 }
            }
            _ => ClientState::Opaque,
        };
    }

    fn begin(&mut self, header: [u8; 5]) -> ClientState {
        let [kind, l0, l1, l2, l3] = header;
        self.head.clear();
        self.names = Names::Wanted;
        match u32::from_be_bytes([l0, l1, l2, l3]) {
            0..4 => ClientState::Opaque,
            length => ClientState::Body { kind, left: length - 4 },
        }
    }

    fn body(&mut self, kind: u8, bytes: &[u8]) {
        let wanted = match kind {
            b'Q' => return self.scan.feed(bytes),
            b'P' | b'E' => 1,
            b'B' => 2,
            b'C' => return self.collect(bytes, |head| head.len() > 1 && head.ends_with(&[0])),
            _ => return,
        };
        for (i, &byte) in bytes.iter().enumerate() {
            if self.names != Names::Wanted {
                if kind == b'P' {
                    self.scan.feed(&bytes[i..]);
                }
                return;
            }
            self.collect(&[byte], |head| head.iter().filter(|&&byte| byte == 0).count() == wanted);
        }
    }

    fn collect(&mut self, bytes: &[u8], complete: impl Fn(&[u8]) -> bool) {
        for &byte in bytes {
            match self.names {
                Names::Wanted if self.head.len() >= NAME => self.names = Names::TooLong,
                Names::Wanted => {
                    self.head.push(byte);
                    if complete(&self.head) {
                        self.names = Names::Known;
                    }
                }
                Names::Known | Names::TooLong => return,
            }
        }
    }

    /// Ends a message; answers the batch of its COMMIT.
    fn end(&mut self, kind: u8) -> Option<u64> {
        let known = self.names == Names::Known;
        let mut names = self.head.split(|&byte| byte == 0);
        let first = names.next().unwrap_or_default();
        match kind {
            b'Q' => {
                self.asked = self.asked.saturating_add(1);
                return self.scan.finish().then_some(self.asked);
            }
            b'S' | b'F' => self.asked = self.asked.saturating_add(1),
            b'P' => {
                let commit = self.scan.finish();
                if known {
                    remember(&mut self.statements, first, commit);
                }
            }
            b'B' if known => {
                let commit = self.statements.contains(names.next().unwrap_or_default());
                remember(&mut self.portals, first, commit);
            }
            b'E' if known && self.portals.contains(first) => return Some(self.asked.saturating_add(1)),
            b'C' if known => match first.split_first() {
                Some((b'S', name)) => drop(self.statements.remove(name)),
                Some((b'P', name)) => drop(self.portals.remove(name)),
                _ => {}
            },
            _ => {}
        }
        None
    }
}

fn remember(names: &mut HashSet<Vec<u8>>, name: &[u8], commit: bool) {
    if !commit {
        names.remove(name);
    } else if names.len() < NAMES {
        names.insert(name.to_vec());
    }
}

/// The server's half of one connection.
#[derive(Debug, Default)]
pub(super) struct Server {
    state: ServerState,
    /// Batches that ended with ReadyForQuery.
    ready: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerState {
    Header { seen: u8, bytes: [u8; 5] },
    Body { kind: u8, left: u32 },
    Opaque,
}

impl Default for ServerState {
    fn default() -> Self {
        Self::Header { seen: 0, bytes: [0; 5] }
    }
}

/// What a piece of the server's bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// So many bytes belong to what came before the awaited batch.
    pub(super) before: usize,
    /// The awaited COMMIT has been answered.
    pub(super) complete: bool,
    /// Where the awaited batch ends, if it ends here.
    pub(super) end: Option<usize>,
}

impl Server {
    /// Reads all of `bytes`; `awaited` is the batch whose answer the client must not see.
    pub(super) fn feed(&mut self, client: &mut Client, bytes: &[u8], awaited: Option<u64>) -> Answer {
        let reached = |ready: u64| awaited.is_some_and(|batch| ready.saturating_add(1) >= batch);
        let mut answer =
            Answer { before: if reached(self.ready) { 0 } else { bytes.len() }, complete: false, end: None };
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self.state {
                // Not to be followed: the first bytes after the COMMIT pass for its answer.
                ServerState::Opaque => {
                    answer.complete |= awaited.is_some();
                    return answer;
                }
                ServerState::Header { seen: 0, .. } if client.bare_answers > 0 => {
                    at += 1;
                    client.bare_answers -= 1;
                    if rest[0] != b'N' {
                        client.give_up();
                        self.state = ServerState::Opaque;
                    }
                }
                ServerState::Header { seen, mut bytes } => {
                    at += 1;
                    bytes[usize::from(seen)] = rest[0];
                    self.state =
                        if seen < 4 { ServerState::Header { seen: seen + 1, bytes } } else { begin(bytes) };
                }
                ServerState::Body { kind, left } => {
                    let taken = rest.len().min(left as usize);
                    at += taken;
                    self.state = ServerState::Body { kind, left: left - taken as u32 };
                }
            }
            if let ServerState::Body { kind, left: 0 } = self.state {
                self.state = ServerState::default();
                // CommandComplete of an earlier statement in the batch is no answer to the COMMIT;
                // an error is, since the server skips the rest of the batch.
                answer.complete |= reached(self.ready) && matches!(kind, b'E' | b'Z');
                if kind == b'Z' {
                    if reached(self.ready) && answer.end.is_none() {
                        answer.end = Some(at);
                    }
                    self.ready = self.ready.saturating_add(1);
                    if reached(self.ready) && answer.before == bytes.len() {
                        answer.before = at;
                    }
                }
            }
        }
        answer
    }
}

fn begin(header: [u8; 5]) -> ServerState {
    let [kind, l0, l1, l2, l3] = header;
    match u32::from_be_bytes([l0, l1, l2, l3]) {
        0..4 => ServerState::Opaque,
        length => ServerState::Body { kind, left: length - 4 },
    }
}

//! Writes down when each request came from a client, and when the end of its answer went back.
//!
//! Source: the PostgreSQL manual, "Message Flow": each Sync and each simple query is answered by one
//! ReadyForQuery, in order. It looks at the client's side of the proxy, so latency that the proxy adds is in
//! the time, as it is for the client. It follows no TLS: connect with `sslmode=disable`.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

/// So much of a message is read: a statement's text, the fields of an error.
const READ: usize = 1_024;

/// One request and its answer, as they passed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exchange {
    /// The beginning of the text of the last statement that it ran; empty where it ran none.
    pub text: String,
    /// When its first byte came from the client.
    pub began: Instant,
    /// When the end of the server's answer to it was passed on.
    pub ended: Instant,
    /// The rows in its answer.
    pub rows: u64,
    /// The SQLSTATE of the error in its answer.
    pub code: Option<String>,
}

/// Follows one connection.
#[derive(Debug, Default)]
pub(super) struct Follower {
    client: Cutter,
    server: Cutter,
    prepared: HashMap<Vec<u8>, String>,
    bound: String,
    building: Option<Exchange>,
    open: VecDeque<Exchange>,
}

impl Follower {
    pub(super) fn new() -> Self {
        // A client's first message has no type.
        Follower { client: Cutter { header: vec![0], ..Cutter::default() }, ..Follower::default() }
    }

    /// Bytes have come from the client.
    pub(super) fn came(&mut self, bytes: &[u8], now: Instant) {
        let Follower { client, prepared, bound, building, open, .. } = self;
        client.feed(bytes, now, |kind, began, body| {
            if kind == 0 {
                return;
            }
            let exchange = building.get_or_insert_with(|| Exchange {
                text: String::new(),
                began,
                ended: began,
                rows: 0,
                code: None,
            });
            let mut texts = body.split(|byte| *byte == 0);
            let mut next = || texts.next().unwrap_or_default();
            match kind {
                b'P' => drop(prepared.insert(next().to_vec(), String::from_utf8_lossy(next()).into_owned())),
                b'B' => {
                    *bound = prepared
                        .get({
                            next();
                            next()
                        })
                        .cloned()
                        .unwrap_or_default()
                }
                b'E' => exchange.text.clone_from(bound),
                b'Q' => exchange.text = String::from_utf8_lossy(next()).into_owned(),
                _ => {}
            }
            if matches!(kind, b'S' | b'Q' | b'F') {
                open.extend(building.take());
            }
        });
    }

    /// Bytes of the server go to the client; the exchanges that end with them.
    pub(super) fn goes(&mut self, bytes: &[u8], now: Instant) -> Vec<Exchange> {
        let (open, mut ended) = (&mut self.open, Vec::new());
        self.server.feed(bytes, now, |kind, _, body| match (kind, open.front_mut()) {
            (b'D', Some(exchange)) => exchange.rows += 1,
            (b'E', Some(exchange)) => exchange.code = code(body),
            (b'Z', _) => ended.extend(open.pop_front().map(|exchange| Exchange { ended: now, ..exchange })),
            _ => {}
        });
        ended
    }
}

/// The SQLSTATE in an error's fields.
fn code(fields: &[u8]) -> Option<String> {
    let code = fields.split(|byte| *byte == 0).find_map(|field| field.strip_prefix(b"C"))?;
    Some(String::from_utf8_lossy(code).into_owned())
}

/// Cuts bytes into messages; of each it hands on its type, when its first byte came, and its beginning.
#[derive(Debug, Default)]
struct Cutter {
    header: Vec<u8>,
    began: Option<Instant>,
    body: Vec<u8>,
    left: usize,
}

impl Cutter {
    fn feed(&mut self, mut bytes: &[u8], now: Instant, mut each: impl FnMut(u8, Instant, &[u8])) {
        while let Some((byte, rest)) = bytes.split_first() {
            let began = *self.began.get_or_insert(now);
            if self.header.len() < 5 {
                self.header.push(*byte);
                bytes = rest;
                if let [_, length @ ..] = &self.header[..]
                    && let Some(length) = length.first_chunk()
                {
                    self.left = (u32::from_be_bytes(*length) as usize).saturating_sub(4);
                }
            } else {
                let (now, rest) = bytes.split_at(self.left.min(bytes.len()));
                let wanted = now.len().min(READ - self.body.len());
                self.body.extend_from_slice(&now[..wanted]);
                self.left -= now.len();
                bytes = rest;
            }
            if self.header.len() == 5 && self.left == 0 {
                each(self.header[0], began, &self.body);
                *self = Cutter::default();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&[kind][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    #[test]
    fn each_request_has_its_text_its_rows_and_its_code_in_whatever_pieces_they_come() {
        let startup = [&9_u32.to_be_bytes()[..], b"hello"].concat();
        let client = [
            startup,
            message(b'P', b"s1\0SELECT a\0\0\0"),
            message(b'S', b""),
            message(b'B', b"\0s1\0\0\0\0\0\0\0"),
            message(b'E', b"\0\0\0\0\0"),
            message(b'S', b""),
            message(b'Q', b"SELECT b\0"),
        ]
        .concat();
        let login = [message(b'R', b"\0\0\0\0"), message(b'Z', b"I")].concat();
        let server = [
            message(b'1', b""),
            message(b'Z', b"I"),
            message(b'D', b"\0\0"),
            message(b'D', b"\0\0"),
            message(b'Z', b"I"),
            message(b'E', b"SERROR\0C22012\0Mdivision\0\0"),
            message(b'Z', b"I"),
        ]
        .concat();
        for size in [1, 3, 7, 1_000] {
            let (mut follower, now) = (Follower::new(), Instant::now());
            assert!(login.chunks(size).all(|piece| follower.goes(piece, now).is_empty()));
            client.chunks(size).for_each(|piece| follower.came(piece, now));
            let ended: Vec<Exchange> =
                server.chunks(size).flat_map(|piece| follower.goes(piece, now)).collect();
            let seen: Vec<_> =
                ended.iter().map(|ended| (&*ended.text, ended.rows, ended.code.as_deref())).collect();
            assert_eq!(seen, [("", 0, None), ("SELECT a", 2, None), ("SELECT b", 0, Some("22012"))]);
        }
    }
}

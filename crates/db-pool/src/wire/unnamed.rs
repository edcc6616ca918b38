//! Turns a client's named statements into unnamed ones, for poolers that lead each transaction to a server of
//! their own choice and do not follow what was prepared there.
//!
//! Source: the PostgreSQL manual, "Extended Query". The unnamed statement lasts until the next Parse, so what
//! a Bind or a Describe names is parsed again right before it, up to the same Sync, which no pooler tears
//! apart. The server's ParseComplete for a Parse that the client did not send is kept from the client.

use std::collections::{HashMap, VecDeque};

use super::frames::text;

/// What the client's and the server's messages become.
#[derive(Default)]
pub(super) struct Unnamed {
    /// What the client has prepared, by name: the rest of its Parse.
    statements: HashMap<Box<str>, Box<[u8]>>,
    /// The statement that is the unnamed one, as far as up to the next Sync.
    current: Option<Box<str>>,
    expected: VecDeque<Expected>,
    /// The client has ended a COPY in a request whose Sync the server has ignored meanwhile.
    ends_copy: bool,
    logged_in: bool,
}

/// What the server will say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// ParseComplete, and whether the client waits for it.
    Parsed { wanted: bool },
    /// ReadyForQuery.
    Ready { simple: bool },
}

impl Unnamed {
    /// Whether a client's message of this type must be there as a whole before it is passed on.
    pub(super) fn is_of_interest_to_client(tag: u8) -> bool {
        matches!(tag, b'P' | b'B' | b'D' | b'C' | b'S' | b'Q' | b'F' | b'c' | b'f')
    }

    /// The same of a server's.
    pub(super) fn is_of_interest_to_server(tag: u8) -> bool {
        matches!(tag, b'1' | b'Z')
    }

    /// Writes what a message of the client becomes.
    pub(super) fn client_said(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        let rewritten = match tag {
            b'P' => self.parses(body, out),
            b'B' => self.binds(body, out),
            b'D' => self.describes(body, out),
            b'C' => self.closes(body, out),
            _ => None,
        };
        match tag {
            b'S' => {
                self.current = None;
                if !std::mem::take(&mut self.ends_copy) {
                    self.expected.push_back(Expected::Ready { simple: false });
                }
            }
            b'Q' | b'F' => {
                self.current = None;
                self.expected.push_back(Expected::Ready { simple: true });
            }
            b'c' | b'f' => {
                let next = self.expected.iter().find(|expected| matches!(expected, Expected::Ready { .. }));
                self.ends_copy = next == Some(&Expected::Ready { simple: false });
            }
            _ => {}
        }
        if rewritten.is_none() {
            message(tag, &[body], out);
        }
    }

    /// Writes what a message of the server becomes: itself, or nothing.
    pub(super) fn server_said(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) {
        let wanted = match tag {
            b'1' => self.is_parsed(),
            b'Z' => {
                self.is_ready();
                true
            }
            _ => true,
        };
        if wanted {
            message(tag, &[body], out);
        }
    }

    fn parses(&mut self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        self.expected.push_back(Expected::Parsed { wanted: true });
        let (name, rest) = text(body)?;
        self.current = Some(name.into());
        if !name.is_empty() {
            self.statements.insert(name.into(), rest.into());
        }
        message(b'P', &[b"\0", rest], out);
        Some(())
    }

    fn binds(&mut self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (portal, rest) = text(body)?;
        let (name, rest) = text(rest)?;
        self.make_current(name, out)?;
        message(b'B', &[portal.as_bytes(), b"\0\0", rest], out);
        Some(())
    }

    fn describes(&mut self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (name, _) = text(body.strip_prefix(b"S")?)?;
        self.make_current(name, out)?;
        message(b'D', &[b"S\0"], out);
        Some(())
    }

    fn closes(&mut self, body: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let (name, _) = text(body.strip_prefix(b"S")?)?;
        self.statements.remove(name)?;
        self.current = None;
        message(b'C', &[b"S\0"], out);
        Some(())
    }

    /// Parses a statement again unless it is the unnamed one already; nothing where the client has not named
    /// it.
    fn make_current(&mut self, name: &str, out: &mut Vec<u8>) -> Option<()> {
        let rest = self.statements.get(name)?;
        if self.current.as_deref() != Some(name) {
            message(b'P', &[b"\0", rest], out);
            self.expected.push_back(Expected::Parsed { wanted: false });
            self.current = Some(name.into());
        }
        Some(())
    }

    /// Whether the client waits for this ParseComplete.
    fn is_parsed(&mut self) -> bool {
        let place = self.expected.iter().position(|expected| matches!(expected, Expected::Parsed { .. }));
        let parsed = place.and_then(|place| self.expected.drain(..=place).next_back());
        parsed != Some(Expected::Parsed { wanted: false })
    }

    /// What was expected before this ReadyForQuery does not come any more: an error made the server skip it.
    fn is_ready(&mut self) {
        if !std::mem::replace(&mut self.logged_in, true) {
            return;
        }
        let place = self.expected.iter().position(|expected| matches!(expected, Expected::Ready { .. }));
        self.expected.drain(..=place.unwrap_or_default().min(self.expected.len().saturating_sub(1)));
    }
}

/// Writes a message whose body is made of these parts.
fn message(tag: u8, parts: &[&[u8]], out: &mut Vec<u8>) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>() + 4;
    out.push(tag);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each message as its type and its body, in which a zero byte is a dot.
    fn shown(bytes: &[u8]) -> String {
        let (mut rest, mut all) = (bytes, Vec::new());
        while let [tag, length @ ..] = rest {
            let (length, body) = length.split_first_chunk::<4>().unwrap();
            let (body, after) = body.split_at(u32::from_be_bytes(*length) as usize - 4);
            all.push(format!("{}{}", char::from(*tag), String::from_utf8_lossy(body).replace('\0', ".")));
            rest = after;
        }
        all.join(" ")
    }

    fn client(unnamed: &mut Unnamed, messages: &[&str]) -> String {
        let mut out = Vec::new();
        for message in messages {
            let (tag, body) = message.split_at(1);
            unnamed.client_said(tag.as_bytes()[0], body.replace('.', "\0").as_bytes(), &mut out);
        }
        shown(&out)
    }

    fn server(unnamed: &mut Unnamed, messages: &[&str]) -> String {
        let mut out = Vec::new();
        for message in messages {
            let (tag, body) = message.split_at(1);
            unnamed.server_said(tag.as_bytes()[0], body.as_bytes(), &mut out);
        }
        shown(&out)
    }

    fn logged_in() -> Unnamed {
        let mut unnamed = Unnamed::default();
        assert_eq!(server(&mut unnamed, &["ZI"]), "ZI");
        unnamed
    }

    #[test]
    fn what_is_bound_is_parsed_right_before_it() {
        let mut unnamed = logged_in();
        assert_eq!(client(&mut unnamed, &["Ps1.SELECT 1...", "DSs1.", "S"]), "P.SELECT 1... DS. S");
        assert_eq!(server(&mut unnamed, &["1", "t", "T", "ZI"]), "1 t T ZI");
        assert_eq!(client(&mut unnamed, &["B.s1.args", "E...", "S"]), "P.SELECT 1... B..args E... S");
        assert_eq!(server(&mut unnamed, &["1", "2", "D", "C", "ZI"]), "2 D C ZI");
        assert_eq!(client(&mut unnamed, &["CSs1.", "S", "B.s1.args"]), "CS. S B.s1.args");
    }

    #[test]
    fn what_is_parsed_in_the_same_message_is_parsed_once() {
        let mut unnamed = logged_in();
        let sent = client(&mut unnamed, &["Pa.A..", "Pb.B..", "Bx.b.", "B.b.", "B.a.", "DSa.", "S"]);
        assert_eq!(
            sent,
            "P.A.. P.B.. Bx... B... P.A.. B... DS. S".replace("Bx...", "Bx..").replace("B...", "B..")
        );
        assert_eq!(server(&mut unnamed, &["1", "1", "2", "2", "1", "2", "ZI"]), "1 1 2 2 2 ZI");
    }

    #[test]
    fn after_an_error_only_what_the_next_request_asked_for_is_kept_back() {
        let mut unnamed = logged_in();
        client(&mut unnamed, &["Pa.A..", "S", "B.a.", "E", "S", "B.a.", "E", "S", "Pb.B..", "S"]);
        assert_eq!(server(&mut unnamed, &["1", "ZI", "E", "ZI"]), "1 ZI E ZI");
        assert_eq!(server(&mut unnamed, &["1", "E", "ZI", "1", "ZI"]), "E ZI 1 ZI");
        assert!(unnamed.expected.is_empty());
    }

    #[test]
    fn the_sync_that_a_copy_swallows_is_not_waited_for() {
        let mut unnamed = logged_in();
        client(&mut unnamed, &["Pa.COPY..", "S"]);
        server(&mut unnamed, &["1", "ZI"]);
        client(&mut unnamed, &["B.a.", "E", "S"]);
        assert_eq!(server(&mut unnamed, &["1", "2", "G"]), "2 G");
        client(&mut unnamed, &["drows", "c", "S", "QCOPY."]);
        assert_eq!(server(&mut unnamed, &["C", "ZI"]), "C ZI");
        client(&mut unnamed, &["c"]);
        client(&mut unnamed, &["B.a.", "S"]);
        assert_eq!(server(&mut unnamed, &["C", "ZI", "1", "2", "ZI"]), "C ZI 2 ZI");
        assert!(unnamed.expected.is_empty());
    }

    #[test]
    fn what_has_no_name_stays_as_it_is() {
        let mut unnamed = logged_in();
        let same = ["P.SELECT 1..", "B...", "DP.", "E...", "CP.", "S", "QSELECT 2."];
        assert_eq!(client(&mut unnamed, &same), same.join(" "));
        assert_eq!(server(&mut unnamed, &["1", "2", "C", "ZI", "ZI"]), "1 2 C ZI ZI");
    }
}

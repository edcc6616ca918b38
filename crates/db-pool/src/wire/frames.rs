//! Cuts a byte stream into PostgreSQL messages, whatever the pieces in which it arrives.
//!
//! Source: the PostgreSQL manual, "Message Formats". The bytes are hostile: a length is never believed for an
//! allocation, a message that cannot be is the end of the cutting, and nothing panics. A message that lies
//! whole in one piece is handed on without a copy, and one that nobody wants is skipped by its length.

/// One message, or several rows: its type byte and the beginning of its body, as far as it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    /// The type byte; [`STARTUP`] for the first message of a client, which has none.
    pub(crate) tag: u8,
    /// How many messages it stands for: rows of which nothing is wanted come as one where they lie side by
    /// side.
    pub(crate) count: u64,
    /// How long they are on the wire, headers included.
    pub(crate) len: usize,
    /// The body up to the length that was asked for.
    pub(crate) body: &'a [u8],
}

impl Frame<'_> {
    /// Whether the body was longer than what was asked for.
    pub(crate) fn is_cut(&self) -> bool {
        let header = if self.tag == STARTUP { 4 } else { 5 };
        self.body.len() + header < self.len
    }
}

/// The type of the message that has no type byte.
pub(crate) const STARTUP: u8 = 0;

/// The types of a row, of a result (DataRow) and of a COPY (CopyData). There may be millions, and what they
/// cost is what a tap costs.
const ROW: u8 = b'D';
const COPIED: u8 = b'd';

/// The cutter of one direction of one connection.
#[derive(Debug)]
pub(crate) struct Frames {
    part: Part,
}

#[derive(Debug)]
enum Part {
    /// Of a header, these bytes have come; a client's first has no type byte.
    Header { bytes: [u8; 5], have: usize, typed: bool },
    /// Of a body, this much is yet to come.
    Body { tag: u8, len: usize, missing: usize, keep: usize, kept: Vec<u8> },
    /// What came is no PostgreSQL.
    Broken,
}

impl Frames {
    /// The messages of a client, from its first byte.
    pub(crate) fn of_client() -> Self {
        Frames { part: Part::Header { bytes: [0; 5], have: 0, typed: false } }
    }

    /// The messages of a server.
    pub(crate) fn of_server() -> Self {
        Frames { part: HEADER }
    }

    /// Whether something came that cannot be a message; nothing is cut from then on.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.part, Part::Broken)
    }

    /// Whether a message has begun that has not ended.
    pub(crate) fn is_partway(&self) -> bool {
        !matches!(self.part, Part::Header { have: 0, .. })
    }

    /// The type of the message that has begun and not ended, where so much of it has come.
    pub(crate) fn under_way(&self) -> Option<u8> {
        match &self.part {
            Part::Header { bytes, have, typed: true } => bytes.first().copied().filter(|_| *have > 0),
            Part::Body { tag, .. } => Some(*tag),
            _ => None,
        }
    }

    /// How many of the next bytes belong to the message that has begun and not ended.
    pub(crate) fn remainder(&self, next: &[u8]) -> usize {
        match &self.part {
            Part::Broken => next.len(),
            Part::Header { have: 0, .. } => 0,
            Part::Header { bytes: header, have, typed } => {
                let mut header = *header;
                let from = if *typed { 0 } else { 1 };
                let missing = (5 - from - *have).min(next.len());
                header[from + *have..from + *have + missing].copy_from_slice(&next[..missing]);
                let whole = body_len(&header).filter(|_| *have + missing + from == 5);
                whole.map_or(next.len(), |body| body.saturating_add(missing).min(next.len()))
            }
            Part::Body { missing, .. } => (*missing).min(next.len()),
        }
    }

    /// Takes the next bytes, and calls `each` for every message that ends in them.
    ///
    /// `keep` says how many bytes of the body are wanted of a message of this type.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        keep: impl Fn(u8) -> usize,
        mut each: impl FnMut(Frame<'_>),
    ) {
        while !bytes.is_empty() {
            bytes = match &mut self.part {
                Part::Broken => return,
                Part::Header { bytes: header, have, typed } => {
                    // The common case: the whole message is here.
                    if let (0, true, Some((head, rest))) = (*have, *typed, bytes.split_first_chunk::<5>())
                        && let Some(body) = body_len(head)
                        && let Some((body, after)) = rest.split_at_checked(body)
                    {
                        let most = keep(head[0]);
                        let wanted = body.len().min(most);
                        let mut frame =
                            Frame { tag: head[0], count: 1, len: body.len() + 5, body: &body[..wanted] };
                        bytes = after;
                        while most == 0
                            && matches!(frame.tag, ROW | COPIED)
                            && let Some((row, after)) = whole_row(frame.tag, bytes)
                        {
                            frame.count += 1;
                            frame.len += row;
                            bytes = after;
                        }
                        each(frame);
                        continue;
                    }
                    let from = if *typed { 0 } else { 1 };
                    let taken = bytes.len().min(5 - from - *have);
                    header[from + *have..from + *have + taken].copy_from_slice(&bytes[..taken]);
                    *have += taken;
                    if *have + from == 5 {
                        self.part = match body_len(header) {
                            None => Part::Broken,
                            Some(missing) => Part::Body {
                                tag: header[0],
                                len: missing + 5 - from,
                                missing,
                                keep: keep(header[0]),
                                kept: Vec::new(),
                            },
                        };
                    }
                    &bytes[taken..]
                }
                Part::Body { missing, keep, kept, .. } => {
                    let taken = bytes.len().min(*missing);
                    let wanted = taken.min(*keep - kept.len());
                    kept.extend_from_slice(&bytes[..wanted]);
                    *missing -= taken;
                    &bytes[taken..]
                }
            };
            if let Part::Body { tag, len, missing: 0, kept, .. } = &self.part {
                each(Frame { tag: *tag, count: 1, len: *len, body: kept });
                self.part = HEADER;
            }
        }
    }
}

const HEADER: Part = Part::Header { bytes: [0; 5], have: 0, typed: true };

/// The length of the body, where the length that the header gives is one.
fn body_len(header: &[u8; 5]) -> Option<usize> {
    let [_, length @ ..] = *header;
    let length = i32::from_be_bytes(length);
    usize::try_from(length).ok()?.checked_sub(4)
}

/// The length of the row that the bytes begin with, and what follows it, where it is there as a whole.
fn whole_row(tag: u8, bytes: &[u8]) -> Option<(usize, &[u8])> {
    let head = bytes.first_chunk::<5>().filter(|head| head[0] == tag)?;
    let len = body_len(head)? + 5;
    Some((len, bytes.get(len..)?))
}

/// Reads the text up to the next zero byte, and what follows it.
pub(crate) fn text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// The message that the bytes begin with, where it is there as a whole, and what follows it.
pub(super) fn message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let length = u32::from_be_bytes(*rest.first_chunk()?);
    let (body, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((*tag, body.get(4..)?, after))
}

/// Writes a message.
pub(super) fn write(tag: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    out.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[tag][..], &length, body].concat()
    }

    fn cut(frames: &mut Frames, pieces: &[&[u8]], keep: usize) -> Vec<(u8, usize, Vec<u8>)> {
        let mut seen = Vec::new();
        for piece in pieces {
            frames.feed(piece, |_| keep, |frame| seen.push((frame.tag, frame.len, frame.body.to_vec())));
        }
        seen
    }

    /// Takes rows side by side together, of which nothing is wanted.
    fn together(frames: Vec<(u8, usize, Vec<u8>)>) -> Vec<(u8, usize, Vec<u8>)> {
        let mut all: Vec<(u8, usize, Vec<u8>)> = Vec::new();
        for (tag, len, body) in frames {
            match all.last_mut() {
                Some((same, before, kept))
                    if matches!(tag, ROW | COPIED) && *same == tag && kept.is_empty() && body.is_empty() =>
                {
                    *before += len
                }
                _ => all.push((tag, len, body)),
            }
        }
        all
    }

    #[test]
    fn a_client_begins_with_a_message_without_a_type() {
        let startup = [&9_u32.to_be_bytes()[..], b"hello"].concat();
        let bytes = [startup, message(b'Q', b"SELECT 1\0")].concat();
        let whole = cut(&mut Frames::of_client(), &[&bytes], 100);
        assert_eq!(whole, [(STARTUP, 9, b"hello".to_vec()), (b'Q', 14, b"SELECT 1\0".to_vec())]);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_cutting() {
        for length in [0_u32, 3, u32::MAX, 1 << 31] {
            let mut frames = Frames::of_server();
            let seen = cut(&mut frames, &[&[&b"Z"[..], &length.to_be_bytes(), b"IZZZZZ"].concat()], 9);
            assert!(seen.is_empty() && frames.is_broken(), "{length}");
        }
    }

    #[test]
    fn a_long_message_is_kept_only_as_far_as_wanted() {
        let bytes = message(b'd', &[7; 100_000]);
        let mut frames = Frames::of_server();
        let pieces: Vec<&[u8]> = bytes.chunks(1_000).collect();
        assert_eq!(cut(&mut frames, &pieces, 3), [(b'd', 100_005, vec![7; 3])]);
    }

    #[test]
    fn rows_side_by_side_come_as_one_and_are_counted() {
        let (row, end) = (message(ROW, &[7; 9]), message(b'C', b"SELECT 5\0"));
        let bytes = [row.repeat(3), row[..4].to_vec()].concat();
        let (mut frames, mut seen) = (Frames::of_server(), Vec::new());
        for piece in [&bytes, &[&row[4..], &row, &end].concat()] {
            frames.feed(piece, |_| 0, |frame| seen.push((frame.tag, frame.count, frame.len)));
        }
        assert_eq!(seen, [(ROW, 3, 42), (ROW, 1, 14), (ROW, 1, 14), (b'C', 1, 14)]);
    }

    #[test]
    fn rows_of_which_something_is_wanted_come_one_by_one() {
        let bytes = [message(ROW, &[]), message(ROW, &[7])].concat();
        let seen = cut(&mut Frames::of_server(), &[&bytes], 1);
        assert_eq!(seen, [(ROW, 5, vec![]), (ROW, 6, vec![7])]);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            bodies in prop::collection::vec(
                (prop_oneof![any::<u8>(), Just(ROW), Just(COPIED)], prop::collection::vec(any::<u8>(), 0..40)),
                0..20,
            ),
            sizes in prop::collection::vec(1_usize..12, 1..40),
            keep in prop_oneof![Just(0_usize), 0_usize..50],
        ) {
            let bytes: Vec<u8> = bodies.iter().flat_map(|(tag, body)| message(*tag, body)).collect();
            let mut pieces = Vec::new();
            let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                pieces.push(piece);
                rest = after;
            }
            let expected: Vec<_> = bodies
                .iter()
                .map(|(tag, body)| (*tag, body.len() + 5, body[..body.len().min(keep)].to_vec()))
                .collect();
            let seen = cut(&mut Frames::of_server(), &pieces, keep);
            prop_assert_eq!(together(seen), together(expected));
        }

        #[test]
        fn nothing_makes_it_panic(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..30),
            client in any::<bool>(),
        ) {
            let mut frames = if client { Frames::of_client() } else { Frames::of_server() };
            for piece in &pieces {
                frames.feed(piece, usize::from, |frame| assert!(frame.body.len() <= frame.len));
                let _ = text(piece);
            }
        }
    }
}

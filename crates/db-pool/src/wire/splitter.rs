//! Cuts one direction of a stream into messages: those of interest as a whole, the others as they come.

use super::buffered::empty;

/// Cuts one direction into messages: those of interest as a whole, the others as they come.
pub(super) struct Splitter {
    /// Whether the next message has a type byte; a client's first has none.
    typed: bool,
    /// Of a message that is cut in two: its header, and of one of interest its body.
    partial: Vec<u8>,
    /// So much of a message without interest is yet to come.
    passing: usize,
    /// What came is no PostgreSQL: it is passed on.
    broken: bool,
}

impl Default for Splitter {
    fn default() -> Self {
        Splitter { typed: true, partial: Vec::new(), passing: 0, broken: false }
    }
}

impl Splitter {
    /// The messages of a client, from its first byte.
    pub(super) fn of_client() -> Self {
        Splitter { typed: false, ..Splitter::default() }
    }

    /// Cuts no more: what it keeps of a message that has not come as a whole is passed on.
    pub(super) fn give_up(mut self, out: &mut Vec<u8>) {
        out.append(&mut self.partial);
    }

    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        of_interest: impl Fn(u8) -> bool,
        mut each: impl FnMut(u8, &[u8], &mut Vec<u8>),
    ) {
        while !bytes.is_empty() {
            if self.broken {
                return out.extend_from_slice(bytes);
            }
            if self.passing > 0 {
                let (now, rest) = bytes.split_at(self.passing.min(bytes.len()));
                out.extend_from_slice(now);
                self.passing -= now.len();
                bytes = rest;
                continue;
            }
            let header = if self.typed { 5 } else { 4 };
            let wanted = match self.length(header) {
                None => header,
                Some(length) => header - 4 + length,
            };
            let (now, rest) = bytes.split_at((wanted - self.partial.len()).min(bytes.len()));
            self.partial.extend_from_slice(now);
            bytes = rest;
            let Some(length) = self.length(header) else { continue };
            let tag = if self.typed { self.partial[0] } else { 0 };
            let whole = header - 4 + length;
            if length < 4 {
                self.broken = true;
                out.append(&mut self.partial);
            } else if !self.typed || !of_interest(tag) {
                self.passing = whole - self.partial.len();
                out.append(&mut self.partial);
                self.typed = true;
            } else if self.partial.len() == whole {
                each(tag, &self.partial[header..], out);
                empty(&mut self.partial);
            }
        }
    }

    /// The length that the header says, once it is there.
    fn length(&self, header: usize) -> Option<usize> {
        let length = self.partial.get(header - 4..header)?.first_chunk()?;
        Some(u32::from_be_bytes(*length) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        [&[tag][..], &u32::try_from(body.len() + 4).unwrap().to_be_bytes(), body].concat()
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_are_nothing_is_lost_and_what_is_of_interest_comes_whole(
            bodies in prop::collection::vec((prop::sample::select(&b"PQd"[..]), prop::collection::vec(any::<u8>(), 0..30)), 0..10),
            sizes in prop::collection::vec(1_usize..12, 1..40),
        ) {
            let startup = [&9_u32.to_be_bytes()[..], b"hello"].concat();
            let bytes: Vec<u8> = startup.iter().copied()
                .chain(bodies.iter().flat_map(|(tag, body)| message(*tag, body))).collect();
            let mut splitter = Splitter::of_client();
            let (mut out, mut seen) = (Vec::new(), Vec::new());
            let (mut rest, mut sizes) = (&bytes[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                splitter.feed(piece, &mut out, |tag| tag != b'd', |tag, body, out| {
                    seen.push((tag, body.to_vec()));
                    out.extend_from_slice(&message(tag, body));
                });
                rest = after;
            }
            prop_assert_eq!(out, bytes);
            prop_assert_eq!(seen, bodies.into_iter().filter(|(tag, _)| *tag != b'd').collect::<Vec<_>>());
        }

        #[test]
        fn nothing_makes_it_panic_or_wait(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut out = Vec::new();
            Splitter::default().feed(&bytes, &mut out, |_| false, |_, _, _| {});
            prop_assert!(out.len() + 4 >= bytes.len());
        }
    }
}

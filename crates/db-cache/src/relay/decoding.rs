//! Reads what pgoutput says of a transaction: where it begins, its logical messages, where it ends.
//!
//! Source: the PostgreSQL manual, "Logical Replication Message Formats".

use db_core::Lsn;

/// One message of pgoutput, as far as the relay cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoded {
    /// A transaction with this id begins.
    Begin(u32),
    /// A logical message of this prefix.
    Message { prefix: String, content: Vec<u8> },
    /// The transaction has committed, and its commit record ends here.
    Commit(Lsn),
    /// Something else: a change of a table, its description.
    Other,
}

/// Reads one message; none where it is cut short.
pub(crate) fn decode(bytes: &[u8]) -> Option<Decoded> {
    let (kind, mut rest) = bytes.split_first()?;
    let rest = &mut rest;
    Some(match kind {
        b'B' => {
            let (_commit, _at) = (number(rest)?, number(rest)?);
            Decoded::Begin(u32::from_be_bytes(take(rest)?))
        }
        b'M' => {
            let [_flags] = take(rest)?;
            number(rest)?;
            let end = rest.iter().position(|byte| *byte == 0)?;
            let prefix = String::from_utf8_lossy(&rest[..end]).into_owned();
            *rest = &rest[end + 1..];
            let length = usize::try_from(u32::from_be_bytes(take(rest)?)).ok()?;
            Decoded::Message { prefix, content: rest.get(..length)?.to_vec() }
        }
        b'C' => {
            let [_flags] = take(rest)?;
            number(rest)?;
            Decoded::Commit(Lsn(number(rest)?))
        }
        _ => Decoded::Other,
    })
}

fn number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_be_bytes)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn a_message_that_is_cut_short_is_none() {
        let whole = [&b"M\x01"[..], &7u64.to_be_bytes(), b"db_cache\0", &3u32.to_be_bytes(), b"abc"].concat();
        let read = Decoded::Message { prefix: "db_cache".to_owned(), content: b"abc".to_vec() };
        assert_eq!(decode(&whole), Some(read));
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
    }
}

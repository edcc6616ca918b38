//! Hashes the parameters of a Bind message, for observers that tell repeated statements apart.
//!
//! Source: the PostgreSQL manual, "Message Formats": format codes, then each parameter with its length, -1
//! for NULL.

use db_core::BindHashes;

/// The hashes of what follows the names in a Bind; of one that is cut, of what was read of it.
pub(super) fn hashes(body: &[u8]) -> BindHashes {
    let mut hashes = BindHashes::default();
    let _ = read(body, &mut hashes);
    hashes
}

fn read(body: &[u8], hashes: &mut BindHashes) -> Option<()> {
    let (formats, rest) = count(body)?;
    let (values, mut rest) = count(rest.get(formats * 2..)?)?;
    for _ in 0..values {
        let (length, values) = rest.split_first_chunk::<4>()?;
        rest = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, behind) = values.split_at_checked(length).unwrap_or((values, &[]));
                hashes.push(Some(value));
                behind
            }
            Err(_) => {
                hashes.push(None);
                values
            }
        };
    }
    Some(())
}

fn count(body: &[u8]) -> Option<(usize, &[u8])> {
    let (count, rest) = body.split_first_chunk::<2>()?;
    Some((usize::from(u16::from_be_bytes(*count)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = vec![0, 1, 0, 1];
        body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            match value {
                Some(value) => {
                    body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
                    body.extend(*value);
                }
                None => body.extend((-1_i32).to_be_bytes()),
            }
        }
        body
    }

    #[test]
    fn equal_values_have_equal_hashes_and_others_others() {
        let of = |values: &[Option<&[u8]>]| hashes(&bind(values));
        assert_eq!(of(&[Some(b"a"), None]), of(&[Some(b"a"), None]));
        assert_ne!(of(&[Some(b"a"), None]), of(&[None, Some(b"a")]));
        assert_ne!(of(&[Some(b"a"), Some(b"b")]), of(&[Some(b"ab")]));
        assert_ne!(of(&[Some(b"")]), of(&[None]));
        let many = |last: &'static [u8]| of(&[Some(b"x"), None, None, None, None, None, None, Some(last)]);
        assert!(many(b"1") == many(b"1") && many(b"1") != many(b"2") && many(b"1").count() == 8);
    }

    #[test]
    fn what_is_cut_or_wrong_is_read_as_far_as_it_goes() {
        let whole = bind(&[Some(b"abc"), Some(b"def")]);
        for end in 0..whole.len() {
            hashes(&whole[..end]);
        }
        hashes(&[0xff; 40]);
    }
}

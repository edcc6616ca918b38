//! The fingerprint of a statement: FNV-1a with 64 bits (Fowler, Noll, Vo) over the bytes of its normal form.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

use crate::normal::{self, Sink};

/// The fingerprint of one SQL text.
///
/// It takes one pass over the text and allocates nothing: about half a microsecond for 200 characters. A text
/// longer than [`LONGEST_TEXT`](crate::LONGEST_TEXT) is read that far.
///
/// ```
/// use db_statement::fingerprint;
///
/// let one = fingerprint("SELECT * FROM users WHERE id = 1");
/// assert_eq!(one, fingerprint("select * from users /* by id */ where id = $1"));
/// assert_ne!(one, fingerprint("SELECT * FROM orders WHERE id = 1"));
/// ```
pub fn fingerprint(text: &str) -> Fingerprint {
    let mut hash = Fnv(OFFSET);
    normal::write(text, &mut hash);
    Fingerprint(hash.0)
}

/// What all executions of a statement have in common, in 64 bits.
///
/// It is FNV-1a over the UTF-8 bytes of the [normal form](crate::normalize), so it is the same on every
/// platform, and any language can compute it from the normal form. It is not meant to withstand someone who
/// looks for collisions.
///
/// ```
/// use db_statement::{Fingerprint, fingerprint};
///
/// let shown = fingerprint("SELECT 1").to_string();
/// assert_eq!(shown, "02fb7a5a1a5a9a58");
/// assert_eq!(shown.parse(), Ok(fingerprint("SELECT 2")));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint with this number, as [`get`](Self::get) gave it.
    pub fn new(number: u64) -> Self {
        Fingerprint(number)
    }

    /// Its number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// Sixteen hexadecimal digits in lower case.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = NotAFingerprint;

    /// Reads sixteen hexadecimal digits, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, NotAFingerprint> {
        // from_str_radix would take a sign.
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAFingerprint(()));
        }
        u64::from_str_radix(text, 16).map(Fingerprint).map_err(|_| NotAFingerprint(()))
    }
}

/// A text that is no fingerprint.
///
/// ```
/// let error = "SELECT 1".parse::<db_statement::Fingerprint>().unwrap_err();
/// assert_eq!(error.to_string(), "not a fingerprint: give sixteen hexadecimal digits, as Fingerprint prints them");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAFingerprint(());

impl fmt::Display for NotAFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a fingerprint: give sixteen hexadecimal digits, as Fingerprint prints them")
    }
}

impl Error for NotAFingerprint {}

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0100_0000_01b3;

struct Fnv(u64);

impl Sink for Fnv {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fnv_1a_of_the_normal_form() {
        let text = "SELECT a, 'b' FROM \"T\" WHERE x IN ($1, $2)";
        let mut hash = Fnv(OFFSET);
        hash.bytes(crate::normalize(text).as_bytes());
        assert_eq!(fingerprint(text), Fingerprint(hash.0));
        // The reference vectors of the algorithm's authors: "" and "a".
        assert_eq!(fingerprint(" -- nothing"), Fingerprint(0xcbf2_9ce4_8422_2325));
        assert_eq!(fingerprint("A"), Fingerprint(0xaf63_dc4c_8601_ec8c));
    }

    #[test]
    fn only_sixteen_digits_are_read() {
        for wrong in ["", "1", "+00000000000000a", "00000000000000000", "000000000000000g", "é00000000000000"]
        {
            assert_eq!(wrong.parse::<Fingerprint>(), Err(NotAFingerprint(())), "{wrong}");
        }
        assert_eq!("00000000000000Ff".parse(), Ok(Fingerprint(255)));
    }
}

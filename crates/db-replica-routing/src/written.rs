//! What a session has written, in the form in which it travels from one request to the next.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::freshness::Freshness;
use crate::token::{InvalidToken, Token, hexadecimal};

/// What a session has written.
///
/// It travels as the token's text, or as `1.at.<milliseconds since 1970>` with the number in lower-case
/// hexadecimal. Whoever forges one gets reads from the primary, or misses its own writes, and harms nobody
/// else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Written {
    /// Everything that it wrote lies before this position.
    UpTo(Token),
    /// Everything that it wrote was written before this moment, where nobody could tell the position: the
    /// server hides it, or the answer to a COMMIT was lost.
    Before(SystemTime),
}

impl Written {
    /// How fresh a read must be to see it.
    pub fn freshness(self) -> Freshness {
        match self {
            Written::UpTo(token) => Freshness::AtLeast(token),
            Written::Before(moment) => Freshness::Since(moment),
        }
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Written::UpTo(token) => token.fmt(f),
            Written::Before(moment) => {
                let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
                // Rounded up: it must not be earlier than the moment.
                write!(f, "{}.at.{:x}", Token::VERSION, since.as_nanos().div_ceil(1_000_000))
            }
        }
    }
}

impl FromStr for Written {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let moment = text.strip_prefix(Token::VERSION).and_then(|rest| rest.strip_prefix(".at."));
        let Some(millis) = moment else { return Ok(Written::UpTo(text.parse()?)) };
        let since = Duration::from_millis(hexadecimal(millis)?);
        UNIX_EPOCH.checked_add(since).map(Written::Before).ok_or(InvalidToken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use db_core::Lsn;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_what_is_read_prints_the_same(text in "1\\.at\\.[0-9a-fA-F.+]{0,17}|[01at.]{0,9}") {
            if let Ok(written) = text.parse::<Written>() {
                prop_assert_eq!(written.to_string(), text);
            }
        }
    }

    #[test]
    fn it_travels_as_a_short_text() {
        let check = |written: Written, text: &str| {
            assert_eq!(written.to_string(), text);
            assert_eq!(text.parse(), Ok(written));
        };
        check(Written::UpTo(Token { system: 10, timeline: 1, position: Lsn(16) }), "1.a.1.10");
        check(Written::Before(UNIX_EPOCH + Duration::from_millis(255)), "1.at.ff");
        for text in
            ["1.at.", "1.at.-1", "1.at.FF", "1.at.0ff", "2.at.1", "1.at.1.1", "1.at.10000000000000000"]
        {
            assert_eq!(text.parse::<Written>(), Err(InvalidToken), "{text}");
        }
        let precise = UNIX_EPOCH + Duration::from_micros(1_001);
        assert_eq!(Written::Before(precise).to_string(), "1.at.2", "never earlier");
    }
}

//! What a session has written, as a position in the log that travels as a short string.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use db_core::{Lsn, Result};
use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

/// A position in the log of one cluster: whoever has replayed it has replayed all that was committed before
/// it was read.
///
/// It travels as `1.<system identifier>.<timeline>.<position>`, each in lower-case hexadecimal: letters,
/// digits and full stops only, at most 44 characters, fit for a header or a cookie. It holds no secret, and
/// none is needed: one that was forged or comes from another cluster costs its bearer a read from the
/// primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// The cluster's system identifier.
    pub system: u64,
    /// The timeline that the position lies on.
    pub timeline: u32,
    /// The position.
    pub position: Lsn,
}

/// A text that is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a token of version 1: expected 1.<system>.<timeline>.<position> in lower-case hexadecimal")]
pub struct InvalidToken;

/// The position at which this statement runs: not `pg_current_wal_lsn()`, which leaves out what a commit with
/// `synchronous_commit = off` has not yet written.
const READ: &str = "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()), \
    pg_catalog.left(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8), \
    pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text";

/// Its text is always the same, so that each connection prepares it once.
#[derive(Debug, Clone, Copy, QueryId)]
struct Read;

impl QueryFragment<Pg> for Read {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql(READ);
        Ok(())
    }
}

impl Query for Read {
    type SqlType = (BigInt, Nullable<Text>, Nullable<Text>);
}

impl Token {
    /// The only version so far.
    pub(crate) const VERSION: &'static str = "1";

    /// Reads the token that stands for all that was committed so far, on a connection to the primary.
    ///
    /// Read it after COMMIT has returned, or send it behind COMMIT on the same connection
    /// ([`SessionCommit`](crate::SessionCommit) does): one that was read before may not cover the
    /// transaction.
    ///
    /// # Errors
    /// The server's; where it offers no position, none is to be had and the session reads from the primary.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the statement to the connection's owner.
    pub async fn read(conn: &AsyncPgConnection) -> Result<Option<Token>> {
        type Row = (i64, Option<String>, Option<String>);
        let (system, timeline, position): Row = Read.get_result(&mut &*conn).await?;
        let timeline = timeline.and_then(|text| u32::from_str_radix(&text, 16).ok());
        let position = position.and_then(|text| text.parse().ok());
        let system = system.cast_unsigned();
        Ok(timeline.zip(position).map(|(timeline, position)| Token { system, timeline, position }))
    }

    /// The one that covers more: of the later timeline, and there of the greater position. Of two clusters',
    /// this one.
    #[must_use]
    pub fn merge(self, other: Token) -> Token {
        if other.partial_cmp(&self) == Some(Ordering::Greater) { other } else { self }
    }
}

/// Tokens of two clusters do not compare.
impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Token) -> Option<Ordering> {
        let comparable = self.system == other.system;
        comparable.then(|| (self.timeline, self.position).cmp(&(other.timeline, other.position)))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Token { system, timeline, position } = self;
        write!(f, "{}.{system:x}.{timeline:x}.{:x}", Token::VERSION, position.0)
    }
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(InvalidToken);
        if next()? != Token::VERSION {
            return Err(InvalidToken);
        }
        let (system, timeline, position) =
            (hexadecimal(next()?)?, hexadecimal(next()?)?, hexadecimal(next()?)?);
        let timeline = u32::try_from(timeline).map_err(|_| InvalidToken)?;
        match (next().is_err(), timeline) {
            (true, 1..) => Ok(Token { system, timeline, position: Lsn(position) }),
            _ => Err(InvalidToken),
        }
    }
}

/// Only what `Display` prints: one token has one text.
pub(crate) fn hexadecimal(text: &str) -> Result<u64, InvalidToken> {
    let plain = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let shortest = text == "0" || !text.starts_with('0');
    let number = u64::from_str_radix(text, 16).ok().filter(|_| plain && shortest);
    number.ok_or(InvalidToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token(system: u64, timeline: u32, position: u64) -> Token {
        Token { system, timeline, position: Lsn(position) }
    }

    proptest! {
        #[test]
        fn a_token_survives_being_printed(system: u64, timeline in 1_u32.., position: u64) {
            let printed = token(system, timeline, position).to_string();
            prop_assert!(printed.len() <= 44);
            prop_assert_eq!(printed.parse::<Token>().unwrap(), token(system, timeline, position));
        }

        #[test]
        fn no_text_makes_it_panic_and_what_is_read_prints_the_same(text in "[01a-fA-F.+ ]{0,24}|.{0,24}") {
            if let Ok(token) = text.parse::<Token>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for text in [
            "",
            "1",
            "1.a.1",
            "2.a.1.1",
            "1.a.0.1",
            "1.a.1.1.1",
            "1.A.1.1",
            "1.+a.1.1",
            "1.a.100000000.1",
            "1..1.1",
        ] {
            assert_eq!(text.parse::<Token>(), Err(InvalidToken), "{text:?}");
        }
    }

    #[test]
    fn merging_takes_what_covers_more() {
        let check = |a: Token, b: Token, merged: Token| assert_eq!(a.merge(b), merged, "{a} {b}");
        check(token(7, 1, 10), token(7, 1, 20), token(7, 1, 20));
        check(token(7, 1, 20), token(7, 1, 10), token(7, 1, 20));
        check(token(7, 1, 20), token(7, 2, 10), token(7, 2, 10));
        check(token(7, 1, 20), token(8, 9, 90), token(7, 1, 20));
    }
}

//! Whether a server is one that the URL asks for (`target_session_attrs`).

use db_core::{ConnectFailure, DatabaseUrl};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::transport::dial::Failed;

const QUERY: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
                     pg_catalog.current_setting('default_transaction_read_only')";

/// What a session must be. A preference is none: which server is tried next is the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
}

impl Wanted {
    /// `read_only` is whether we ourselves make every session read-only, which is then no reason.
    pub(crate) fn of(url: &DatabaseUrl, read_only: bool) -> Self {
        match url.param("target_session_attrs") {
            Some("read-write") if read_only => Wanted::Primary,
            Some("read-only") if read_only => Wanted::Any,
            Some("read-write") => Wanted::ReadWrite,
            Some("read-only") => Wanted::ReadOnly,
            Some("primary") => Wanted::Primary,
            Some("standby") => Wanted::Standby,
            _ => Wanted::Any,
        }
    }

    /// Refuses a session that is not what was asked for. `told` is what the server said at login, whether it
    /// is a standby and whether sessions are read-only; a pooler may say nothing, and is asked.
    pub(crate) async fn check(self, client: &Client, told: Option<(bool, bool)>) -> Result<(), Failed> {
        let (standby, read_only) = match (self, told) {
            (Wanted::Any, _) => return Ok(()),
            (_, Some(told)) => told,
            (_, None) => ask(client).await?,
        };
        let (fits, name) = self.judge(standby, read_only);
        if fits {
            return Ok(());
        }
        let is = if standby {
            "a standby"
        } else if read_only {
            "a primary whose sessions are read-only"
        } else {
            "a primary"
        };
        let reason = format!(
            "the server is {is}, and the URL asks for target_session_attrs={name}: name another host, or \
             leave it out"
        );
        Err((ConnectFailure::WrongRole, reason))
    }

    fn judge(self, standby: bool, read_only: bool) -> (bool, &'static str) {
        match self {
            Wanted::Any => (true, "any"),
            Wanted::ReadWrite => (!standby && !read_only, "read-write"),
            Wanted::ReadOnly => (standby || read_only, "read-only"),
            Wanted::Primary => (!standby, "primary"),
            Wanted::Standby => (standby, "standby"),
        }
    }
}

async fn ask(client: &Client) -> Result<(bool, bool), Failed> {
    let rows =
        client.simple_query(QUERY).await.map_err(|error| (ConnectFailure::Other, error.to_string()))?;
    let answer = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)? == "t", row.get(1)? == "on")),
        _ => None,
    });
    answer
        .ok_or_else(|| (ConnectFailure::Other, "the server does not say whether it is a standby".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wish_is_what_libpq_means_by_it() {
        let check = |wish: &str, expected: [bool; 4]| {
            let url = format!("postgres://ann@db/app?target_session_attrs={wish}").parse().unwrap();
            let wanted = Wanted::of(&url, false);
            let servers = [(false, false), (false, true), (true, false), (true, true)];
            assert_eq!(
                servers.map(|(standby, read_only)| wanted.judge(standby, read_only).0),
                expected,
                "{wish}"
            );
        };
        check("any", [true; 4]);
        check("prefer-standby", [true; 4]);
        check("read-write", [true, false, false, false]);
        check("read-only", [false, true, true, true]);
        check("primary", [true, true, false, false]);
        check("standby", [false, false, true, true]);
        let url = "postgres://ann@db/app?target_session_attrs=read-write".parse().unwrap();
        assert_eq!(Wanted::of(&url, true), Wanted::Primary, "that we refuse writes is no reason");
    }
}

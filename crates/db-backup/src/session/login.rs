//! Logs a session in: the startup message, SCRAM, MD5 or a password, and the session's own settings.

use db_core::DatabaseUrl;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{AuthenticationSaslBody, Message};
use postgres_protocol::message::frontend;

use fallible_iterator::FallibleIterator;

use super::{Session, SessionError};

/// What no role's and no database's setting may do to a long and silent session.
///
/// They are set by name in the startup message's options, which come after those of role and database.
const OPTIONS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 \
                       -c idle_session_timeout=0 \
                       -c client_min_messages=warning -c datestyle=ISO -c timezone=UTC";

/// Names in our own statements mean the server's own functions and tables, whatever somebody has put in front
/// of them.
const OWN_NAMES: &str = " -c search_path=pg_catalog";

pub(super) async fn login(
    session: &mut Session,
    url: &DatabaseUrl,
    replication: bool,
) -> Result<(), SessionError> {
    let config = url.postgres_config(&session.endpoint);
    let name = config.get_application_name().unwrap_or("db-backup").to_owned();
    let own_names = if replication { OWN_NAMES } else { "" };
    let options = format!("{} {OPTIONS}{own_names}", config.get_options().unwrap_or_default());
    let parameters = [
        ("user", url.user()),
        ("database", url.database()),
        ("replication", if replication { "database" } else { "false" }),
        ("application_name", name.as_str()),
        ("client_encoding", "UTF8"),
        ("options", options.as_str()),
    ];
    frontend::startup_message(parameters, &mut session.to_send).map_err(|source| session.lost(&source))?;
    session.flush().await?;
    authenticate(session, url, config.get_password()).await?;
    loop {
        match session.message().await? {
            Message::ReadyForQuery(_) => break,
            Message::ErrorResponse(body) => return Err(SessionError::from_server(&body)),
            Message::BackendKeyData(_) => {}
            _ => return Err(session.protocol("the end of the login")),
        }
    }
    let version = session.value("SHOW server_version_num").await?;
    session.version = version.parse().map_err(|_| session.protocol("its version"))?;
    // Older versions do not know it, and refuse a session that names it.
    if session.major() >= 17 {
        session.rows("SET transaction_timeout = 0").await?;
    }
    Ok(())
}

async fn authenticate(
    session: &mut Session,
    url: &DatabaseUrl,
    password: Option<&[u8]>,
) -> Result<(), SessionError> {
    let endpoint = session.endpoint.clone();
    let needed = || password.ok_or(SessionError::NoPassword { endpoint: endpoint.clone() });
    let other = |method| SessionError::Method { endpoint: endpoint.clone(), method };
    loop {
        match session.message().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                frontend::password_message(needed()?, &mut session.to_send)
                    .map_err(|source| session.lost(&source))?;
                session.flush().await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(url.user().as_bytes(), needed()?, body.salt());
                frontend::password_message(hash.as_bytes(), &mut session.to_send)
                    .map_err(|source| session.lost(&source))?;
                session.flush().await?;
            }
            Message::AuthenticationSasl(body) => scram(session, &body, needed()?).await?,
            Message::AuthenticationGss | Message::AuthenticationKerberosV5 => return Err(other("Kerberos")),
            Message::AuthenticationSspi => return Err(other("SSPI")),
            Message::ErrorResponse(body) => return Err(SessionError::from_server(&body)),
            _ => return Err(session.protocol("a question for a password")),
        }
    }
}

async fn scram(
    session: &mut Session,
    body: &AuthenticationSaslBody,
    password: &[u8],
) -> Result<(), SessionError> {
    let offered: Vec<String> = body
        .mechanisms()
        .map(|name| Ok(name.to_owned()))
        .collect()
        .map_err(|source| session.lost(&source))?;
    if !offered.iter().any(|name| name == SCRAM_SHA_256) {
        return Err(SessionError::Method {
            endpoint: session.endpoint.clone(),
            method: "another SASL mechanism",
        });
    }
    let mut scram = ScramSha256::new(password, ChannelBinding::unsupported());
    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut session.to_send)
        .map_err(|source| session.lost(&source))?;
    session.flush().await?;
    match session.message().await? {
        Message::AuthenticationSaslContinue(body) => {
            scram.update(body.data()).map_err(|source| session.lost(&source))?;
        }
        Message::ErrorResponse(body) => return Err(SessionError::from_server(&body)),
        _ => return Err(session.protocol("its part of SCRAM")),
    }
    frontend::sasl_response(scram.message(), &mut session.to_send).map_err(|source| session.lost(&source))?;
    session.flush().await?;
    match session.message().await? {
        Message::AuthenticationSaslFinal(body) => {
            scram.finish(body.data()).map_err(|source| session.lost(&source))
        }
        Message::ErrorResponse(body) => Err(SessionError::from_server(&body)),
        _ => Err(session.protocol("the end of SCRAM")),
    }
}

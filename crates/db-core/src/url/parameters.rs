//! The parameters of a connection URL: which there are, what they may say, and which cannot be kept.
//!
//! A parameter that asks for more safety than there is refuses the whole URL: ignoring it would give less
//! than was asked for.

use std::collections::BTreeMap;

use super::said::decode;
use super::{InvalidUrl, SslMode, options};
use crate::settings::distance;

/// Parameters that are taken as libpq takes them; another name is most often a misspelling, and an error.
const KNOWN: [&str; 27] = [
    "application_name",
    "channel_binding",
    "client_encoding",
    "connect_timeout",
    "dbname",
    "fallback_application_name",
    "gssencmode",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "sslsni",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// Those of them that the URL may also say before its question mark.
pub(super) const BEFORE_THE_QUESTION: [&str; 6] = ["dbname", "host", "hostaddr", "password", "port", "user"];

/// Those that are no part of the URL before its question mark.
pub(super) fn filled() -> impl Iterator<Item = &'static str> {
    KNOWN.into_iter().filter(|name| !BEFORE_THE_QUESTION.contains(name))
}

const NO_GSSAPI: &str = "GSSAPI is not; leave it out, and log in with a password or a certificate";
const NO_OAUTH: &str = "OAuth is not; leave it out, and log in with a password or a certificate";
const NO_REVOCATION: &str = "revocation lists are not read; use certificates that live short";
const SERVER_CHOOSES: &str = "leave it out: version 3.0 is spoken, which every server knows";

/// Parameters of libpq's and of other clients that are not taken, and what to do instead.
const REFUSED: [(&str, &str); 43] = [
    ("authtype", "leave it out: libpq does nothing with it either"),
    ("gssdelegation", NO_GSSAPI),
    ("gsslib", NO_GSSAPI),
    ("krbsrvname", NO_GSSAPI),
    ("max_protocol_version", SERVER_CHOOSES),
    ("min_protocol_version", SERVER_CHOOSES),
    ("oauth_client_id", NO_OAUTH),
    ("oauth_client_secret", NO_OAUTH),
    ("oauth_issuer", NO_OAUTH),
    ("oauth_scope", NO_OAUTH),
    ("replication", "leave it out: these connections run SQL"),
    (
        "require_auth",
        "use channel_binding=require or sslmode=verify-full, and name the method in pg_hba.conf",
    ),
    ("requirepeer", "make the socket's directory writable for the server's user alone"),
    ("requiressl", "write sslmode=require"),
    ("scram_client_key", "give the password, or none and a passfile"),
    ("scram_server_key", "give the password, or none and a passfile"),
    ("service", "set PGSERVICE, or write what the service file says into the URL"),
    ("servicefile", "set PGSERVICEFILE"),
    ("ssl_max_protocol_version", "set it on the server"),
    ("ssl_min_protocol_version", "TLS 1.2 is the least; for more, set it on the server"),
    ("sslcertmode", "leave sslcert out to send no certificate"),
    ("sslcompression", "there is no compression"),
    ("sslcrl", NO_REVOCATION),
    ("sslcrldir", NO_REVOCATION),
    ("sslkeylogfile", "keys are not written anywhere"),
    ("sslpassword", "give a key that is not encrypted, in a file that only its owner can read"),
    ("tty", "leave it out: libpq does nothing with it either"),
    // Of other clients: Prisma, JDBC, node-postgres, sqlx.
    ("ApplicationName", "write application_name"),
    ("connection_limit", "set DB_POOL_MAX"),
    ("currentSchema", "write options=-csearch_path%3D and the schema's name"),
    ("loginTimeout", "write connect_timeout, in seconds"),
    ("max_idle_connection_lifetime", "set DB_POOL_IDLE_TIMEOUT"),
    ("pgbouncer", "set DB_PREPARED_STATEMENTS=false, if the pooler does not follow prepared statements"),
    ("pool_timeout", "set DB_POOL_TIMEOUT, with its unit"),
    ("schema", "write options=-csearch_path%3D and the schema's name, as in options=-csearch_path%3Dpublic"),
    ("socketTimeout", "set DB_SOCKET_TIMEOUT, with its unit"),
    ("socket_timeout", "set DB_SOCKET_TIMEOUT, with its unit"),
    ("ssl", "write sslmode=require to encrypt, or sslmode=verify-full to know the server as well"),
    ("sslaccept", "write sslmode=verify-full, or sslmode=require to take any certificate"),
    ("statement-cache-capacity", "set DB_MAX_PREPARED_STATEMENTS"),
    ("statement_cache_size", "set DB_MAX_PREPARED_STATEMENTS"),
    ("statement_timeout", "write options=-cstatement_timeout%3D and the time, or set DB_QUERY_TIMEOUT"),
    ("targetServerType", "write target_session_attrs"),
];

/// Parameters with a few values.
const CHOICES: [(&str, &[&str], &str); 7] = [
    ("channel_binding", &["disable", "prefer", "require"], "disable, prefer, require"),
    // Refusing to connect in the clear is what sslmode is for.
    ("gssencmode", &["disable", "prefer"], "disable, prefer (GSSAPI is not supported)"),
    ("keepalives", &["0", "1"], "0, 1"),
    ("load_balance_hosts", &["disable", "random"], "disable, random"),
    ("sslnegotiation", &["postgres", "direct"], "postgres, direct"),
    ("sslsni", &["0", "1"], "0, 1"),
    (
        "target_session_attrs",
        &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"],
        "any, read-write, read-only, primary, standby, prefer-standby",
    ),
];

const NUMBERS: [&str; 4] = ["keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"];

/// The parameters in the part of the URL behind its question mark.
pub(super) fn parse(query: &str) -> Result<BTreeMap<String, String>, InvalidUrl> {
    let mut params = BTreeMap::new();
    for (place, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (name, value) = pair.split_once('=').ok_or(InvalidUrl::NoValue(place + 1))?;
        let name = decode(name, "parameter name")?;
        check_name(place + 1, &name)?;
        let value = decode(value, "parameter value")?;
        check_value(&name, &value)?;
        params.insert(name, value);
    }
    Ok(params)
}

/// Whether there is a parameter of this name.
pub(super) fn check_name(place: usize, name: &str) -> Result<(), InvalidUrl> {
    if let Some((name, instead)) = REFUSED.into_iter().find(|(refused, _)| *refused == name) {
        return Err(InvalidUrl::Unsupported { name, instead });
    }
    if KNOWN.contains(&name) { Ok(()) } else { Err(unknown(place, name)) }
}

/// It may be the rest of a password, so that only a name of ours is shown.
fn unknown(place: usize, name: &str) -> InvalidUrl {
    let near = |known: &&str| name.len() < 64 && distance(name, known) <= 1 + known.len() / 12;
    match KNOWN.into_iter().find(near) {
        Some(meant) => InvalidUrl::Misspelt { place, meant },
        None => InvalidUrl::Parameter(place),
    }
}

/// Whether a parameter may have this value by itself.
pub(super) fn check_value(name: &str, value: &str) -> Result<(), InvalidUrl> {
    if name == "sslmode" && SslMode::from_name(value).is_none() {
        return Err(InvalidUrl::SslMode);
    }
    if let Some(&(name, values, one_of)) = CHOICES.iter().find(|(choice, ..)| *choice == name)
        && !values.contains(&value)
    {
        return Err(InvalidUrl::Value { name, one_of });
    }
    if let Some(name) = NUMBERS.into_iter().find(|number| *number == name)
        && value.parse::<u32>().is_err()
    {
        return Err(InvalidUrl::Value { name, one_of: "0, 1, 2, …" });
    }
    if name == "connect_timeout" && value.trim().parse::<i32>().is_err() {
        return Err(InvalidUrl::Value { name: "connect_timeout", one_of: "0 (no limit), 1, 2, … seconds" });
    }
    let encoding = match name {
        "client_encoding" => Some(value.to_owned()),
        "options" => options::settings(value).remove("client_encoding"),
        _ => None,
    };
    if encoding.is_some_and(|encoding| !is_utf8(&encoding)) {
        return Err(InvalidUrl::Value { name: "client_encoding", one_of: "UTF8 (Rust's texts are)" });
    }
    Ok(())
}

fn is_utf8(encoding: &str) -> bool {
    let letters: String = encoding.chars().filter(char::is_ascii_alphanumeric).collect();
    letters.eq_ignore_ascii_case("utf8") || letters.eq_ignore_ascii_case("unicode")
}

pub(super) fn check_together(params: &BTreeMap<String, String>) -> Result<(), InvalidUrl> {
    let value = |name: &str| params.get(name).map(String::as_str);
    let mode = value("sslmode").and_then(SslMode::from_name);
    let least = |asked: &str, least: SslMode, what: &'static str| {
        let (name, wanted) = asked.split_once('=').unwrap_or((asked, ""));
        let weak = value(name) == Some(wanted) && mode.is_some_and(|mode| mode < least);
        if weak { Err(InvalidUrl::WeakSslMode { what, least }) } else { Ok(()) }
    };
    least("sslrootcert=system", SslMode::VerifyFull, "sslrootcert=system")?;
    least("sslnegotiation=direct", SslMode::Require, "sslnegotiation=direct")?;
    if value("sslcert").is_some() != value("sslkey").is_some() {
        return Err(InvalidUrl::CertificateAndKey);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: Option<&str>) {
        let found =
            parse(query).and_then(|params| check_together(&params)).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected, "{query}");
    }

    #[test]
    fn what_would_be_less_safe_than_was_asked_for_is_refused() {
        check(
            "require_auth=scram-sha-256",
            Some(
                "require_auth is not supported: use channel_binding=require or sslmode=verify-full, and name \
                 the method in pg_hba.conf",
            ),
        );
        check("requiressl=1", Some("requiressl is not supported: write sslmode=require"));
        check("gssencmode=require", Some("gssencmode is none of disable, prefer (GSSAPI is not supported)"));
        check(
            "sslrootcert=system&sslmode=require",
            Some("sslrootcert=system needs sslmode=verify-full or stronger, or no sslmode"),
        );
        check(
            "sslmode=prefer&sslnegotiation=direct",
            Some("sslnegotiation=direct needs sslmode=require or stronger, or no sslmode"),
        );
        check("sslcert=/me.pem", Some("sslcert and sslkey go together (both may name the same file)"));
    }

    #[test]
    fn what_can_be_kept_is_taken() {
        check("channel_binding=require&sslmode=require", None);
        check("sslrootcert=system&sslmode=verify-full&sslnegotiation=direct&sslsni=0", None);
        check("sslcert=/me.pem&sslkey=/me.pem&keepalives=1&keepalives_idle=30&gssencmode=disable", None);
        check("channel_binding=yes", Some("channel_binding is none of disable, prefer, require"));
        check("keepalives_idle=soon", Some("keepalives_idle is none of 0, 1, 2, …"));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name_with_the_way_out() {
        for (query, way_out) in [
            ("ssl=true", "ssl is not supported: write sslmode=require"),
            ("schema=public", "schema is not supported: write options=-csearch_path%3D"),
            ("connection_limit=10", "connection_limit is not supported: set DB_POOL_MAX"),
            ("pool_timeout=10", "pool_timeout is not supported: set DB_POOL_TIMEOUT"),
            ("pgbouncer=true", "pgbouncer is not supported: set DB_PREPARED_STATEMENTS=false"),
            ("krbsrvname=pg", "krbsrvname is not supported: GSSAPI is not"),
            ("connect_timeout=soon", "connect_timeout is none of 0 (no limit), 1, 2, … seconds"),
            ("target_session_attrs=nonsense", "target_session_attrs is none of any, read-write"),
            ("client_encoding=LATIN1", "client_encoding is none of UTF8"),
            ("options=-c%20client_encoding%3Dlatin1", "client_encoding is none of UTF8"),
            ("sslmod=require", "parameter 1 looks like sslmode, which it is not"),
            ("hunter2=1", "parameter 1 is none that is known"),
        ] {
            let said = parse(query).unwrap_err().to_string();
            assert!(said.starts_with(way_out), "{query}: {said}");
        }
        for (name, _) in REFUSED {
            assert!(!KNOWN.contains(&name), "{name}");
            assert!(parse(&format!("{name}=1")).unwrap_err().to_string().contains(name), "{name}");
        }
    }

    #[test]
    fn what_libpq_takes_is_taken() {
        check("connect_timeout=0&client_encoding=utf-8&fallback_application_name=till", None);
        check("target_session_attrs=prefer-standby&load_balance_hosts=random&passfile=/p", None);
        check("options=-c%20client_encoding%3DUTF8%20--statement-timeout%3D7s", None);
        check("sslmode=verify-ca", None);
    }
}

//! The parameters of a connection URL: which there are, what they may say, and which cannot be kept.
//!
//! A parameter that asks for more safety than there is refuses the whole URL: ignoring it would give less than was
//! asked for.

use std::collections::BTreeMap;

use super::{InvalidUrl, SslMode, decode};

/// Parameters that libpq knows; another name is most often a misspelling, and an error.
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
    "krbsrvname",
    "load_balance_hosts",
    "options",
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

/// Parameters of libpq's that are not supported, and what to do instead.
const REFUSED: [(&str, &str); 12] = [
    ("passfile", "set the password another way"),
    (
        "require_auth",
        "use channel_binding=require or sslmode=verify-full, and name the method in pg_hba.conf",
    ),
    ("requirepeer", "make the socket's directory writable for the server's user alone"),
    ("requiressl", "write sslmode=require"),
    ("service", "write what the service file says into the URL"),
    ("ssl_max_protocol_version", "set it on the server"),
    ("ssl_min_protocol_version", "TLS 1.2 is the least; for more, set it on the server"),
    ("sslcertmode", "leave sslcert out to send no certificate"),
    ("sslcompression", "there is no compression"),
    ("sslcrl", "revocation lists are not read; use certificates that live short"),
    ("sslcrldir", "revocation lists are not read; use certificates that live short"),
    ("sslpassword", "give a key that is not encrypted, in a file that only its owner can read"),
];

/// Parameters with a few values.
const CHOICES: [(&str, &[&str], &str); 6] = [
    ("channel_binding", &["disable", "prefer", "require"], "disable, prefer, require"),
    // Refusing to connect in the clear is what sslmode is for.
    ("gssencmode", &["disable", "prefer"], "disable, prefer (GSSAPI is not supported)"),
    ("keepalives", &["0", "1"], "0, 1"),
    ("load_balance_hosts", &["disable", "random"], "disable, random"),
    ("sslnegotiation", &["postgres", "direct"], "postgres, direct"),
    ("sslsni", &["0", "1"], "0, 1"),
];

const NUMBERS: [&str; 4] = ["keepalives_count", "keepalives_idle", "keepalives_interval", "tcp_user_timeout"];

/// The parameters in the part of the URL behind its question mark.
pub(super) fn parse(query: &str) -> Result<BTreeMap<String, String>, InvalidUrl> {
    let mut params = BTreeMap::new();
    for (place, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        let (name, value) = pair.split_once('=').ok_or(InvalidUrl::NoValue(place + 1))?;
        let name = decode(name, "parameter name")?;
        if let Some((name, instead)) = REFUSED.into_iter().find(|(refused, _)| *refused == name) {
            return Err(InvalidUrl::Unsupported { name, instead });
        }
        if !KNOWN.contains(&name.as_str()) {
            return Err(InvalidUrl::Parameter(place + 1));
        }
        let value = decode(value, "parameter value")?;
        check_value(&name, &value)?;
        params.insert(name, value);
    }
    check_together(&params)?;
    Ok(params)
}

fn check_value(name: &str, value: &str) -> Result<(), InvalidUrl> {
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
    Ok(())
}

fn check_together(params: &BTreeMap<String, String>) -> Result<(), InvalidUrl> {
    let value = |name: &str| params.get(name).map(String::as_str);
    let mode = value("sslmode").and_then(SslMode::from_name);
    let least = |asked: &str, least: SslMode, what: &'static str| {
        let (name, wanted) = asked.split_once('=').unwrap_or((asked, ""));
        let weak = value(name) == Some(wanted) && mode.is_some_and(|mode| mode < least);
        if weak { Err(InvalidUrl::WeakSslMode { what, least }) } else { Ok(()) }
    };
    least("sslrootcert=system", SslMode::VerifyFull, "sslrootcert=system")?;
    least("sslnegotiation=direct", SslMode::Require, "sslnegotiation=direct")?;
    if mode == Some(SslMode::VerifyCa) && value("sslrootcert").is_none() {
        return Err(InvalidUrl::RootCertificate);
    }
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
        let found = parse(query).err().map(|error| error.to_string());
        assert_eq!(found.as_deref(), expected, "{query}");
    }

    #[test]
    fn what_would_be_less_safe_than_was_asked_for_is_refused() {
        check(
            "require_auth=scram-sha-256",
            Some(
                "require_auth is not supported: use channel_binding=require or sslmode=verify-full, and name the \
                 method in pg_hba.conf",
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
        check(
            "sslmode=verify-ca",
            Some(
                "sslmode=verify-ca needs sslrootcert: of the system's authorities anyone can have a certificate; or use \
                 verify-full",
            ),
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
}

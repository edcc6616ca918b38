//! Says why a handshake failed, and what to do about it.

use std::io;

use db_core::ConnectFailure;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{CertificateError, Error};

use crate::transport::dial::Failed;

/// The failure that ended a handshake. `roots` says where the trusted authorities come from.
pub(super) fn explain(error: &io::Error, roots: &str, direct: bool) -> Failed {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    let reason = match cause {
        Some(Error::InvalidCertificate(error)) => certificate(error, roots),
        Some(Error::AlertReceived(alert)) => {
            format!("the server refused the handshake ({alert:?}); see its log")
        }
        Some(Error::PeerIncompatible(why)) => {
            format!("the server has no TLS version or cipher that is safe today, at least TLS 1.2 ({why:?})")
        }
        Some(error) => format!("the handshake failed: {error}"),
        None => {
            let hint =
                if direct { " (servers before PostgreSQL 17 end it with sslnegotiation=direct)" } else { "" };
            let reason = format!("the connection was lost during the handshake: {error}{hint}");
            return (ConnectFailure::Other, reason);
        }
    };
    (ConnectFailure::Tls, reason)
}

fn certificate(error: &CertificateError, roots: &str) -> String {
    match error {
        CertificateError::UnknownIssuer => format!(
            "the server's certificate was issued by no authority in {roots}; name the authority's certificate with \
             sslrootcert"
        ),
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired {} ago; renew it there, or check this machine's clock",
            between(*not_after, *time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the server's certificate becomes valid only in {}; check this machine's clock and the server's",
            between(*time, *not_before)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => wrong_name(expected, presented),
        CertificateError::Other(other) => {
            format!("the server's certificate is not accepted: {}", unusual(&other.0))
        }
        // It holds the certificate's names and numbers at most.
        other => format!("the server's certificate is not accepted: {other}"),
    }
}

/// What the chain's rules do not allow, by the verifier's name for it.
fn unusual(error: &dyn std::error::Error) -> String {
    let name = error.to_string();
    let advice = match name.as_str() {
        "CaUsedAsEndEntity" => "it signed itself and is not the one that sslrootcert names",
        "UnsupportedCertVersion" => "it is of X.509 version 1; issue one of version 3 with a subjectAltName",
        _ => "issue another one",
    };
    format!("{advice} ({name})")
}

fn wrong_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    let host = expected.to_str();
    if presented.is_empty() {
        return format!(
            "the server's certificate names no host, and must name {host} as subjectAltName (its common name does not \
             count); issue it so"
        );
    }
    // rustls gives them as in `DnsName("db")`.
    let bare = |name: &String| {
        let inside = name.split_once('(').map_or(name.as_str(), |(_, rest)| rest.trim_end_matches(')'));
        inside.trim_matches('"').to_owned()
    };
    let names: Vec<String> = presented.iter().map(bare).collect();
    format!(
        "the server's certificate is for {} and not for {host}; connect by a name that it has, or issue it for this one",
        names.join(", ")
    )
}

fn between(from: UnixTime, to: UnixTime) -> String {
    let seconds = to.as_secs().saturating_sub(from.as_secs());
    match seconds {
        0..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

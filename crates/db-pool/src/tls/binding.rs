//! Channel binding: the hash of the server's certificate that ties a login to the encrypted stream.
//!
//! Source: RFC 5929, section 4.1 (`tls-server-end-point`): the hash is the one of the certificate's
//! signature, SHA-256 instead of MD5 and SHA-1.

use ring::digest::{self, Algorithm, SHA256, SHA384, SHA512};
use rustls::pki_types::CertificateDer;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;

/// The hash of the server's certificate.
///
/// `None` where its signature does not name one hash: Ed25519 has none, and servers before PostgreSQL 16 know
/// none for RSASSA-PSS. The login then goes without, unless `channel_binding=require`.
pub(crate) fn server_end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let signature = parse(certificate)?.signature_algorithm().oid;
    Some(digest::digest(hash_of(signature)?, certificate).as_ref().to_vec())
}

/// Reads a certificate as leniently as OpenSSL does, with any version and any serial number.
pub(super) fn parse(certificate: &CertificateDer<'_>) -> Option<CertificateInner<Raw>> {
    CertificateInner::from_der(certificate).ok()
}

fn hash_of(signature: ObjectIdentifier) -> Option<&'static Algorithm> {
    const fn oid(text: &str) -> ObjectIdentifier {
        ObjectIdentifier::new_unwrap(text)
    }
    const MD5_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.4");
    const SHA1_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.5");
    const SHA256_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.11");
    const SHA384_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.12");
    const SHA512_RSA: ObjectIdentifier = oid("1.2.840.113549.1.1.13");
    const SHA1_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.1");
    const SHA256_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.3.2");
    const SHA384_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.3.3");
    const SHA512_ECDSA: ObjectIdentifier = oid("1.2.840.10045.4.3.4");
    match signature {
        MD5_RSA | SHA1_RSA | SHA256_RSA | SHA1_ECDSA | SHA256_ECDSA => Some(&SHA256),
        SHA384_RSA | SHA384_ECDSA => Some(&SHA384),
        SHA512_RSA | SHA512_ECDSA => Some(&SHA512),
        _ => None,
    }
}

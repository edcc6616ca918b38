//! Whether a server's certificate is accepted.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::der::Encode;

use super::Roots;
use super::binding::parse;

/// Judges certificates. In every case the server must have the key of the certificate that it shows.
#[derive(Debug)]
pub(super) struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    /// None where anyone will do.
    roots: Option<Roots>,
    with_name: bool,
}

impl Verifier {
    pub(super) fn anyone(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Verifier { algorithms, roots: None, with_name: false }
    }

    pub(super) fn authority(algorithms: WebPkiSupportedAlgorithms, roots: Roots) -> Self {
        Verifier { algorithms, roots: Some(roots), with_name: false }
    }

    pub(super) fn name(algorithms: WebPkiSupportedAlgorithms, roots: Roots) -> Self {
        Verifier { algorithms, roots: Some(roots), with_name: true }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        if roots.given.iter().any(|given| given == end_entity) {
            // A certificate that signed itself is its own authority, which the chain's rules do not provide
            // for.
            check_dates(end_entity, now)?;
        } else {
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &certificate,
                &roots.store,
                intermediates,
                now,
                algorithms,
            )?;
        }
        if self.with_name {
            verify_server_name(&certificate, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Servers that were set up by the old book show certificates of version 1, which the chain's rules
        // refuse. Where the chain does not matter, their key alone is enough.
        match public_key(cert).filter(|_| self.roots.is_none()) {
            Some(key) => verify_tls13_signature_with_raw_key(message, &key, dss, &self.algorithms),
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn public_key(certificate: &CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'static>> {
    parse(certificate)?.tbs_certificate().subject_public_key_info().to_der().ok().map(Into::into)
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = parse(certificate).ok_or(CertificateError::BadEncoding)?;
    let validity = parsed.tbs_certificate().validity();
    let since = |time: &x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    let (not_before, not_after) = (since(&validity.not_before), since(&validity.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(())
}

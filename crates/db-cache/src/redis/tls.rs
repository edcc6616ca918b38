//! TLS with rustls and ring, which this crate brings: nothing is installed for the whole process.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::address::RedisConfigError;

/// How a server proves who it is.
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the authorities of `pem`, or those of the system.
    pub(super) fn new(pem: Option<&[u8]>) -> Result<Self, RedisConfigError> {
        let roots = match pem {
            Some(pem) => named(pem)?,
            None => of_the_system(),
        };
        if roots.is_empty() {
            return Err(RedisConfigError::Authorities("none is known".into()));
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| RedisConfigError::Authorities(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls(TlsConnector::from(Arc::new(config))))
    }

    pub(super) async fn handshake(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::other("no certificate can carry the host's name"))?;
        self.0.connect(name, stream).await
    }
}

fn named(pem: &[u8]) -> Result<RootCertStore, RedisConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let added = certificate.map_err(|error| error.to_string());
        added
            .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()))
            .map_err(RedisConfigError::Authorities)?;
    }
    Ok(roots)
}

fn of_the_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").finish()
    }
}

//! Encrypted connections: what rustls is told, once for each degree of trust, and the handshake.
//!
//! Files are read when a connection is wanted and one of them has changed since, so that a certificate which
//! is renewed on disk is taken up by the next connection. A failure is not kept: the file may be there the
//! next time.

pub(crate) mod binding;
mod failure;
mod files;
mod verify;

use std::sync::{Arc, Mutex, PoisonError};

use db_core::{ConnectFailure, DatabaseUrl, SslMode};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::transport::dial::Failed;
use files::{Files, Roots, Stamps};
use verify::Verifier;

/// The protocol's name in the handshake (ALPN); PostgreSQL 17 wants it for direct negotiation.
const PROTOCOL: &[u8] = b"postgresql";

const NO_ROOTS: &str = "sslmode=verify-ca needs sslrootcert, or a root.crt in ~/.postgresql: of the system's authorities \
                        anyone can have a certificate; or use verify-full";

/// What a server must prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Nothing but that it has the key of the certificate that it shows.
    Anyone,
    /// That an authority vouches for it.
    Authority,
    /// That an authority vouches for it under the host's name.
    Name,
}

/// What rustls was told, and by which versions of the files.
type Kept = Option<(Stamps, Arc<ClientConfig>)>;

/// How connections are encrypted as one URL says.
pub(crate) struct Tls {
    files: Files,
    sni: bool,
    configs: Mutex<[Kept; 3]>,
}

impl Tls {
    pub(crate) fn new(url: &DatabaseUrl) -> Self {
        let sni = url.param("sslsni") != Some("0");
        let files = Files::of(url, std::env::home_dir().as_deref());
        Tls { files, sni, configs: Default::default() }
    }

    /// What a server must prove for this mode. As with libpq, naming authorities makes `require` ask them,
    /// and a root.crt in its place names them.
    pub(crate) fn trust(&self, mode: SslMode) -> Trust {
        match mode {
            SslMode::VerifyFull => Trust::Name,
            SslMode::VerifyCa => Trust::Authority,
            SslMode::Require if self.files.names_roots() => Trust::Authority,
            SslMode::Require | SslMode::Prefer | SslMode::Allow | SslMode::Disable => Trust::Anyone,
        }
    }

    /// What rustls is told for this degree of trust; files are read where they have changed.
    pub(crate) fn config(&self, trust: Trust) -> Result<Arc<ClientConfig>, Failed> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        let [anyone, authority, name] = &mut *configs;
        let place = match trust {
            Trust::Anyone => anyone,
            Trust::Authority => authority,
            Trust::Name => name,
        };
        // Taken before the files are read: what changes meanwhile is read again the next time.
        let stamps = self.files.stamps();
        if let Some((_, config)) = place.as_ref().filter(|(before, _)| *before == stamps) {
            return Ok(Arc::clone(config));
        }
        let config = self.configure(trust).map_err(|reason| (ConnectFailure::Tls, reason))?;
        *place = Some((stamps, Arc::clone(&config)));
        Ok(config)
    }

    fn configure(&self, trust: Trust) -> Result<Arc<ClientConfig>, String> {
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let verifier = match trust {
            Trust::Anyone => Verifier::anyone(algorithms),
            Trust::Authority if !self.files.names_roots() => return Err(NO_ROOTS.to_owned()),
            Trust::Authority => Verifier::authority(algorithms, self.files.roots()?),
            Trust::Name => Verifier::name(algorithms, self.files.roots()?),
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match self.files.client()? {
            Some((chain, key)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| format!("sslcert and sslkey do not go together: {error}"))?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        config.enable_sni = self.sni;
        // PostgreSQL resumes no session.
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// Encrypts `stream`, at whose other end `host` should be.
    pub(crate) async fn handshake(
        &self,
        config: Arc<ClientConfig>,
        trust: Trust,
        host: &str,
        stream: TcpStream,
        direct: bool,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            Err(_) if trust == Trust::Name => {
                let reason = format!(
                    "sslmode=verify-full, and {host:?} is no name that a certificate can carry: name the server by its DNS \
                     name, and give its address with hostaddr"
                );
                return Err((ConnectFailure::Tls, reason));
            }
            // Such a name is still good enough for those who do not ask for one.
            Err(_) => match stream.peer_addr() {
                Ok(peer) => ServerName::from(peer.ip()),
                Err(error) => return Err((ConnectFailure::Other, error.to_string())),
            },
        };
        let connected = TlsConnector::from(config).connect(name, stream).await;
        let stream = connected.map_err(|error| failure::explain(&error, self.files.roots_name(), direct))?;
        if direct && stream.get_ref().1.alpn_protocol() != Some(PROTOCOL) {
            let reason = "sslnegotiation=direct, and what listens there did not agree to speak PostgreSQL's protocol \
                          (PostgreSQL 17 and later do)";
            return Err((ConnectFailure::Tls, reason.to_owned()));
        }
        Ok(stream)
    }
}

//! Encrypted connections: what rustls is told, once for each degree of trust, and the handshake.
//!
//! Everything is read when a connection is first wanted and kept; a certificate that is renewed on disk is taken up
//! by a new connector.

pub(crate) mod binding;
mod failure;
mod files;
mod verify;

use std::sync::{Arc, OnceLock};

use db_core::{ConnectFailure, DatabaseUrl, SslMode};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::transport::dial::Failed;
use files::{Files, Roots};
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

/// How connections are encrypted as one URL says.
pub(crate) struct Tls {
    files: Files,
    sni: bool,
    configs: [OnceLock<Result<Arc<ClientConfig>, String>>; 3],
}

impl Tls {
    pub(crate) fn new(url: &DatabaseUrl) -> Self {
        let sni = url.param("sslsni") != Some("0");
        let files = Files::of(url, std::env::home_dir().as_deref());
        Tls { files, sni, configs: Default::default() }
    }

    /// What a server must prove for this mode. As with libpq, naming authorities makes `require` ask them, and a root.crt in
    /// its place names them.
    pub(crate) fn trust(&self, mode: SslMode) -> Trust {
        match mode {
            SslMode::VerifyFull => Trust::Name,
            SslMode::VerifyCa => Trust::Authority,
            SslMode::Require if self.files.names_roots() => Trust::Authority,
            SslMode::Require | SslMode::Prefer | SslMode::Allow | SslMode::Disable => Trust::Anyone,
        }
    }

    /// What rustls is told for this degree of trust; files are read the first time.
    pub(crate) fn config(&self, trust: Trust) -> Result<Arc<ClientConfig>, Failed> {
        let [anyone, authority, name] = &self.configs;
        let place = match trust {
            Trust::Anyone => anyone,
            Trust::Authority => authority,
            Trust::Name => name,
        };
        let config = place.get_or_init(|| self.configure(trust));
        config.clone().map_err(|reason| (ConnectFailure::Tls, reason))
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
        host: &str,
        stream: TcpStream,
        direct: bool,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let name = match ServerName::try_from(host.to_owned()) {
            Ok(name) => name,
            // A name that no certificate can carry is still good enough for those who do not ask for one.
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

//! One request to a Patroni, in version 1.0 of HTTP: the answer comes in one piece and ends with the
//! connection.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::url::PatroniUrl;

/// More than any cluster's description takes.
const LONGEST: u64 = 1 << 20;

/// What connections are opened with.
#[derive(Default)]
pub(super) struct Transport {
    #[cfg(feature = "patroni-tls")]
    encryption: encryption::Encryption,
}

impl Transport {
    /// The whole answer to `GET path`.
    pub(super) async fn get(&mut self, url: &PatroniUrl, path: &str) -> io::Result<Vec<u8>> {
        let stream = TcpStream::connect((url.host(), url.port())).await?;
        #[cfg(feature = "patroni-tls")]
        if url.is_encrypted() {
            return exchange(self.encryption.wrap(url, stream).await?, url, path).await;
        }
        exchange(stream, url, path).await
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    url: &PatroniUrl,
    path: &str,
) -> io::Result<Vec<u8>> {
    let login = url.login().map(|login| {
        let text = STANDARD.encode(format!("{}:{}", login.user, login.password));
        format!("Authorization: Basic {text}\r\n")
    });
    let (host, login) = (url.host(), login.unwrap_or_default());
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n{login}\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(LONGEST).read_to_end(&mut answer).await {
        // Some servers end an encrypted connection without saying so; an answer that was cut off cannot be
        // read.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(answer),
    }
}

#[cfg(feature = "patroni-tls")]
mod encryption {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::{PatroniUrl, TcpStream, io};

    /// What rustls is told, once for each file of authorities.
    #[derive(Default)]
    pub(super) struct Encryption(HashMap<Option<PathBuf>, TlsConnector>);

    impl Encryption {
        pub(super) async fn wrap(
            &mut self,
            url: &PatroniUrl,
            stream: TcpStream,
        ) -> io::Result<TlsStream<TcpStream>> {
            let root = url.root().map(Path::to_owned);
            let connector = match self.0.get(&root) {
                Some(connector) => connector.clone(),
                None => {
                    let file = root.clone();
                    let made = tokio::task::spawn_blocking(move || connector(file.as_deref()));
                    let made = made.await.map_err(io::Error::other)??;
                    self.0.insert(root.clone(), made.clone());
                    made
                }
            };
            let name = ServerName::try_from(url.host().to_owned()).map_err(io::Error::other)?;
            let wrapped = connector.connect(name, stream).await;
            if wrapped.is_err() {
                // The authorities may have changed: they are read again the next time.
                self.0.remove(&root);
            }
            wrapped
        }
    }

    fn connector(file: Option<&Path>) -> io::Result<TlsConnector> {
        let mut roots = RootCertStore::empty();
        match file {
            Some(file) => {
                for certificate in CertificateDer::pem_file_iter(file).map_err(io::Error::other)? {
                    roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

#[cfg(all(test, feature = "patroni-tls"))]
mod tests {
    use super::*;
    use rustls::ServerConfig;
    use rustls::crypto::ring;
    use std::sync::Arc;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// Answers each request over TLS with the request itself, as a body.
    async fn echo(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await?);
            }
            stream.write_all(&request).await?;
            // It ends without saying so, as Python's server does.
            stream.flush().await?;
        }
    }

    #[tokio::test]
    async fn an_encrypted_api_is_asked_with_the_login_and_only_if_its_certificate_is_trusted() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(echo(listener, TlsAcceptor::from(Arc::new(config))));

        let url = |query: &str| format!("https://ann:p%40w@localhost:{port}{query}").parse().unwrap();
        let mut transport = Transport::default();
        assert!(transport.get(&url(""), "/cluster").await.is_err(), "nobody vouches for it");
        let trusted = url(&format!("?sslrootcert={}", file.display()));
        let answer = String::from_utf8(transport.get(&trusted, "/cluster").await.unwrap()).unwrap();
        assert!(answer.starts_with("GET /cluster HTTP/1.0\r\n"), "{answer}");
        assert!(answer.contains("Authorization: Basic YW5uOnBAdw==\r\n"), "{answer}");
    }
}

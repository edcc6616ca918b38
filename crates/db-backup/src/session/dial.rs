//! How the bytes of a session get to the server: the seam where a caller puts TLS in.

use std::future::Future;
use std::pin::Pin;

use db_core::{DatabaseUrl, Endpoint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A stream of bytes to a server.
pub trait Link: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Link for T {}

/// A stream of bytes that is being opened; an error is the reason in words.
pub type Dialling<'a> = Pin<Box<dyn Future<Output = Result<Box<dyn Link>, String>> + Send + 'a>>;

/// Opens the stream of bytes to a server, encrypted where the URL asks for it.
pub trait Dial: Send + Sync {
    /// Opens it; an error is the reason in words.
    fn dial<'a>(&'a self, url: &'a DatabaseUrl, endpoint: &'a Endpoint) -> Dialling<'a>;
}

/// Unix sockets, and TCP without TLS: it refuses where the URL's `sslmode` insists on encryption.
///
/// ```
/// let dial: Box<dyn db_backup::session::Dial> = Box::new(db_backup::session::Plain);
/// # let _ = dial;
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Plain;

impl Dial for Plain {
    fn dial<'a>(&'a self, url: &'a DatabaseUrl, endpoint: &'a Endpoint) -> Dialling<'a> {
        Box::pin(async move {
            let failed = |error: std::io::Error| error.to_string();
            if let Some(directory) = endpoint.socket_dir() {
                let path = directory.join(format!(".s.PGSQL.{}", endpoint.port()));
                let stream = UnixStream::connect(path).await.map_err(failed)?;
                return Ok(Box::new(stream) as Box<dyn Link>);
            }
            let mode = url.sslmode_to(endpoint);
            if mode.is_strict() {
                return Err(format!(
                    "sslmode={mode} holds for this server, and this program has nothing to encrypt with: run it on the \
                     server's own machine, or accept plain text with sslmode=disable"
                ));
            }
            let addresses = url.addresses_of(endpoint);
            let stream = match addresses.first() {
                Some(address) => TcpStream::connect((*address, endpoint.port())).await,
                None => TcpStream::connect((endpoint.host(), endpoint.port())).await,
            };
            let stream = stream.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            Ok(Box::new(stream) as Box<dyn Link>)
        })
    }
}

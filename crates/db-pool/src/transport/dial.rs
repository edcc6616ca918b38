//! Opens the stream to a server: looks up its name, connects, and encrypts as `sslmode` says.
//!
//! Source: the PostgreSQL manual, "SSL Session Encryption" in the protocol chapter. Unlike libpq, nothing is
//! tried again after a login that the server refused: `allow` is therefore taken as `prefer`, which encrypts
//! where it can and is never less, and `prefer` does not reach a server that offers encryption and lets
//! nobody in with it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_core::{ConnectFailure, DatabaseUrl, Endpoint, SslMode, awake};
use rand::seq::SliceRandom as _;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream, lookup_host};

use super::Transport;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// Why no stream could be opened, and the words for it.
pub(crate) type Failed = (ConnectFailure, String);

/// How long a silent connection is left alone before the kernel asks for a sign of life: shorter than the few
/// minutes after which firewalls and load balancers forget a connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The longest that the kernel takes: milliseconds in 31 bits.
#[cfg(target_os = "linux")]
const LONGEST_USER_TIMEOUT: Duration = Duration::from_millis(i32::MAX.unsigned_abs() as u64);

/// What each weaker mode gives up, for those who never chose `verify-full`.
const WEAKER: &str = "no sslmode is set, so this server gets verify-full (weaker: sslmode=verify-ca gives up that the \
                      certificate names this host, sslmode=require also that an authority vouches for it, so that \
                      anyone on the way can pose as the server, sslmode=prefer also that there is encryption at all, \
                      sslmode=disable any encryption)";

/// Opens a byte stream to a server, encrypted where the URL's `sslmode` asks for it, and says nothing on it:
/// for protocols other than a session's, such as replication's. It has no deadline: the caller has.
///
/// ```
/// use db_core::{DatabaseUrl, Endpoint};
///
/// async fn is_there(url: &DatabaseUrl, endpoint: &Endpoint) -> bool {
///     db_pool::open_stream(url, endpoint).await.is_ok()
/// }
/// ```
///
/// # Errors
/// The reason in words: nothing listens there, the certificate is not the server's, and what to do about it.
///
/// # Cancel safety
/// Dropping the future closes what was opened.
pub async fn open_stream(
    url: &DatabaseUrl,
    endpoint: &Endpoint,
) -> Result<impl AsyncRead + AsyncWrite + Send + Sync + Unpin + use<>, String> {
    Dialer::new(url, None).dial(endpoint).await.map_err(|(_, reason)| reason)
}

/// Opens streams to servers as one URL says. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    inner: Arc<Inner>,
}

struct Inner {
    url: DatabaseUrl,
    keepalive: Option<TcpKeepalive>,
    user_timeout: Option<Duration>,
    #[cfg(feature = "tls")]
    tls: Tls,
}

impl Dialer {
    /// A dialer for this URL's servers and any other.
    ///
    /// Certificates that the URL's servers need are read now; what is wrong with them is told by the first
    /// [`dial`](Dialer::dial).
    pub(crate) fn new(url: &DatabaseUrl, user_timeout: Option<Duration>) -> Self {
        let number = |name| url.param(name).and_then(|text| text.parse::<u32>().ok());
        let seconds = |name, default| match number(name) {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds.into()),
            _ => default,
        };
        let mut keepalive = TcpKeepalive::new()
            .with_time(seconds("keepalives_idle", KEEPALIVE_IDLE))
            .with_interval(seconds("keepalives_interval", KEEPALIVE_INTERVAL));
        if let Some(count) = number("keepalives_count").filter(|count| *count > 0) {
            keepalive = keepalive.with_retries(count);
        }
        let dialer = Inner {
            url: url.clone(),
            keepalive: (url.param("keepalives") != Some("0")).then_some(keepalive),
            user_timeout,
            #[cfg(feature = "tls")]
            tls: Tls::new(url),
        };
        #[cfg(feature = "tls")]
        for host in url.hosts() {
            let mode = url.sslmode_to(host);
            if mode.is_strict() {
                // A failure is kept, and told to whoever connects.
                let _ = dialer.tls.config(dialer.tls.trust(mode));
            }
        }
        Dialer { inner: Arc::new(dialer) }
    }

    /// Opens a stream to `endpoint`, encrypted where `sslmode` asks for it. It has no deadline: the caller
    /// has.
    ///
    /// # Cancel safety
    /// Dropping the future closes what was opened.
    pub(crate) async fn dial(&self, endpoint: &Endpoint) -> Result<Transport, Failed> {
        if let Some(directory) = endpoint.socket_dir() {
            return unix(directory, endpoint.port()).await;
        }
        let mode = self.inner.url.sslmode_to(endpoint);
        let dialed = match mode {
            SslMode::Disable => self.tcp(endpoint).await.map(Transport::Tcp),
            _ => self.encrypt(endpoint, mode).await,
        };
        let imposed = mode == SslMode::VerifyFull && self.inner.url.sslmode().is_none();
        dialed.map_err(|(failure, reason)| match failure {
            ConnectFailure::Tls if imposed && cfg!(feature = "tls") => {
                (failure, format!("{reason}; {WEAKER}"))
            }
            _ => (failure, reason),
        })
    }

    /// Whether someone is there: asks for encryption, which every server answers before anything else, and
    /// leaves.
    ///
    /// A process that was stopped still has its connections accepted, by the kernel; it does not answer.
    /// Returns about how long the way takes, or nothing where nobody answers in time: within `least` each for
    /// the connection and for the answer, or longer where the network proves slower than that takes into
    /// account.
    pub(crate) async fn knock(&self, endpoint: &Endpoint, least: Duration) -> Option<Duration> {
        let started = Instant::now();
        let connect = async {
            match endpoint.socket_dir() {
                Some(directory) => unix(directory, endpoint.port()).await,
                None => self.tcp(endpoint).await.map(Transport::Tcp),
            }
        };
        let Ok(mut stream) = awake::within(least, tokio::time::sleep, connect).await? else {
            return Some(started.elapsed());
        };
        let way = started.elapsed();
        // What it says does not matter.
        let _ = awake::within(least.max(way.saturating_mul(3)), tokio::time::sleep, ask(&mut stream)).await?;
        Some(started.elapsed() / 2)
    }

    async fn tcp(&self, endpoint: &Endpoint) -> Result<TcpStream, Failed> {
        let mut failures = Vec::new();
        for address in self.addresses(endpoint).await? {
            match self.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failures.push((address.ip(), error)),
            }
        }
        Err(unreachable(&failures))
    }

    async fn addresses(&self, endpoint: &Endpoint) -> Result<Vec<SocketAddr>, Failed> {
        let given = self.inner.url.addresses_of(endpoint);
        if !given.is_empty() {
            return Ok(given.into_iter().map(|ip| SocketAddr::new(ip, endpoint.port())).collect());
        }
        let unknown = |reason: String| (ConnectFailure::UnknownHost, reason);
        let found = lookup_host((endpoint.host(), endpoint.port())).await;
        let mut found: Vec<_> = found.map_err(|error| unknown(error.to_string()))?.collect();
        if self.inner.url.param("load_balance_hosts") == Some("random") {
            found.shuffle(&mut rand::rng());
        }
        if found.is_empty() { Err(unknown("the host name has no address".to_owned())) } else { Ok(found) }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        if let Some(keepalive) = &self.inner.keepalive {
            socket.set_tcp_keepalive(keepalive)?;
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.inner.user_timeout {
            socket.set_tcp_user_timeout(Some(timeout.min(LONGEST_USER_TIMEOUT)))?;
        }
        Ok(stream)
    }
}

#[cfg(feature = "tls")]
impl Dialer {
    async fn encrypt(&self, endpoint: &Endpoint, mode: SslMode) -> Result<Transport, Failed> {
        let Inner { url, tls, .. } = &*self.inner;
        let trust = tls.trust(mode);
        let config = tls.config(trust)?;
        let mut stream = self.tcp(endpoint).await?;
        let direct = url.param("sslnegotiation") == Some("direct");
        if !direct {
            match ask(&mut stream).await? {
                Answer::Yes => {}
                Answer::No if !mode.is_strict() => return Ok(Transport::Tcp(stream)),
                Answer::No => {
                    let reason = format!(
                        "sslmode={mode} and the server does not offer encryption (ssl = off in its postgresql.conf)"
                    );
                    return Err((ConnectFailure::Tls, reason));
                }
                Answer::Error if !mode.is_strict() => return self.tcp(endpoint).await.map(Transport::Tcp),
                // What it says is not shown: nobody has proved yet who is speaking.
                Answer::Error => {
                    let reason = "the server answered the request for encryption with an error; see its log";
                    return Err((ConnectFailure::Other, reason.to_owned()));
                }
            }
        }
        match tls.handshake(config, trust, endpoint.host(), stream, direct).await {
            Ok(stream) => Ok(Transport::Tls(Box::new(stream))),
            Err((_, reason)) if !mode.is_strict() => {
                tracing::warn!(%endpoint, %reason, "connecting without encryption");
                self.tcp(endpoint).await.map(Transport::Tcp)
            }
            Err(failed) => Err(failed),
        }
    }
}

#[cfg(not(feature = "tls"))]
impl Dialer {
    async fn encrypt(&self, endpoint: &Endpoint, mode: SslMode) -> Result<Transport, Failed> {
        if !mode.is_strict() {
            return self.tcp(endpoint).await.map(Transport::Tcp);
        }
        let reason = format!(
            "sslmode={mode} holds for this server, and this program cannot encrypt: build db-pool with its feature tls, or \
             set sslmode=disable, which gives up encryption"
        );
        Err((ConnectFailure::Tls, reason))
    }
}

/// What a server says to the request for encryption.
enum Answer {
    Yes,
    No,
    Error,
}

/// Sends an SSLRequest and reads the one byte of its answer. Whatever follows that byte in the clear goes
/// into the handshake, which fails on it: nothing sent before encryption is taken for the server's.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<Answer, Failed> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
    let exchange = async {
        stream.write_all(&SSL_REQUEST).await?;
        stream.read_u8().await
    };
    match exchange.await {
        Ok(b'S') => Ok(Answer::Yes),
        Ok(b'N') => Ok(Answer::No),
        Ok(b'E') => Ok(Answer::Error),
        Ok(_) => {
            let reason =
                "the answer to the request for encryption is not PostgreSQL's; is it what listens there?";
            Err((ConnectFailure::Other, reason.to_owned()))
        }
        Err(error) => {
            let reason = format!("the connection was lost when encryption was asked for ({error})");
            Err((ConnectFailure::Other, reason))
        }
    }
}

async fn unix(directory: &std::path::Path, port: u16) -> Result<Transport, Failed> {
    let path = directory.join(format!(".s.PGSQL.{port}"));
    // An `@` stands for the zero byte of Linux's abstract names.
    let name = match path.to_str().and_then(|path| path.strip_prefix('@')) {
        Some(rest) => std::path::PathBuf::from(format!("\0{rest}")),
        None => path.clone(),
    };
    let stream = UnixStream::connect(name).await;
    stream.map(Transport::Unix).map_err(|error| (kind(&error), format!("{}: {error}", path.display())))
}

fn kind(error: &io::Error) -> ConnectFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => ConnectFailure::Refused,
        io::ErrorKind::TimedOut => ConnectFailure::TimedOut,
        _ => ConnectFailure::Other,
    }
}

/// The failure of all addresses: the one that says most, and each with its address where there were several.
fn unreachable(failures: &[(IpAddr, io::Error)]) -> Failed {
    let kinds: Vec<ConnectFailure> = failures.iter().map(|(_, error)| kind(error)).collect();
    let failure = match kinds.as_slice() {
        [first, rest @ ..] if rest.iter().all(|kind| kind == first) => *first,
        _ if kinds.contains(&ConnectFailure::Refused) => ConnectFailure::Refused,
        _ => ConnectFailure::Other,
    };
    let reasons: Vec<String> = match failures {
        [(_, error)] => vec![error.to_string()],
        several => several.iter().map(|(address, error)| format!("{address}: {error}")).collect(),
    };
    (failure, reasons.join(", "))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::ConnectConfig;

    fn dialer(text: &str) -> (Dialer, Endpoint) {
        let url: DatabaseUrl = text.parse().unwrap();
        let config = ConnectConfig::default().within(&url);
        (Dialer::new(&url, config.socket_timeout), url.hosts()[0].clone())
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    #[tokio::test]
    async fn a_socket_gets_what_the_url_says_and_what_it_leaves_out() {
        let (_listener, port) = listener().await;
        let dial = async |params: &str| {
            let (dialer, endpoint) =
                dialer(&format!("postgres://ann@127.0.0.1:{port}/app?sslmode=disable{params}"));
            match dialer.dial(&endpoint).await {
                Ok(Transport::Tcp(stream)) => stream,
                _ => panic!("{params}"),
            }
        };
        let stream = dial("").await;
        assert!(stream.nodelay().unwrap());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));

        let stream =
            dial("&keepalives_idle=7&keepalives_interval=3&keepalives_count=4&tcp_user_timeout=1500").await;
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(3));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 4);
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1500)));

        let stream = dial("&keepalives=0&tcp_user_timeout=0").await;
        let socket = SockRef::from(&stream);
        assert!(!socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[tokio::test]
    async fn every_address_of_a_host_is_tried() {
        let (listener, port) = listener().await;
        let url =
            format!("postgres://ann@db:{port},db:{port}/app?sslmode=disable&hostaddr=127.0.0.2,127.0.0.1");
        let (dialer, endpoint) = dialer(&url);
        assert!(matches!(dialer.dial(&endpoint).await, Ok(Transport::Tcp(_))));
        drop(listener);
        let Err((failure, reason)) = dialer.dial(&endpoint).await else { panic!("nothing listens") };
        assert_eq!(failure, ConnectFailure::Refused);
        assert!(reason.contains("127.0.0.2: ") && reason.contains(", 127.0.0.1: "), "{reason}");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_at_sign_stands_for_an_abstract_socket() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};

        let name = format!("db-pool-{}/.s.PGSQL.5432", std::process::id());
        let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        let (dialer, endpoint) = dialer(&format!("postgres://ann@%40db-pool-{}/app", std::process::id()));
        assert!(matches!(dialer.dial(&endpoint).await, Ok(Transport::Unix(_))));
    }

    #[cfg(not(feature = "tls"))]
    #[tokio::test]
    async fn without_the_feature_nothing_connects_in_the_clear_that_should_be_encrypted() {
        let (_listener, port) = listener().await;
        for params in ["hostaddr=127.0.0.1", "hostaddr=127.0.0.1&sslmode=require"] {
            let (dialer, endpoint) = dialer(&format!("postgres://ann@db:{port}/app?{params}"));
            let Err((failure, reason)) = dialer.dial(&endpoint).await else { panic!("{params}") };
            assert_eq!(failure, ConnectFailure::Tls);
            assert!(reason.contains("feature tls") && reason.contains("sslmode=disable"), "{reason}");
        }
        let (dialer, endpoint) = dialer(&format!("postgres://ann@127.0.0.1:{port}/app"));
        assert!(matches!(dialer.dial(&endpoint).await, Ok(Transport::Tcp(_))));
    }
}

//! One connection, and the run of the server that it belongs to: every answer of it is of that run.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::RedisConfig;
use super::address::{Address, Place, RedisConfigError};
use super::clock::ServerClock;
use super::failure;
use super::hearing::{self, Hearing};
use super::names::{HEAD, Names};
use super::reply::Answers;
use super::server::Info;
#[cfg(feature = "redis-tls")]
use super::tls::Tls;
use crate::record::Run;
use crate::tier_error::{TierError, TierFailure};

/// How to open a connection.
#[derive(Debug)]
pub(super) struct Opener {
    address: Address,
    names: Names,
    client_name: String,
    connect_timeout: Duration,
    response_timeout: Duration,
    warned_of: std::sync::Mutex<Option<String>>,
    #[cfg(feature = "redis-tls")]
    tls: Option<Tls>,
}

/// An open connection. It ends when its last user drops it.
pub(super) struct Connection {
    commands: MultiplexedConnection,
    pub(super) run: Run,
    pub(super) clock: ServerClock,
    replication_id: String,
    hearing: Arc<Hearing>,
    _driver: Driver,
    _watch: Option<Driver>,
}

/// A shard that moves while it is looked for.
const REDIRECTIONS: usize = 3;

/// A task that ends with its connection: the one that moves the bytes, the one that watches.
struct Driver(AbortHandle);

type Opened = (MultiplexedConnection, Pin<Box<dyn Future<Output = ()> + Send>>);

impl Opener {
    pub(super) fn new(config: &RedisConfig, names: Names) -> Result<Self, RedisConfigError> {
        let address = Address::parse(&config.url)?;
        #[cfg(feature = "redis-tls")]
        let tls = match address.tls {
            true => Some(Tls::new(config.ca_certificate.as_deref())?),
            false => None,
        };
        #[cfg(not(feature = "redis-tls"))]
        if address.tls {
            return Err(RedisConfigError::NoTls);
        }
        Ok(Opener {
            address,
            names,
            client_name: config.client_name.replace(|letter: char| !letter.is_ascii_graphic(), "-"),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            warned_of: std::sync::Mutex::default(),
            #[cfg(feature = "redis-tls")]
            tls,
        })
    }

    pub(super) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Opens a connection to the primary, on a cluster to the one that has the installation's keys. An answer
    /// may take `limit`, if there is one.
    pub(super) async fn open(&self, limit: Option<Duration>) -> Result<Connection, TierError> {
        let mut address = self.address.clone();
        for _ in 0..REDIRECTIONS {
            let open = timeout(self.connect_timeout, self.open_at(&address, limit));
            let Ok(opened) = open.await else {
                let what = format!("no connection to {} within {:?}", address.place, self.connect_timeout);
                return Err(TierError::new(TierFailure::Unreachable, what));
            };
            match opened? {
                Ok(connection) => return Ok(connection),
                Err(moved) => address = moved,
            }
        }
        Err(TierError::new(TierFailure::NotReady, "the cluster moves the installation's keys"))
    }

    /// A connection, or the address where the keys are instead.
    async fn open_at(
        &self,
        address: &Address,
        limit: Option<Duration>,
    ) -> Result<Result<Connection, Address>, TierError> {
        let (mut commands, driver) = self.stream(address).await?;
        let hearing = Arc::new(Hearing::default());
        let heard = Arc::clone(&hearing);
        let driver = tokio::spawn(async move {
            driver.await;
            heard.end();
        });
        let driver = Driver(driver.abort_handle());
        let mut pipeline = redis::pipe();
        pipeline.cmd("CLIENT").arg("SETNAME").arg(&self.client_name);
        // All of it: an old server, which is refused, knows no list of sections.
        pipeline.cmd("INFO");
        pipeline.cmd("HGET").arg(&self.names.records).arg(HEAD);
        let answers =
            commands.send_packed_commands(&pipeline, 0, 3).await.map_err(|error| failure::of(&error))?;
        let mut answers = Answers::new(answers);
        // A user who may not name a connection may still use it.
        let _ = answers.take("CLIENT SETNAME");
        let info = Info::parse(&answers.text("INFO")?);
        // A replica of a cluster tells where the primary is, too.
        if info.is_cluster()
            && let Err(error) = answers.take("HGET")
            && let Some(moved) = moved(&error.what, address)
        {
            return Ok(Err(moved));
        }
        let run = info.run()?;
        self.warn_of(info.danger());
        let watch = limit.map(|limit| {
            let watching = hearing::watch(Arc::clone(&hearing), limit, driver.0.clone());
            Driver(tokio::spawn(watching).abort_handle())
        });
        Ok(Ok(Connection {
            commands,
            run,
            clock: ServerClock::default(),
            replication_id: info.replication_id().to_owned(),
            hearing,
            _driver: driver,
            _watch: watch,
        }))
    }

    async fn stream(&self, address: &Address) -> Result<Opened, TierError> {
        let place = &address.place;
        let unreachable = |error: std::io::Error| {
            TierError::new(TierFailure::Unreachable, format!("no connection to {place}: {error}"))
        };
        match place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                speak(&address.login, stream).await
            }
            Place::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                #[cfg(feature = "redis-tls")]
                if let Some(tls) = &self.tls {
                    let stream = tls.handshake(host, stream).await.map_err(unreachable)?;
                    return speak(&address.login, stream).await;
                }
                speak(&address.login, stream).await
            }
        }
    }

    /// Said once, and again where it is another.
    fn warn_of(&self, danger: Option<String>) {
        let mut warned_of = self.warned_of.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(what) = danger.as_ref().filter(|_| danger != *warned_of) {
            tracing::warn!(server = %self.address.place, "the cache's second tier: {what}");
        }
        *warned_of = danger;
    }
}

async fn speak<S>(login: &RedisConnectionInfo, stream: S) -> Result<Opened, TierError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (commands, driver) = MultiplexedConnection::new_with_config(login, stream, config)
        .await
        .map_err(|error| failure::of(&error))?;
    Ok((commands, Box::pin(driver)))
}

/// Where `MOVED 3999 host:port` leads.
fn moved(what: &str, from: &Address) -> Option<Address> {
    let (_, to) = what.strip_prefix("MOVED ")?.split_once(' ')?;
    let (host, port) = to.rsplit_once(':')?;
    let port = port.parse().ok()?;
    // A server that does not know its own name leaves it out.
    match (host, &from.place) {
        ("", Place::Tcp { host, .. }) => Some(from.moved_to(host, port)),
        ("", Place::Unix(_)) => None,
        (host, _) => Some(from.moved_to(host, port)),
    }
}

impl Connection {
    /// Sends commands in one round trip. Each has one answer.
    pub(super) async fn ask(&self, pipeline: &Pipeline) -> Result<Answers, TierError> {
        let count = pipeline.len();
        let question = self.hearing.ask();
        let answers = self.commands.clone().send_packed_commands(pipeline, 0, count).await;
        if answers.is_ok() {
            question.answered();
        }
        answers.map(Answers::new).map_err(|error| match self.hearing.silence() {
            Some(silence) => {
                TierError::new(TierFailure::TimedOut, format!("nothing was answered for {silence:?}"))
            }
            None => self.noticed(failure::of(&error)),
        })
    }

    /// Ends the connection where the failure speaks against it.
    pub(super) fn noticed(&self, error: TierError) -> TierError {
        if failure::is_of_the_connection(&error) {
            self.end();
        }
        error
    }

    /// Nothing is asked of it any more.
    pub(super) fn end(&self) {
        self.hearing.end();
    }

    /// Whether it can be asked: it has not ended, and answers.
    pub(super) fn is_alive(&self) -> bool {
        !self.hearing.is_over()
    }

    /// Whether the server's data still has the history that it had when the connection opened.
    pub(super) fn check_history(&self, replication: &str) -> Result<(), TierError> {
        let info = Info::parse(replication);
        if info.is_primary() && info.replication_id() == self.replication_id {
            return Ok(());
        }
        self.end();
        Err(TierError::new(
            TierFailure::Unreachable,
            "another server has taken over; the next connection finds it",
        ))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("run", &self.run)
            .field("is_alive", &self.is_alive())
            .finish_non_exhaustive()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_leads_to_the_other_shard() {
        let from = Address::parse("redis://:secret@one:7000").unwrap();
        let place = |what| moved(what, &from).map(|to| to.place.to_string());
        assert_eq!(place("MOVED 3999 10.0.0.2:6381").as_deref(), Some("10.0.0.2:6381"));
        assert_eq!(place("MOVED 3999 :6381").as_deref(), Some("one:6381"));
        assert_eq!(place("ERR no"), None);
        assert_eq!(moved("MOVED 1 two:1", &from).unwrap().login.password(), Some("secret"));
    }
}

//! HTTP clients: each writes an item, reads it again at once, and counts what it was told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::ledger::Ledger;

const CLIENTS: usize = 4;
/// The longest that a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two rounds of a client.
const PAUSE: Duration = Duration::from_millis(5);

/// Clients of one service, until they are told to finish.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    ledger: Arc<Ledger>,
    tasks: JoinSet<Told>,
}

/// What clients were told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) requests: u64,
    pub(crate) failed: Vec<String>,
    /// Items whose write was acknowledged and which the same client's next read did not find.
    pub(crate) missed: Vec<i64>,
    pub(crate) longest: Duration,
    pub(crate) ledger: Arc<Ledger>,
}

impl Clients {
    pub(crate) fn start(service: SocketAddr) -> Clients {
        let (stop, ledger, ids) =
            (Arc::new(AtomicBool::new(false)), Arc::<Ledger>::default(), Arc::new(AtomicI64::new(1)));
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let (stop, ledger, ids) = (Arc::clone(&stop), Arc::clone(&ledger), Arc::clone(&ids));
            tasks.spawn(async move {
                let mut client = Client { service, connection: None, told: Told::new(&ledger) };
                while !stop.load(Ordering::Relaxed) {
                    client.round(ids.fetch_add(1, Ordering::Relaxed)).await;
                    tokio::time::sleep(PAUSE).await;
                }
                client.told
            });
        }
        Clients { stop, ledger, tasks }
    }

    /// Waits until so many writes were acknowledged after a moment; says whether they were within `limit`.
    pub(crate) async fn write(&self, writes: usize, since: Instant, limit: Duration) -> bool {
        while self.ledger.since(since) < writes {
            if since.elapsed() > limit {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    pub(crate) async fn finish(self) -> Told {
        self.stop.store(true, Ordering::Relaxed);
        let none = Told::new(&self.ledger);
        self.tasks.join_all().await.into_iter().fold(none, |mut all, mut one| {
            all.requests += one.requests;
            all.failed.append(&mut one.failed);
            all.missed.append(&mut one.missed);
            all.longest = all.longest.max(one.longest);
            all
        })
    }
}

impl Told {
    fn new(ledger: &Arc<Ledger>) -> Told {
        let (failed, missed, ledger) = (Vec::new(), Vec::new(), Arc::clone(ledger));
        Told { requests: 0, failed, missed, longest: Duration::ZERO, ledger }
    }
}

/// One client, which keeps its connection.
struct Client {
    service: SocketAddr,
    connection: Option<TcpStream>,
    told: Told,
}

impl Client {
    async fn round(&mut self, id: i64) {
        let Some((_, position)) = self.ask("POST", id, &[200]).await else { return };
        self.told.ledger.acknowledge(id, position.trim());
        if let Some((404, _)) = self.ask("GET", id, &[200, 404]).await {
            self.told.missed.push(id);
        }
    }

    /// Sends one request; none where it failed.
    async fn ask(&mut self, method: &str, id: i64, good: &[u16]) -> Option<(u16, String)> {
        let started = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, self.send(method, id)).await;
        self.told.requests += 1;
        self.told.longest = self.told.longest.max(started.elapsed());
        let why = match answer {
            Ok(Ok((status, body))) if good.contains(&status) => return Some((status, body)),
            Ok(Ok((status, body))) => format!("{method} {id}: {status} {body}"),
            Ok(Err(error)) => format!("{method} {id}: {error}"),
            Err(_) => format!("{method} {id}: no answer within {PATIENCE:?}"),
        };
        // What is still to come on it would be taken for the next answer.
        self.connection = None;
        self.told.failed.push(why);
        None
    }

    async fn send(&mut self, method: &str, id: i64) -> std::io::Result<(u16, String)> {
        if self.connection.is_none() {
            self.connection = Some(TcpStream::connect(self.service).await?);
        }
        let Some(connection) = &mut self.connection else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        let request = format!("{method} /items/{id} HTTP/1.1\r\nhost: items\r\ncontent-length: 0\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut received = Vec::new();
        loop {
            if connection.read_buf(&mut received).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(answer) = parse(&String::from_utf8_lossy(&received)) {
                return Ok(answer);
            }
        }
    }
}

/// A whole answer: its status and its body.
fn parse(received: &str) -> Option<(u16, String)> {
    let (head, body) = received.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (body.len() >= length.unwrap_or(0)).then(|| (status, body.to_owned()))
}

//! A way to a server where opening a connection takes as long as one says, or where nobody answers.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A port whose connections lead to a server.
///
/// Unlike db-testkit's `Proxy`, which delays bytes, it delays only the opening: what runs on a connection is
/// as quick as without it.
#[derive(Debug)]
pub struct Door {
    address: SocketAddr,
    state: Arc<State>,
    doorman: JoinHandle<io::Result<()>>,
}

#[derive(Debug, Default)]
struct State {
    delay_millis: AtomicU64,
    shut: AtomicBool,
    came: AtomicU64,
    inside: AtomicU64,
}

impl Door {
    /// A door before the server of a URL, which lets everyone in at once.
    pub async fn before(url: &str) -> Door {
        let server = tokio::net::lookup_host(parts(url).1).await.unwrap().next().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let doorman = tokio::spawn(receive(listener, server, Arc::clone(&state)));
        Door { address, state, doorman }
    }

    /// The URL with its server replaced by this door.
    pub fn through(&self, url: &str) -> String {
        let (before, _, path) = parts(url);
        format!("{before}@{}/{path}", self.address)
    }

    /// From now on opening a connection takes this much longer.
    pub fn delay(&self, delay: Duration) {
        self.state.delay_millis.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// From now on whoever comes is turned away at once, as by a server that is starting.
    pub fn shut(&self) {
        self.state.shut.store(true, Ordering::Relaxed);
    }

    /// Waits until everyone who came in has gone.
    pub async fn emptied(&self) {
        db_testkit::until("the connections have ended", async || {
            AtomicU64::load(&self.state.inside, Ordering::Relaxed) == 0
        })
        .await;
    }

    /// How many came so far.
    pub fn came(&self) -> u64 {
        AtomicU64::load(&self.state.came, Ordering::Relaxed)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.doorman.abort();
    }
}

/// What comes before the server, the server, and what comes behind it.
fn parts(url: &str) -> (&str, &str, &str) {
    let (before, rest) = url.split_once('@').unwrap();
    let (server, path) = rest.split_once('/').unwrap();
    (before, server, path)
}

async fn receive(listener: TcpListener, server: SocketAddr, state: Arc<State>) -> io::Result<()> {
    loop {
        let (client, _) = listener.accept().await?;
        state.came.fetch_add(1, Ordering::Relaxed);
        if AtomicBool::load(&state.shut, Ordering::Relaxed) {
            continue;
        }
        let delay = Duration::from_millis(AtomicU64::load(&state.delay_millis, Ordering::Relaxed));
        state.inside.fetch_add(1, Ordering::Relaxed);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // However it ended: who came has gone.
            let _ = pass(client, server, delay).await;
            state.inside.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, delay: Duration) -> io::Result<()> {
    tokio::time::sleep(delay).await;
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

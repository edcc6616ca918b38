//! A TCP load balancer on loopback: each new connection goes to the next of its servers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::TestkitError;
use crate::address;
use crate::own_thread::OwnThread;

/// A load balancer in front of several servers, as a managed service's reader name is: by turns, connection
/// by connection.
///
/// It works on its own thread. When `drop` returns, its port, its connections and its thread are gone.
///
/// ```no_run
/// # async fn try_it(cluster: db_testkit::Cluster) -> Result<(), db_testkit::TestkitError> {
/// let standbys = [cluster.address_of(1)?, cluster.address_of(2)?];
/// let balancer = db_testkit::Balancer::start(standbys)?;
/// let reader_name = balancer.through(&cluster.url_of(1)?)?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _thread: OwnThread,
}

#[derive(Debug)]
struct Shared {
    turns: Mutex<Turns>,
    /// Counts how often every open connection was closed.
    cuts: watch::Sender<u64>,
}

#[derive(Debug)]
struct Turns {
    servers: Vec<SocketAddr>,
    next: usize,
}

impl Balancer {
    /// Listens on a free loopback port, in front of these servers.
    ///
    /// # Errors
    /// When no port or no thread can be had.
    pub fn start(servers: impl IntoIterator<Item = SocketAddr>) -> Result<Self, TestkitError> {
        let servers: Vec<_> = servers.into_iter().collect();
        let target = servers.first().copied().unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        let failed = |source: io::Error| TestkitError::Proxy { target, source };
        let turns = Mutex::new(Turns { servers, next: 0 });
        let shared = Arc::new(Shared { turns, cuts: watch::Sender::new(0) });
        let served = Arc::clone(&shared);
        let begin = |stopped| {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok((address, serve(served, TcpListener::from_std(listener)?, stopped)))
        };
        let (thread, address) = OwnThread::start("balancer", begin).map_err(failed)?;
        Ok(Balancer { address, shared, _thread: thread })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `url` with its host and port replaced by the balancer's.
    ///
    /// # Errors
    /// When `url` is no URL with one host. (The error does not show it: it may hold a password.)
    pub fn through(&self, url: &str) -> Result<String, TestkitError> {
        address::through(url, &self.address.to_string())
    }

    /// Leads new connections to these servers from now on; those that are open stay where they are.
    pub fn lead_to(&self, servers: impl IntoIterator<Item = SocketAddr>) {
        let mut turns = self.shared.turns();
        (turns.servers, turns.next) = (servers.into_iter().collect(), 0);
    }

    /// Closes every open connection, as a balancer does when a health check fails.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Shared {
    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<SocketAddr> {
        let mut turns = self.turns();
        let server = turns.servers.get(turns.next % turns.servers.len().max(1)).copied();
        turns.next = turns.next.wrapping_add(1);
        server
    }
}

async fn serve(shared: Arc<Shared>, listener: TcpListener, mut stopped: oneshot::Receiver<()>) {
    let mut links = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => {
                let (Ok((client, _)), Some(server)) = (accepted, shared.next()) else { continue };
                links.spawn(link(client, server, shared.cuts.subscribe()));
            }
            Some(_) = links.join_next() => {}
        }
    }
}

/// Passes bytes both ways until one side has no more, or all connections are closed.
async fn link(mut client: TcpStream, server: SocketAddr, mut cuts: watch::Receiver<u64>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = cuts.changed() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    /// A server that says its name to each client and ends.
    fn server(name: u8) -> SocketAddr {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                client.unwrap().write_all(&[name]).unwrap();
            }
        });
        address
    }

    #[test]
    fn each_connection_goes_to_the_next_server() {
        let (one, two) = (server(1), server(2));
        let balancer = Balancer::start([one, two]).unwrap();
        let asked = || {
            let mut answer = Vec::new();
            Client::connect(balancer.address()).unwrap().read_to_end(&mut answer).unwrap();
            answer
        };
        assert_eq!([asked(), asked(), asked()].concat(), [1, 2, 1]);
        balancer.lead_to([two]);
        assert_eq!([asked(), asked()].concat(), [2, 2]);
        balancer.lead_to([]);
        assert_eq!(asked(), [0_u8; 0]);
    }
}

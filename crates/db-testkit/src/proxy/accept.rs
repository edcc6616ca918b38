//! Accepts a proxy's connections, or refuses them.

use super::link::serve;
use super::plan::Mode;
use super::{Shared, lock};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A port that stays ours while nobody listens on it.
pub(super) struct Port {
    /// Bound and never listening: clients are refused, and no other process is given the port.
    _keeper: TcpSocket,
    pub(super) address: SocketAddr,
}

impl Port {
    pub(super) fn reserve() -> io::Result<Self> {
        let keeper = socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = keeper.local_addr()?;
        Ok(Self { _keeper: keeper, address })
    }

    pub(super) fn listen(&self) -> io::Result<TcpListener> {
        socket(self.address)?.listen(1024)
    }
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Runs until `stop` ends; every connection ends with it.
pub(super) async fn run(shared: Arc<Shared>, port: Port, listener: TcpListener, stop: oneshot::Receiver<()>) {
    tokio::select! {
        _ = stop => {}
        () = accept(shared, port, listener) => {}
    }
}

async fn accept(shared: Arc<Shared>, port: Port, listener: TcpListener) {
    let mut plan = shared.plan.subscribe();
    let mut links = JoinSet::new();
    let mut listener = Some(listener);
    loop {
        let refuse = plan.borrow_and_update().mode == Mode::Refuse;
        if refuse {
            listener = None;
        } else if listener.is_none() {
            match port.listen() {
                Ok(fresh) => listener = Some(fresh),
                Err(error) => {
                    tracing::error!(%error, port = port.address.port(), "the proxy cannot listen again")
                }
            }
        }
        *lock(&shared.listening) = listener.is_some();
        shared.listening_changed.notify_all();

        tokio::select! {
            biased;
            changed = plan.changed() => if changed.is_err() { return },
            Some(_) = links.join_next(), if !links.is_empty() => {}
            accepted = next(listener.as_ref()) => if let Ok((client, _)) = accepted {
                let (shared, plan) = (Arc::clone(&shared), shared.plan.subscribe());
                links.spawn(async move {
                    let _open = shared.counters.accepted();
                    serve(client, &shared, plan).await;
                });
            },
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

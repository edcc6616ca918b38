//! Ctrl-C and SIGTERM: the statement under way is cancelled on the server, so that its locks go at once.

use std::sync::OnceLock;
use std::time::Duration;

use db_platform::Endpoint;
use db_platform::pool::Connector;
use tokio::signal::unix::{SignalKind, signal};
use tokio_postgres::CancelToken;

/// How long the cancelling, and then the command's end, may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Cancels what runs on the command's one connection.
static CANCEL: OnceLock<(Connector, Endpoint, CancelToken)> = OnceLock::new();

/// From now on an interrupt cancels what runs on this connection.
pub(crate) fn cancels(connector: &Connector, host: &Endpoint, token: CancelToken) {
    // A command has one connection: the first is the one.
    let _ = CANCEL.set((connector.clone(), host.clone(), token));
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn interrupted() {
    from_now_on().await;
}

/// The same; a signal counts that comes after this call and before the future is polled.
pub(crate) fn from_now_on() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        match signals {
            (Ok(mut interrupt), Ok(mut terminate)) => {
                tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
            }
            _ => std::future::pending().await,
        }
    }
}

/// Asks the server to stop what it is doing for us. Whether there was anything to stop.
pub(crate) async fn cancel_statement() -> bool {
    let Some((connector, host, token)) = CANCEL.get() else { return false };
    // Best effort: a server that cannot be reached cannot be told.
    let _ = tokio::time::timeout(PATIENCE, connector.cancel(host, token)).await;
    true
}

//! PgBouncer in transaction mode before each node.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use db_core::{Acquire, Connect, Endpoint};
use db_replica_routing::{Freshness, RouterConfig};
use db_testkit::{Cluster, until};
use diesel_async::SimpleAsyncConnection;
use tokio::task::JoinSet;

use crate::{Opener, answering, config, router_with};

/// A PgBouncer in front of one server; dropping it ends it.
struct Pooler {
    child: Child,
    endpoint: Endpoint,
}

impl Pooler {
    fn start(directory: &Path, server: std::net::SocketAddr) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let file = directory.join(format!("{port}.ini"));
        let settings = format!(
            "[databases]\n* = host={} port={} user=postgres password=postgres\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = transaction\nignore_startup_parameters = extra_float_digits,options\n",
            server.ip(),
            server.port()
        );
        std::fs::write(&file, settings).unwrap();
        // It refuses to run as root.
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--pdeathsig", "KILL"]);
        command.arg("pgbouncer").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        Pooler { child: command.spawn().unwrap(), endpoint: Endpoint::new("127.0.0.1", port) }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// While others work, each statement of a session may run on another server connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs root and Debian's pgbouncer: apt-get install pgbouncer"]
async fn behind_pgbouncer_in_transaction_mode_roles_are_seen_and_a_failover_is_followed() {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), open_to_all).unwrap();
    let poolers = [0, 1].map(|server| Pooler::start(directory.path(), cluster.address_of(server).unwrap()));
    let at = |server: usize| poolers[server].endpoint.clone();
    until("they listen", async || {
        Opener.connect(&at(0)).await.is_ok() && Opener.connect(&at(1)).await.is_ok()
    })
    .await;
    let settings = RouterConfig { pooled: true, ..config() };
    let router = router_with(vec![at(1), at(0)], settings).await;
    assert_eq!(router.topology().writer, Some(at(0)));

    let stop = Arc::new(AtomicBool::new(false));
    let mut others = JoinSet::new();
    for _ in 0..8 {
        let (router, stop) = (router.clone(), Arc::clone(&stop));
        others.spawn(async move {
            while !AtomicBool::load(&stop, Ordering::Relaxed) {
                let mut conn = router.reader(Freshness::Any).acquire().await.unwrap();
                conn.batch_execute("SELECT pg_sleep(0.001)").await.unwrap();
            }
        });
    }
    let probes = || router.topology().nodes.iter().map(|node| node.probes).sum::<u64>();
    let before = probes();
    until("both were asked often", async || {
        let topology = router.topology();
        assert!(topology.nodes.iter().all(|node| node.is_up()), "{topology}");
        probes() > before + 40
    })
    .await;
    stop.store(true, Ordering::Relaxed);
    others.join_all().await;
    // Only now: diesel-async prepares statements of its own when it connects, which this version of PgBouncer loses.
    assert_eq!(answering(&router, Freshness::Default).await, at(1));

    // The pooler of the dead server lets clients in and keeps them waiting.
    cluster.kill(0).await.unwrap();
    until("it is noticed", async || router.topology().writer.is_none()).await;
    cluster.promote(1).await.unwrap();
    let mut conn = router.writer().acquire().await.unwrap();
    assert_eq!(*conn.endpoint(), at(1));
    conn.batch_execute("CREATE TABLE after_it ()").await.unwrap();
}

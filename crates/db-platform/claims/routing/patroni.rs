//! routing-6: three nodes under Patroni and etcd, whose leader's machine is killed under load.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use db_platform::{Db, Error};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use serde_json::json;

use crate::routing::ledger::{Compared, Proof, TABLE, Writers};
use crate::routing::{Readers, block_on, config, largest, millis, number, within};
use crate::{Figure, Size};

const NODES: usize = 3;
const BINARIES: &str = "/usr/lib/postgresql/15/bin";
const ACCOUNT: &str = "postgres";
/// Patroni takes no shorter one.
const LEADER_KEY_LIVES: u32 = 20;
const ELECTED: Duration = Duration::from_secs(90);
/// A failover under Patroni takes half a minute: whoever wants no error waits that long.
const WRITER_WAIT: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(150);

pub(crate) fn measure(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 5 } else { 1 };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("claims/routing/patroni.sh");
    assert!(Command::new("sh").arg(script).stdout(Stdio::null()).status().unwrap().success());
    let rounds: Vec<Round> = (0..rounds).map(|_| round()).collect();
    let longest = largest(&rounds.iter().map(|round| millis(round.first_write)).collect::<Vec<_>>());
    let sound =
        rounds.iter().all(|round| round.errors.is_empty() && round.rows.lost == 0 && round.rows.doubled == 0);
    Figure {
        value: longest,
        unit: "ms from Patroni's promotion to the first write, longest",
        holds: sound && longest <= millis(LIMIT),
        detail: json!(
            rounds
                .iter()
                .map(|round| json!({
                    "first_write_ms": millis(round.first_write),
                    "election_ms": millis(round.election),
                    "reads": round.reads,
                    "commits_unknown": round.unknown,
                    "errors": round.errors,
                    "doubled": round.rows.doubled,
                    "lost": round.rows.lost,
                    "lost_by_asynchronous_replication": round.rows.lost_by_replication,
                }))
                .collect::<Vec<_>>()
        ),
    }
}

struct Round {
    /// From the kill to the promotion: Patroni's own.
    election: Duration,
    first_write: Duration,
    reads: u64,
    unknown: u64,
    errors: Vec<String>,
    rows: Compared,
}

fn round() -> Round {
    let mut managed = Managed::start();
    let round = block_on(load(&mut managed));
    drop(managed);
    round
}

async fn load(managed: &mut Managed) -> Round {
    let leader = within_nodes(managed, "pg_is_in_recovery()", false, 1).await[0];
    within_nodes(managed, "EXISTS (SELECT FROM pg_stat_wal_receiver)", true, NODES - 1).await;
    // The router knows one node, which need not lead, and one Patroni; the rest it learns.
    let mut settings = config(&[managed.url((leader + 1) % NODES)]);
    settings.router.writer_wait = WRITER_WAIT;
    settings.patroni = vec![managed.api(leader).parse().unwrap()];
    let db = Db::connect(settings).await.unwrap();
    within(ELECTED, async || db.topology().nodes.len() == NODES && db.topology().writer.is_some())
        .await
        .unwrap();
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(TABLE).await?)).await.unwrap();
    let (readers, writers) = (Readers::start(&db, 8), Writers::start(&db, Proof::Id));
    within(Duration::from_secs(20), async || writers.acknowledged() > 200).await.unwrap();

    managed.kill(leader);
    let killed = Instant::now();
    let promoted = async {
        loop {
            for node in (0..NODES).filter(|node| *node != leader) {
                if managed.is_promoted(node) {
                    return (node, Instant::now());
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let (new, promoting) = tokio::time::timeout(ELECTED, promoted).await.unwrap();
    within(Duration::from_secs(20), async || writers.first_since(promoting).is_some()).await.unwrap();
    let first_write = writers.first_since(promoting).unwrap() - promoting;
    let so_far = writers.acknowledged();
    within(Duration::from_secs(20), async || writers.acknowledged() > so_far + 200).await.unwrap();
    let (mut told, reads) = (writers.finish().await, readers.finish().await);
    told.errors.extend(reads.errors);
    let mut conn = AsyncPgConnection::establish(&managed.url(new)).await.unwrap();
    let rows = told.compare(&mut conn, promoting).await;
    Round {
        election: promoting - killed,
        first_write,
        reads: reads.reads,
        unknown: told.unknown,
        errors: told.errors,
        rows,
    }
}

/// Waits until so many nodes answer a condition in this way.
async fn within_nodes(managed: &Managed, condition: &str, wanted: bool, count: usize) -> Vec<usize> {
    let sql = format!("SELECT ({condition})::int4::int8 AS n");
    let mut found = Vec::new();
    let waited = within(ELECTED, async || {
        found.clear();
        for node in 0..NODES {
            if let Ok(mut conn) = AsyncPgConnection::establish(&managed.url(node)).await
                && number(&mut conn, &sql).await.is_ok_and(|n| (n == 1) == wanted)
            {
                found.push(node);
            }
        }
        found.len() == count
    });
    waited.await.unwrap_or_else(|| panic!("{condition} is {wanted} on {found:?} after {ELECTED:?}"));
    found
}

/// Nodes, their Patronis and an etcd; dropping it ends all of them.
struct Managed {
    directory: PathBuf,
    children: Vec<Child>,
    ports: Vec<[u16; 2]>,
    _keep: tempfile::TempDir,
}

impl Managed {
    fn start() -> Self {
        let keep = tempfile::Builder::new().prefix("patroni-").tempdir().unwrap();
        let directory = keep.path().to_owned();
        assert!(Command::new("chown").arg(ACCOUNT).arg(&directory).status().unwrap().success());
        let [client, peer] = free_ports();
        let ports = (0..NODES).map(|_| free_ports()).collect();
        let mut managed = Managed { directory, children: Vec::new(), ports, _keep: keep };
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        managed.run("etcd", |etcd| {
            etcd.args(["--name", "e", "--data-dir", "etcd", "--listen-client-urls", &client])
                .args(["--advertise-client-urls", &client, "--listen-peer-urls", &peer])
                .args(["--initial-advertise-peer-urls", &peer, "--initial-cluster", &format!("e={peer}")])
        });
        for node in 0..NODES {
            let file = managed.directory.join(format!("n{node}.json"));
            std::fs::write(&file, managed.configuration(node, &client)).unwrap();
            managed.run("patroni", |patroni| patroni.arg(file));
        }
        managed
    }

    /// Patroni reads YAML, and JSON is YAML.
    fn configuration(&self, node: usize, etcd: &str) -> String {
        let [postgres, rest] = self.ports[node];
        let (data, sockets) = (self.directory.join(format!("n{node}")), &self.directory);
        let password = db_testkit::password();
        json!({
            "scope": "claim",
            "name": format!("n{node}"),
            "restapi": { "listen": format!("127.0.0.1:{rest}"), "connect_address": format!("127.0.0.1:{rest}") },
            "etcd3": { "hosts": etcd.trim_start_matches("http://") },
            "bootstrap": {
                "dcs": { "ttl": LEADER_KEY_LIVES, "loop_wait": 1, "retry_timeout": 3, "postgresql": { "use_pg_rewind": true } },
                "initdb": [{ "encoding": "UTF8" }, "data-checksums", { "auth-host": "scram-sha-256" }],
                "pg_hba": ["host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"],
            },
            "postgresql": {
                "listen": format!("127.0.0.1:{postgres}"),
                "connect_address": format!("127.0.0.1:{postgres}"),
                "data_dir": data,
                "bin_dir": BINARIES,
                "authentication": {
                    "superuser": { "username": "postgres", "password": password },
                    "replication": { "username": "replicator", "password": password },
                    "rewind": { "username": "rewinder", "password": password },
                },
                "parameters": { "unix_socket_directories": sockets, "log_line_prefix": "%m ", "fsync": "off" },
            },
        })
        .to_string()
    }

    fn run(&mut self, program: &str, arguments: impl FnOnce(&mut Command) -> &mut Command) {
        let log = std::fs::File::create(self.directory.join(format!("{program}{}.log", self.children.len())))
            .unwrap();
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            ACCOUNT,
            "--regid",
            ACCOUNT,
            "--clear-groups",
            "--pdeathsig",
            "TERM",
            program,
        ]);
        arguments(&mut command)
            .current_dir(&self.directory)
            .env("HOME", &self.directory)
            .stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.children.push(command.spawn().unwrap());
    }

    fn url(&self, node: usize) -> String {
        let (password, port) = (db_testkit::password(), self.ports[node][0]);
        format!("postgres://postgres:{password}@127.0.0.1:{port}/postgres")
    }

    fn api(&self, node: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[node][1])
    }

    /// Kills a node with its Patroni and all of its server's processes, as the crash of its machine would.
    fn kill(&mut self, node: usize) {
        let _ = self.children[1 + node].kill();
        let _ = self.children[1 + node].wait();
        let data = self.directory.join(format!("n{node}"));
        let Ok(text) = std::fs::read_to_string(data.join("postmaster.pid")) else { return };
        let Some(postmaster) = text.lines().next() else { return };
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        let pids = [postmaster].into_iter().chain(children.split_whitespace());
        let _ = Command::new("kill").arg("-9").args(pids).stderr(Stdio::null()).status();
    }

    /// Whether its server has been told to become the primary.
    fn is_promoted(&self, node: usize) -> bool {
        let log = std::fs::read_to_string(self.directory.join(format!("patroni{}.log", 1 + node)));
        log.is_ok_and(|log| log.contains("received promote request"))
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for entry in std::fs::read_dir(&self.directory).unwrap().map_while(Result::ok) {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                let tail: Vec<_> = text.lines().rev().take(5).collect();
                eprintln!("{}: {tail:#?}", entry.path().display());
            }
        }
        for node in 0..NODES {
            self.kill(node);
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Two ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

//! routing-9 and routing-12: names and addresses that lead to several servers, by turns or for a moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use db_platform::{Db, Error, Session};
use db_testkit::{Balancer, Cluster};
use diesel_async::SimpleAsyncConnection;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::routing::haproxy::Haproxy;
use crate::routing::{block_on, config, largest, millis, number, within};
use crate::{Figure, Size};

/// How a balancer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Address,
    Name,
    Haproxy,
}

const WAYS: [Way; 3] = [Way::Address, Way::Name, Way::Haproxy];

/// A way to some servers, for as long as it lives.
struct Path {
    url: String,
    balancer: Option<Balancer>,
    _haproxy: Option<Haproxy>,
}

impl Path {
    /// None where this way is not to be had.
    fn to(way: Way, url: &str, servers: &[SocketAddr]) -> Option<Path> {
        let balancer = Balancer::start(servers.iter().copied()).unwrap();
        let through = balancer.through(url).unwrap();
        let port = balancer.address().port();
        let (url, haproxy) = match way {
            Way::Address => (through, None),
            Way::Name => (through.replace("127.0.0.1", "localhost"), None),
            Way::Haproxy => {
                let haproxy = Haproxy::start(&[balancer.address()])?;
                (through.replace(&format!(":{port}"), &format!(":{}", haproxy.port())), Some(haproxy))
            }
        };
        Some(Path { url, balancer: Some(balancer), _haproxy: haproxy })
    }

    /// HAProxy itself takes turns.
    fn by_turns(way: Way, url: &str, servers: &[SocketAddr]) -> Option<Path> {
        if way != Way::Haproxy {
            return Path::to(way, url, servers);
        }
        let haproxy = Haproxy::start(servers)?;
        let port = url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).unwrap().0;
        let url = url.replace(&format!(":{port}/"), &format!(":{}/", haproxy.port()));
        Some(Path { url, balancer: None, _haproxy: Some(haproxy) })
    }
}

/// How many sessions there are at once, and how many reads each makes after its write.
const SESSIONS: u64 = 10;
const READS: u64 = 20;

/// What the standby that replays answers at least of a session's reads, whichever way they come.
const FAIR_SHARE: f64 = 0.3;

/// Reads are stale without what its declaration names; without the router's search for another connection
/// (`admitted` in its reader.rs) or its backends.rs too few of them are answered by a standby.
pub(crate) fn turns(size: Size) -> Figure {
    let wanted = if size == Size::Nightly { 20_000 } else { 2_000 };
    let (mut stale, mut holds, mut seen) = (0, true, Vec::new());
    for way in WAYS {
        let Some(round) = block_on(behind(way, wanted)) else {
            seen.push(json!({ "way": format!("{way:?}"), "skipped": "no haproxy" }));
            continue;
        };
        stale += round.stale;
        let share = round.by_standbys as f64 / wanted as f64;
        holds &= round.stale == 0 && round.errors == 0 && share >= FAIR_SHARE;
        seen.push(json!({
            "way": format!("{way:?}"),
            "reads": wanted,
            "stale": round.stale,
            "errors": round.errors,
            "by_standbys": round.by_standbys,
            "share": share,
        }));
    }
    Figure { value: stale as f64, unit: "stale reads", holds, detail: Value::Array(seen) }
}

#[derive(Default)]
struct Seen {
    stale: u64,
    errors: u64,
    by_standbys: u64,
}

/// Two standbys behind one name, one of which replays nothing more.
async fn behind(way: Way, wanted: u64) -> Option<Seen> {
    let cluster = Cluster::builder().standbys(2).start().await.unwrap();
    let standbys = [cluster.address_of(1).unwrap(), cluster.address_of(2).unwrap()];
    let path = Path::by_turns(way, &cluster.url_of(1).unwrap(), &standbys)?;
    let db = Db::connect(config(&[cluster.primary_url(), path.url.clone()])).await.unwrap();
    let create = "CREATE TABLE register (id int8 PRIMARY KEY, n int8 NOT NULL)";
    db.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(create).await?)).await.unwrap();
    for standby in 1..=2 {
        cluster.wait_until_caught_up(standby).await.unwrap();
    }
    cluster.pause_replay(2).await.unwrap();
    let (ids, stale, errors) = (Arc::new(AtomicU64::new(0)), Arc::default(), Arc::default());
    let before = db.topology().reads.by_standbys();
    let mut sessions = JoinSet::new();
    for _ in 0..SESSIONS {
        sessions.spawn(sessions_of(
            db.clone(),
            Arc::clone(&ids),
            wanted,
            [Arc::clone(&stale), Arc::clone(&errors)],
        ));
    }
    sessions.join_all().await;
    let count = |counter: &AtomicU64| AtomicU64::load(counter, Ordering::Relaxed);
    Some(Seen {
        stale: count(&stale),
        errors: count(&errors),
        by_standbys: db.topology().reads.by_standbys() - before,
    })
}

/// Sessions, one after the other: each writes a row and looks for it again and again.
async fn sessions_of(db: Db, ids: Arc<AtomicU64>, wanted: u64, [stale, errors]: [Arc<AtomicU64>; 2]) {
    loop {
        let id = ids.fetch_add(1, Ordering::Relaxed);
        if id * READS >= wanted {
            return;
        }
        let own = db.in_session(&Session::new());
        let insert = format!("INSERT INTO register VALUES ({id}, 1)");
        let wrote = own.transaction::<_, Error>(async |conn| Ok(conn.batch_execute(&insert).await?)).await;
        errors.fetch_add(wrote.is_err().into(), Ordering::Relaxed);
        let select = format!("SELECT count(*) AS n FROM register WHERE id = {id}");
        for _ in 0..READS {
            match own.read(async |conn| number(conn, &select).await).await {
                Ok(n) => stale.fetch_add((n == 0).into(), Ordering::Relaxed),
                Err(error) => {
                    eprintln!("{error}");
                    errors.fetch_add(1, Ordering::Relaxed)
                }
            };
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

const BACK_WITHIN: Duration = Duration::from_secs(1);

/// Fails without `.min(self.look_again()…)` in the router's monitor.rs (`connection`).
pub(crate) fn astray(size: Size) -> Figure {
    let rounds = if size == Size::Nightly { 20 } else { 3 };
    let (mut times, mut seen) = (Vec::new(), Vec::new());
    for way in WAYS {
        match block_on(led_astray(way, rounds)) {
            Some(took) => {
                seen.push(json!({ "way": format!("{way:?}"), "ms": took }));
                times.extend(took);
            }
            None => seen.push(json!({ "way": format!("{way:?}"), "skipped": "no haproxy" })),
        }
    }
    let longest = largest(&times);
    Figure {
        value: longest,
        unit: "ms until writes go on, longest",
        holds: longest <= millis(BACK_WITHIN),
        detail: Value::Array(seen),
    }
}

async fn led_astray(way: Way, rounds: usize) -> Option<Vec<f64>> {
    let cluster = Cluster::builder().standbys(1).start().await.unwrap();
    let (primary, standby) = (cluster.address_of(0).unwrap(), cluster.address_of(1).unwrap());
    let path = Path::to(way, &cluster.primary_url(), &[primary])?;
    let balancer = path.balancer.as_ref()?;
    let db = Db::connect(config(std::slice::from_ref(&path.url))).await.unwrap();
    let write = async || {
        let insert = async |conn: &mut diesel_async::AsyncPgConnection| {
            Ok::<_, Error>(conn.batch_execute("SELECT pg_current_xact_id()").await?)
        };
        db.transaction(insert).await
    };
    write().await.unwrap();
    let mut times = Vec::new();
    for _ in 0..rounds {
        balancer.lead_to([standby]);
        balancer.cut();
        let lost = within(Duration::from_secs(30), async || {
            db.topology().nodes[0].role == Some(db_platform::core::Role::Standby)
        });
        lost.await.unwrap();
        balancer.lead_to([primary]);
        let started = Instant::now();
        within(Duration::from_secs(60), async || write().await.is_ok()).await.unwrap();
        times.push(millis(started.elapsed()));
    }
    Some(times)
}

//! A primary is killed with answers to COMMIT under way, its standby takes over, and it comes back as the
//! standby, in turns.
//!
//! No answer is lost by luck: the proxy holds COMMITs, or their answers, until the primary is dead.
//!
//! The line to remove: `(_, _, false, ..)` in `judge` of db-retry's resolve.rs takes the word of the server
//! that took over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use db_platform::Resolve;
use db_testkit::{Cluster, CommitCut, Proxy, until};
use tokio::task::JoinSet;

use super::{Ledger, Outcome, Told, Writers, times};

/// How many answers are lost at each failover, with a marker row and without.
const HELD: usize = 2;

/// Transactions between two failovers, by callers whose answers nobody holds.
const BETWEEN: i32 = 40;

pub(super) async fn run(failovers: u32) -> Outcome {
    // A COMMIT is answered only when the other server has it: otherwise the failover itself would lose some.
    let builder = Cluster::builder().standbys(1).setting("synchronous_commit", "on");
    let cluster = builder.setting("synchronous_standby_names", "*").start().await.unwrap();
    let ledger = Ledger::create(&cluster).await;
    let first = cluster.address_of(0).unwrap();
    let (proxy, beside) = (Proxy::start(first).unwrap(), Proxy::start(first).unwrap());
    let held = Writers::start(&proxy.through(&cluster.primary_url()).unwrap(), &ledger).await;
    let load = Load::start(&beside.through(&cluster.primary_url()).unwrap(), &ledger).await;
    let (mut unexpected, mut unresolved, mut lost_answers) = (0, 0, 0);
    for round in 0..failovers {
        load.written(BETWEEN).await;
        let cut = if round % 2 == 0 { CommitCut::Unanswered } else { CommitCut::HeldBack };
        let (marked, unmarked) = hold(&proxy, &held, cut).await;
        let (old, new) = (cluster.primary(), 1 - cluster.primary());
        cluster.kill(old).await.unwrap();
        cluster.promote(new).await.unwrap();
        let address = cluster.address_of(new).unwrap();
        proxy.redirect(address).unwrap();
        beside.redirect(address).unwrap();
        // What is committed now waits for it.
        cluster.rejoin(old).await.unwrap();
        let (marked, unmarked) = (marked.join_all().await, unmarked.join_all().await);
        lost_answers += (marked.len() + unmarked.len()) as u64;
        let mut conn = cluster.connect(new).await.unwrap();
        for (n, told) in marked {
            unresolved += u64::from(told == Told::Unknown);
            unexpected += u32::from(told != Told::Committed || times(&mut conn, n).await != 1);
        }
        for (n, told) in unmarked {
            let kept = i64::from(cut == CommitCut::Unanswered);
            unexpected += u32::from(told != Told::Unknown || times(&mut conn, n).await != kept);
        }
    }
    let beside = load.stop().await;
    let mut conn = cluster.connect(cluster.primary()).await.unwrap();
    Outcome {
        lost_answers: lost_answers + beside,
        resolvable: lost_answers / 2,
        unresolved,
        unexpected,
        met: vec![("failovers", failovers.into())],
        ..ledger.compare(&mut conn).await
    }
}

/// Transactions under way whose callers will get no answer.
pub(super) type Held = JoinSet<(i32, Told)>;

/// Begins transactions whose COMMIT, or the answer to it, the proxy holds: with a marker row, and without.
pub(super) async fn hold(proxy: &Proxy, writers: &Writers, cut: CommitCut) -> (Held, Held) {
    let before = proxy.counters().commits_cut;
    proxy.cut_commits(2 * HELD as u64, cut);
    let begin = |resolve| {
        let mut held = JoinSet::new();
        for _ in 0..HELD {
            let writers = writers.clone();
            held.spawn(async move { writers.write(resolve).await });
        }
        held
    };
    let both = (begin(Resolve::ByMarker), begin(Resolve::ByTransactionId));
    until("they are held", async || proxy.counters().commits_cut == before + 2 * HELD as u64).await;
    both
}

/// Callers that write without pause.
struct Load {
    writers: Writers,
    stop: Arc<AtomicBool>,
    writing: JoinSet<()>,
}

impl Load {
    async fn start(url: &str, ledger: &Arc<Ledger>) -> Load {
        let (writers, stop) = (Writers::start(url, ledger).await, Arc::new(AtomicBool::new(false)));
        let mut writing = JoinSet::new();
        for resolve in [Resolve::ByMarker, Resolve::ByTransactionId] {
            let (writers, stop) = (writers.clone(), Arc::clone(&stop));
            writing.spawn(async move {
                while !AtomicBool::load(&stop, Ordering::Relaxed) {
                    writers.write(resolve).await;
                }
            });
        }
        Load { writers, stop, writing }
    }

    /// Waits until so many more were begun.
    async fn written(&self, more: i32) {
        let next = &self.writers.ledger.next;
        let goal = AtomicI32::load(next, Ordering::Relaxed) + more;
        until("transactions", async || AtomicI32::load(next, Ordering::Relaxed) >= goal).await;
    }

    /// Ends them; says how many answers were lost.
    async fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.writing.join_all().await;
        self.writers.db.lost_commits().lost()
    }
}

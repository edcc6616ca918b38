//! The server crashes with answers to COMMIT under way, starts again, and gives the transactions' ids to
//! others.
//!
//! The line to remove: `(_, _, _, false, _)` in `judge` of db-retry's resolve.rs takes the others' outcome
//! for their own.

use db_testkit::{Cluster, CommitCut, Proxy};

use super::failovers::hold;
use super::{Ledger, Outcome, Told, Writers, count, times};

pub(super) async fn run(rounds: u32) -> Outcome {
    // Nothing of a transaction reaches the disk before its COMMIT does, so its id is free again.
    let cluster = Cluster::builder().setting("wal_writer_delay", "10s").start().await.unwrap();
    let ledger = Ledger::create(&cluster).await;
    let proxy = Proxy::start(cluster.address_of(0).unwrap()).unwrap();
    let writers = Writers::start(&proxy.through(&cluster.primary_url()).unwrap(), &ledger).await;
    let mut all = Outcome::default();
    let mut given_again = 0;
    for round in 0..rounds {
        let cut = if round % 2 == 0 { CommitCut::Unanswered } else { CommitCut::HeldBack };
        let (marked, unmarked) = hold(&proxy, &writers, cut).await;
        // Nobody can ask before the ids are somebody else's.
        proxy.refuse();
        cluster.kill(0).await.unwrap();
        cluster.start(0).await.unwrap();
        let mut conn = cluster.connect(0).await.unwrap();
        for _ in 0..20 {
            count(&mut conn, "SELECT pg_current_xact_id()::text::bigint AS n").await;
        }
        proxy.heal();
        let (marked, unmarked) = (marked.join_all().await, unmarked.join_all().await);
        all.lost_answers += (marked.len() + unmarked.len()) as u64;
        all.resolvable += marked.len() as u64;
        for (n, told) in marked {
            all.unresolved += u64::from(told == Told::Unknown);
            all.unexpected += u32::from(told != Told::Committed || times(&mut conn, n).await != 1);
        }
        for (n, told) in unmarked {
            let kept = times(&mut conn, n).await;
            let right = match cut {
                CommitCut::Unanswered => told == Told::Unknown && kept == 1,
                // Where its id was not given again the server's word is proof, and it ran once more.
                _ => (told == Told::Unknown && kept == 0) || (told == Told::Committed && kept == 1),
            };
            given_again += u64::from(cut == CommitCut::HeldBack && told == Told::Unknown);
            all.unexpected += u32::from(!right);
        }
    }
    let compared = ledger.compare(&mut cluster.connect(0).await.unwrap()).await;
    Outcome {
        lost_answers: all.lost_answers,
        resolvable: all.resolvable,
        unresolved: all.unresolved,
        unexpected: all.unexpected,
        met: vec![("crashes", rounds.into()), ("ids_given_again", given_again)],
        ..compared
    }
}

//! The area `routing`: reads and writes over several servers, against what applications write by hand.

use std::time::Duration;

use db_benches::pairs::{Compared, Medians, median};
use db_benches::routing::failover::{self, Failover, How};
use db_benches::routing::tokens::{self, Answers, Policy};
use db_benches::routing::{decision, slow_standby, throughput};
use serde_json::{Value, json};

use crate::line::{print, range, round};

/// Of measurements that take a second or two.
const PAIRS: usize = 30;

pub(crate) fn measure(wanted: impl Fn(&str) -> bool) {
    if wanted("decision") {
        decisions();
    }
    if wanted("throughput") {
        more_standbys();
    }
    if wanted("slow") {
        a_slow_standby();
    }
    if wanted("tokens") {
        own_writes();
    }
    if wanted("failover") {
        failovers("failover", How::Killed, PAIRS);
        failovers("switchover", How::Stopped, PAIRS);
        failovers("frozen", How::Frozen, PAIRS / 3);
    }
}

/// The keys that every line has.
fn line(bench: &str, peer: &str, unit: &str, medians: &Medians, detail: &Value) -> Value {
    let [low, high] = medians.interval;
    json!({
        "bench": format!("routing-{bench}"), "ours": round(medians.ours), "peer": round(medians.peer),
        "peer_name": peer, "unit": unit, "ratio": round(medians.ratio), "interval": [round(low), round(high)],
        "target": null, "holds": null, "detail": detail,
    })
}

fn promised(mut line: Value, target: &str, holds: bool) -> Value {
    (line["target"], line["holds"]) = (target.into(), holds.into());
    line
}

fn decisions() {
    const MOST_ON_TOP: f64 = 300.0;
    let costs = decision::measure(20 * PAIRS);
    let show = |bench: &str, cost: &Compared, most: Option<f64>| {
        let Compared { ours, peer, ratio, interval, pairs, .. } = *cost;
        let detail = json!({
            "pairs": pairs, "on_top_ns": round(cost.on_top), "on_top_interval": cost.on_top_interval.map(round),
        });
        let line =
            line(bench, "the pool alone", "ns", &Medians { ours, peer, ratio, interval, pairs }, &detail);
        print(&match most {
            Some(most) => promised(line, &format!("at most {most} ns on top"), cost.on_top <= most),
            None => line,
        });
    };
    show("decision-reader", &costs.reader, Some(MOST_ON_TOP));
    show("decision-token", &costs.token, None);
    show("decision-writer", &costs.writer, None);
}

fn more_standbys() {
    let rounds = throughput::measure(PAIRS);
    let unit = "reads/s";
    for standbys in 1..=throughput::MOST {
        let pairs: Vec<_> =
            rounds.iter().map(|round| (round.ours[standbys - 1], round.peer[standbys - 1])).collect();
        let detail = json!({ "pairs": pairs.len(), "ideal": throughput::IDEAL * standbys as f64 });
        print(&line(
            &format!("throughput-{standbys}"),
            "deadpools in turn",
            unit,
            &Medians::of(&pairs),
            &detail,
        ));
    }
    for standbys in 2..=throughput::MOST {
        let pairs: Vec<_> = rounds.iter().map(|round| (round.ours[standbys - 1], round.ours[0])).collect();
        let by_peer: Vec<_> = rounds.iter().map(|round| (round.peer[standbys - 1], round.peer[0])).collect();
        let detail = json!({ "pairs": pairs.len(), "deadpools_in_turn": round(Medians::of(&by_peer).ratio) });
        print(&line(&format!("scale-{standbys}"), "ours with one", unit, &Medians::of(&pairs), &detail));
    }
}

fn a_slow_standby() {
    let seconds = slow_standby::measure(PAIRS);
    let show = |bench: &str, unit: &str, figure: fn(&slow_standby::Served) -> f64| {
        let pairs: Vec<_> = seconds.iter().map(|(ours, peer)| (figure(ours), figure(peer))).collect();
        let detail = json!({
            "pairs": pairs.len(),
            "ours": range(pairs.iter().map(|pair| pair.0)), "peer": range(pairs.iter().map(|pair| pair.1)),
        });
        print(&line(bench, "deadpools in turn", unit, &Medians::of(&pairs), &detail));
    };
    show("slow-standby-p99", "ms", |served| served.p99_millis);
    show("slow-standby-reads", "reads/s", |served| served.reads_per_second);
}

fn own_writes() {
    const LEAST: f64 = 0.8;
    let (half_a_minute, two_seconds) = (Duration::from_secs(30), Duration::from_secs(2));
    let policies =
        [Policy::Tokens, Policy::Sticking(half_a_minute), Policy::Sticking(two_seconds), Policy::Nothing];
    let answers = tokens::measure(&policies, PAIRS);
    let [ours, peers @ ..] = answers.as_slice() else { return };
    let told = |answers: &Answers| json!({ "share": round(answers.share()), "reads": answers.reads, "stale": answers.stale });
    for peer in peers {
        let (bench, name) = match peer.policy {
            Policy::Sticking(time) => {
                let time = time.as_secs();
                (format!("token-share-sticking-{time}"), format!("primary for {time} s"))
            }
            Policy::Tokens | Policy::Nothing => {
                ("token-share-nothing".to_owned(), "no care taken".to_owned())
            }
        };
        let pairs: Vec<_> = ours.shares.iter().copied().zip(peer.shares.iter().copied()).collect();
        let detail = json!({ "pairs": pairs.len(), "ours": told(ours), "peer": told(peer) });
        let medians = Medians { ours: ours.share(), peer: peer.share(), ..Medians::of(&pairs) };
        let line = line(&bench, &name, "of reads", &medians, &detail);
        let target = format!("ours at least {LEAST}, none stale");
        print(&promised(line, &target, ours.share() >= LEAST && ours.stale == 0));
    }
}

fn failovers(bench: &str, how: How, count: usize) {
    const PEER: &str = "deadpool, read-write URL";
    // Where a frozen server has to be noticed first, nothing is promised.
    let most = (how != How::Frozen).then_some(150.0);
    let seen = failover::measure(how, count);
    let pairs: Vec<_> =
        seen.iter().map(|one| (one.ours.first_write_millis, one.peer.first_write_millis)).collect();
    let ideals = || seen.iter().map(|one| one.ideal_millis);
    let detail = json!({
        "pairs": pairs.len(),
        "ours": range(pairs.iter().map(|pair| pair.0)), "peer": range(pairs.iter().map(|pair| pair.1)),
        "ideal": round(median(ideals().collect()).0), "ideal_range": range(ideals()),
    });
    let medians = Medians::of(&pairs);
    let line = line(bench, PEER, "ms", &medians, &detail);
    print(&match most {
        Some(most) => promised(line, &format!("ours at most {most} ms"), medians.ours <= most),
        None => line,
    });

    let sum = |figure: &dyn Fn(&Failover) -> usize| seen.iter().map(figure).sum::<usize>();
    let (ours, peer) = (sum(&|one| one.ours.errors), sum(&|one| one.peer.errors));
    let each = |errors: usize| round(errors as f64 / seen.len() as f64);
    print(&json!({
        "bench": format!("routing-{bench}-errors"), "ours": each(ours), "peer": each(peer), "peer_name": PEER,
        "unit": "errors each", "target": "ours none", "holds": ours == 0,
        "detail": { "failovers": seen.len(), "ours": ours, "peer": peer, "unknown": sum(&|one| one.ours.unknown) },
    }));
}

//! The area `pool`: ours against other people's pools and drivers.

use std::time::Duration;

use db_benches::pairs::median;
use db_benches::peers::Peer;
use db_benches::{checkout, outage, spike, statement, tap, waits};
use serde_json::json;

use crate::line::{print, round, show};

const PAIRS: usize = 60;

pub(crate) fn measure(wanted: impl Fn(&str) -> bool) {
    if wanted("get") {
        Peer::ALL.into_iter().for_each(get_and_return);
    }
    if wanted("waits") {
        Peer::ALL.into_iter().for_each(waiting);
    }
    if wanted("read") {
        show("pool-read-diesel", "bare diesel-async", &statement::against_diesel(20 * PAIRS), Some(1.1));
        show("pool-read-postgres", "tokio-postgres", &statement::against_tokio_postgres(20 * PAIRS), None);
    }
    if wanted("tap") {
        show("pool-tap-select-1", "without the tap", &tap::on_select_1(30 * PAIRS), Some(1.02));
        show("pool-tap-200000-rows", "without the tap", &tap::on_200_000_rows(2 * PAIRS), Some(1.02));
    }
    if wanted("spike") {
        [Peer::Deadpool, Peer::Bb8].into_iter().for_each(a_spike);
    }
    if wanted("down") {
        Peer::ALL.into_iter().for_each(down);
    }
}

fn get_and_return(peer: Peer) {
    let most = (peer == Peer::Deadpool).then_some(1.3);
    let name = peer.name();
    show(&format!("pool-get-{name}"), name, &checkout::alone(peer, 2 * PAIRS), most);
    show(&format!("pool-get-64-on-4-{name}"), name, &checkout::crowded(peer, PAIRS), most);
}

fn waiting(peer: Peer) {
    let (ours, theirs) = waits::measure(peer, 30);
    let detail = |waits: &waits::Waits| {
        json!({
            "median_us": round(waits.median), "p99_us": round(waits.p99), "max_us": round(waits.max),
            "max_over_median": round(waits.spread), "worst": round(waits.worst_spread),
        })
    };
    print(&json!({
        "bench": format!("pool-wait-64-on-4-{}", peer.name()), "ours": round(ours.spread), "peer": round(theirs.spread),
        "peer_name": peer.name(), "unit": "max wait / median", "ratio": round(ours.spread / theirs.spread),
        "target": "ours at most 3", "holds": ours.spread <= 3.0,
        "detail": { "ours": detail(&ours), "peer": detail(&theirs) },
    }));
}

fn a_spike(peer: Peer) {
    let spikes = spike::measure(peer, 30);
    let (ratio, [low, high]) =
        median(spikes.iter().map(|(ours, theirs)| ours.millis / theirs.millis).collect());
    let ours = median(spikes.iter().map(|(ours, _)| ours.millis).collect()).0;
    let theirs = median(spikes.iter().map(|(_, theirs)| theirs.millis).collect()).0;
    let slowest = |millis: fn(&(spike::Spike, spike::Spike)) -> f64| {
        round(spikes.iter().map(millis).fold(0.0, f64::max))
    };
    let most = |connections: fn(&(spike::Spike, spike::Spike)) -> u64| spikes.iter().map(connections).max();
    let connections = most(|(ours, _)| ours.connections);
    let limit = spike::IDEAL_MILLIS + 30.0;
    print(&json!({
        "bench": format!("pool-spike-{}", peer.name()), "ours": round(ours), "peer": round(theirs),
        "peer_name": peer.name(), "unit": "ms", "ratio": round(ratio), "interval": [round(low), round(high)],
        "target": format!("at most {limit} ms and 7 connections"),
        "holds": ours <= limit && connections.is_some_and(|connections| connections <= 7),
        "detail": { "connections": connections, "peer_connections": most(|(_, theirs)| theirs.connections),
            "slowest": slowest(|(ours, _)| ours.millis), "peer_slowest": slowest(|(_, theirs)| theirs.millis) },
    }));
}

fn down(peer: Peer) {
    let (ours, theirs) = outage::measure(peer, Duration::from_secs(3));
    print(&json!({
        "bench": format!("pool-down-{}", peer.name()), "ours": round(ours), "peer": round(theirs),
        "peer_name": peer.name(), "unit": "connects/s", "ratio": round(ours / theirs), "target": "ours at most 10",
        "holds": ours <= 10.0,
    }));
}

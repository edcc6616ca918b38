//! The area `loader`: batches of loads, against async-graphql's loader and what applications write by hand.

use db_benches::loader;

use crate::line::show;

const PAIRS: usize = 60;
const PEER: &str = "async-graphql 8.0.0-rc.5";

pub(crate) fn measure(wanted: impl Fn(&str) -> bool) {
    if wanted("chain") {
        show("loader-chain-memory", PEER, &loader::chain_in_memory(PAIRS), Some(0.1));
        show("loader-chain-server", PEER, &loader::chain_on_a_server(PAIRS), Some(0.2));
    }
    if wanted("many") {
        show("loader-many-memory", PEER, &loader::many_in_memory(PAIRS), None);
        show("loader-many-server", PEER, &loader::many_on_a_server(PAIRS), None);
        show("loader-many-by-hand", "= ANY by hand", &loader::many_by_hand(5 * PAIRS), None);
    }
}

//! Database servers that are some way off: everything that is sent to them is delayed.

use std::time::Duration;

use db_testkit::{Direction, Proxy, TestkitError};

/// The variables that name them, as `cargo xtask demo` sets them.
const NAMES: [&str; 2] = ["DATABASE_URL", "DATABASE_READ_URLS"];

/// What lies between the load and its servers. It is there until it is dropped.
#[derive(Default)]
pub(crate) struct Network {
    _proxies: Vec<Proxy>,
}

/// The environment, where a round trip to each database server takes so long on top.
pub(crate) fn delayed(round_trip: Duration) -> Result<(Network, Vec<(String, String)>), TestkitError> {
    let mut network = Network::default();
    let mut vars: Vec<(String, String)> = std::env::vars().collect();
    for (_, urls) in vars.iter_mut().filter(|(name, _)| NAMES.contains(&name.as_str())) {
        let through = urls.split(',').map(|url| network.through(url, round_trip));
        *urls = through.collect::<Result<Vec<_>, _>>()?.join(",");
    }
    Ok((network, vars))
}

impl Network {
    fn through(&mut self, url: &str, round_trip: Duration) -> Result<String, TestkitError> {
        let address = url.rsplit('@').next().unwrap_or(url);
        let proxy = Proxy::start(address.split(['/', '?']).next().unwrap_or(address))?;
        for direction in [Direction::ToServer, Direction::ToClient] {
            proxy.delay(direction, round_trip / 2, Duration::ZERO);
        }
        let url = proxy.through(url);
        self._proxies.push(proxy);
        url
    }
}

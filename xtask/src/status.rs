//! `status`: what runs of the development cluster.

use crate::command::{Command, Options};
use crate::failure::{Failure, Result};
use crate::{dev, say, table};

pub(crate) const COMMAND: Command = Command {
    name: "status",
    line: "show what runs of the development cluster, with pids and ports",
    help: "
cargo xtask status

Lists the development cluster's servers and its URLs, with their passwords. Exit status 0 if all of them run, 1 otherwise.",
    run,
};

fn run(options: Options) -> Result {
    options.none()?;
    let cluster = dev::cluster()?;
    let Some(state) = cluster.state()? else {
        return Err(Failure::said("there is no development cluster: `cargo xtask up` starts one"));
    };
    let row = |node: &db_server::DevNode, role: &str| {
        let alive = if node.stamp.is_alive() { "runs" } else { "is gone" };
        vec![
            node.name.clone(),
            role.to_owned(),
            alive.to_owned(),
            node.stamp.pid.to_string(),
            node.port.to_string(),
        ]
    };
    let role = |index| if index == 0 { "primary" } else { "standby" };
    let mut rows: Vec<_> =
        state.nodes.iter().enumerate().map(|(index, node)| row(node, role(index))).collect();
    rows.extend(state.redis.iter().map(|node| row(node, "cache")));
    say::note(&format!("PostgreSQL {} in {}", state.major, cluster.dir().display()));
    say::note(&table::render(&["name", "role", "state", "pid", "port"], &rows));
    dev::print(&state);
    if state.is_up() { Ok(()) } else { Err(Failure::said("not all of it runs: `cargo xtask up` repairs it")) }
}

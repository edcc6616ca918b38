//! `down`: stops the development cluster.

use crate::command::{Command, Options};
use crate::failure::Result;
use crate::{dev, say};

pub(crate) const COMMAND: Command = Command {
    name: "down",
    line: "stop the development cluster and keep its data",
    help: "
cargo xtask down

Stops every server of the development cluster, however it was left: half-started, paused, or with its state file gone.
A process is only ended if it is the recorded one (same pid and same start), or works in the cluster's own directory.
A state file that cannot be read is removed. The data stay; `up` starts on them again, `reset` forgets them.",
    run,
};

fn run(options: Options) -> Result {
    options.none()?;
    let down = dev::cluster()?.down()?;
    if down.ended.is_empty() {
        say::note("nothing was running");
    }
    dev::tell(&down);
    Ok(())
}

//! `reset`: the development cluster anew.

use crate::command::{Command, Options};
use crate::failure::Result;
use crate::{dev, up};

pub(crate) const COMMAND: Command = Command {
    name: "reset",
    line: "stop the development cluster, forget its data, start it anew",
    help: "
cargo xtask reset [--pg 14|15|16|17|18|19] [--standbys N] [--no-redis]

Down, then away with the data, then up with these options (see `cargo xtask up --help`). Only the development cluster's
own directory is removed. `cargo xtask migrate` and `cargo xtask seed dev` fill the new one.",
    run,
};

fn run(mut options: Options) -> Result {
    let wishes = up::read(&mut options)?;
    let cluster = dev::cluster()?;
    dev::tell(&cluster.remove()?);
    up::start(&wishes)
}

//! `seed`: fills the development cluster.

use crate::command::{Command, Options};
use crate::failure::{Failure, Result};
use crate::{children, dev, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "seed",
    line: "load a data set into the development cluster: dev, test or staging",
    help: "
cargo xtask seed dev|test|staging [--scale X]

Runs `dbctl seed` on seeds/, on the development cluster, or on the database that DATABASE_URL names; then APP_ENV
must say which environment that database belongs to. The same seed number always gives the same rows, and loading
twice is harmless. --scale makes staging larger or smaller (1 is about a million events).",
    run,
};

const SETS: [&str; 3] = ["dev", "test", "staging"];

fn run(mut options: Options) -> Result {
    let mut words = options.rest()?.into_iter().map(|word| word.to_string_lossy().into_owned());
    let set = words.next().unwrap_or_default();
    if !SETS.contains(&set.as_str()) {
        return Err(Failure::Usage(format!("seed {set}: there are {}", SETS.join(", "))));
    }
    let mut dbctl = children::cargo(&["run", "--quiet", "--package", "db-cli", "--bin", "dbctl", "--"]);
    dbctl.args(["seed", &set, "--dir", "seeds"]).args(words);
    children::run(dev::aim(&mut dbctl)?.current_dir(workspace::root()))
}

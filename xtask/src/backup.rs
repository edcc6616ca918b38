//! `backup drill`: loses a server under load and brings it back to a second of the caller's choice.

use lexopt::Arg;

use crate::command::{Command, Options, unexpected};
use crate::failure::{Failure, Result};
use crate::{children, say, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "backup",
    line: "lose a server under load, and bring it back to a second of your choice",
    help: "
cargo xtask backup drill [--seconds N] [--back N]

Starts a server of its own that archives with dbctl, takes a full backup, writes for N seconds (20 unless said), kills the
server, restores with dbctl to --back seconds (5 unless said) before the last commit, and compares: what is there must be
exactly what was committed until then. Says how long each took. The tests run the same with less load.",
    run,
};

fn run(mut options: Options) -> Result {
    let (mut what, mut seconds, mut back) = (None, 20_u32, 5_u32);
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Value(value) if what.is_none() && value == "drill" => what = Some(()),
            Arg::Long("seconds") => seconds = options.number()?,
            Arg::Long("back") => back = options.number()?,
            other => return Err(unexpected(&other)),
        }
    }
    if what.is_none() {
        return Err(Failure::Usage("backup what? drill is the one".to_owned()));
    }
    if back >= seconds {
        return Err(Failure::Usage(format!(
            "--back {back}: the target must lie within the load of {seconds} s"
        )));
    }
    let mut drill = children::cargo(&["test", "--quiet", "--package", "db-cli", "--test", "it", "--"]);
    drill.args(["drill::", "--nocapture"]).current_dir(workspace::root());
    drill.env("DRILL_SECONDS", seconds.to_string()).env("DRILL_BACK", back.to_string());
    say::step("drill", || children::run(&mut drill))
}

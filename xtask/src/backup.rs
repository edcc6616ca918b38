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

/// What the drill is called with, in seconds.
#[derive(Debug, PartialEq, Eq)]
struct Wishes {
    /// How long it writes.
    seconds: u32,
    /// How long before the last commit the target lies.
    back: u32,
}

fn run(options: Options) -> Result {
    let wishes = wishes(options)?;
    let mut drill = children::cargo(&["test", "--quiet", "--package", "db-cli", "--test", "it", "--"]);
    drill.args(["drill::", "--nocapture"]).current_dir(workspace::root());
    drill.env("DRILL_SECONDS", wishes.seconds.to_string()).env("DRILL_BACK", wishes.back.to_string());
    say::step("drill", || {
        let mut has_compared = false;
        children::watch(&mut drill, |line| has_compared |= line.starts_with(COMPARED))?;
        // A filter that meets no test is a success to cargo.
        if has_compared {
            Ok(())
        } else {
            Err(Failure::said("the drill compared nothing: its test did not run"))
        }
    })
}

/// How the drill's last line begins.
const COMPARED: &str = "compared ";

fn wishes(mut options: Options) -> Result<Wishes> {
    let (mut what, mut wishes) = (None, Wishes { seconds: 20, back: 5 });
    while let Some(arg) = options.next()? {
        match arg {
            Arg::Value(value) if what.is_none() && value == "drill" => what = Some(()),
            Arg::Long("seconds") => wishes.seconds = options.number()?,
            Arg::Long("back") => wishes.back = options.number()?,
            other => return Err(unexpected(&other)),
        }
    }
    if what.is_none() {
        return Err(Failure::Usage("backup what? drill is the one".to_owned()));
    }
    let Wishes { seconds, back } = wishes;
    if back >= seconds {
        return Err(Failure::Usage(format!(
            "--back {back}: the target must lie within the load of {seconds} s"
        )));
    }
    Ok(wishes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&'static str], expected: Option<(u32, u32)>) {
        let read = wishes(Options::of(words.to_vec()));
        let expected = expected.map(|(seconds, back)| Wishes { seconds, back });
        assert_eq!(read.ok(), expected, "{words:?}");
    }

    #[test]
    fn a_drill_goes_back_to_a_moment_within_its_load() {
        check(&["drill"], Some((20, 5)));
        check(&["drill", "--seconds", "8", "--back", "3"], Some((8, 3)));
        check(&["drill", "--seconds", "5"], None);
        check(&["drill", "--back", "soon"], None);
        check(&["drill", "drill"], None);
        check(&[], None);
    }
}

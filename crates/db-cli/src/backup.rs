//! `dbctl backup`: one library call for each command.

pub(crate) mod checking;
mod copying;
mod dumps;
mod finish;
mod importing;
mod keys;
mod list;
pub(crate) mod rehearsal;
pub(crate) mod removing;
mod restore;
mod show;
pub(crate) mod taking;

use std::process::ExitCode;

use crate::args::Options;
use crate::backup_args::Backup;
use crate::error::CliError;

pub(crate) use restore::restore_command;

pub(crate) async fn run(command: Backup, options: &Options) -> Result<ExitCode, CliError> {
    match command {
        Backup::Init(init) => keys::init(&init, options).await,
        Backup::Take(take) if take.logical => dumps::take(&take, options).await,
        Backup::Take(take) => taking::run(&take, options).await,
        Backup::List(of) => list::run(&of, options).await,
        Backup::Info(info) => show::run(&info, options).await,
        Backup::Restore(restore) => restore::run(&restore, options).await,
        Backup::Finish(finish) => finish::run(&finish, options).await,
        Backup::Rehearse(rehearse) => rehearsal::run(&rehearse, options).await,
        Backup::Verify(verify) => checking::run(&verify, options).await,
        Backup::Expire(expire) => removing::expire(&expire, options).await,
        Backup::Delete(delete) => removing::delete(&delete, options).await,
        Backup::Rekey(rekey) => keys::rekey(&rekey, options).await,
        Backup::Copy(copy) => copying::run(&copy, options).await,
        Backup::Import(import) => importing::run(&import, options).await,
    }
}

//! The command line of `dbctl backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use db_platform::backup::VerifyScope;

const TAKE_HELP: &str = "Examples:
  dbctl backup take                         a full backup
  dbctl backup take --incremental           what changed since the newest one (PostgreSQL 17 and later)
  dbctl backup take --label before-2.0 --pin

The server must archive its log for a restore to any second: archive_command = 'dbctl wal push %p'.";

const RESTORE_HELP: &str = "Examples:
  dbctl backup restore --to /var/lib/postgresql/17/copy
  dbctl backup restore --to /srv/copy --time '2026-11-28 12:30:00+01'
  dbctl backup restore --to /var/lib/postgresql/17/main --in-place --force
  dbctl backup restore --to /var/lib/postgresql/17/main --undo
  dbctl backup restore 20261128T114200Z-logical --into shop_restored --table orders

Nothing is touched before the plan was printed and, at a terminal, confirmed. Start the server when it is done: it fetches \
the log with `dbctl wal fetch`, and takes writes at the target. Then run `dbctl backup finish`, or wait with --wait.";

const IMPORT_HELP: &str = "Examples:
  dbctl backup import --plan                       what would come over from /var/lib/pgbackrest
  dbctl backup import --from /srv/pgbackrest --stanza main
  dbctl backup import --all
  dbctl backup import --backup 20261128-114200F

Without --backup and --all the newest backup comes over, and the log from its start on. What is there already is left, so it can \
be run again until the server archives here. The passphrase is read from PGBACKREST_REPO1_CIPHER_PASS, and a repository on S3 \
from PGBACKREST_REPO1_TYPE=s3 and the variables beside it.";

#[derive(Subcommand)]
pub(crate) enum Backup {
    /// Make the repository, after finding out whether the store is fit for one; prints its keys once.
    Init(Init),
    /// Take a backup of the server that DATABASE_DIRECT_URL or DATABASE_URL names.
    #[command(after_help = TAKE_HELP)]
    Take(Take),
    /// Print the backups.
    List(Of),
    /// Print everything about one backup, or how the repository is doing.
    Info(Info),
    /// Read everything back and compare it with its checksums; exit status 3 where something is wrong.
    Verify(Verify),
    /// Restore into a throw-away server, look at what is in it, and measure how long that took; exit status 3
    /// where it is not what it should be.
    Rehearse(Rehearse),
    /// Restore a backup into a directory, up to a moment.
    #[command(after_help = RESTORE_HELP)]
    Restore(Box<Restore>),
    /// Say which point a restored server has reached, and take the settings of the restore out once it takes
    /// writes.
    ///
    /// Run it on the server's machine once the server was started. It is logged in to with the user, the
    /// password and the database of DATABASE_DIRECT_URL or DATABASE_URL, at the address that its own
    /// directory names. Exit status 3 where ALTER SYSTEM was used before, and settings are left to be reset
    /// by hand.
    Finish(Finish),
    /// Remove what the retention policy does not keep; prints the plan, and asks.
    Expire(Expire),
    /// Remove one backup by name, also one that is pinned.
    Delete(Delete),
    /// Let a new key open the repository in place of BACKUP_ENCRYPTION_KEY; no backup is rewritten.
    Rekey(Rekey),
    /// Copy backups and their log into a second repository.
    Copy(Copy),
    /// Bring backups and their log over from a repository of pgBackRest, which is only read.
    #[command(after_help = IMPORT_HELP)]
    Import(Import),
}

/// Whose backups.
#[derive(Args)]
pub(crate) struct Of {
    /// The cluster's system identifier, where the repository holds several.
    #[arg(long, value_name = "ID")]
    pub(crate) cluster: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Init {
    /// Let everybody read what is in the repository: it is authenticated and not encrypted.
    #[arg(long)]
    pub(crate) no_encryption: bool,
    /// Write the keys into this file, which nobody else may read, in place of printing them.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) keys_to: Option<PathBuf>,
}

#[derive(Args, Default)]
pub(crate) struct Take {
    /// Only what changed since the newest backup, or since --parent.
    #[arg(long, conflicts_with = "logical")]
    pub(crate) incremental: bool,
    /// Dump databases with pg_dump, so that they can be restored one by one, and into another version.
    #[arg(long)]
    pub(crate) logical: bool,
    /// A database to dump; can be given several times; without it the URL's.
    #[arg(long, value_name = "NAME", requires = "logical")]
    pub(crate) database: Vec<String>,
    /// A table to dump, as pg_dump takes it; can be given several times.
    #[arg(long, value_name = "PATTERN", requires = "logical")]
    pub(crate) table: Vec<String>,
    /// Where a dump lies before it is stored; it needs the room of the largest database's rows.
    #[arg(long, value_name = "DIR", requires = "logical", value_hint = ValueHint::DirPath)]
    pub(crate) work: Option<PathBuf>,
    /// The backup that an incremental one is relative to.
    #[arg(long, value_name = "BACKUP", requires = "incremental")]
    pub(crate) parent: Option<String>,
    /// A name for people.
    #[arg(long, value_name = "TEXT")]
    pub(crate) label: Option<String>,
    /// Keep it until somebody deletes it by name.
    #[arg(long)]
    pub(crate) pin: bool,
    /// How many threads compress and encrypt.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
    /// The most that the server sends in a second, in MiB.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) max_rate: Option<u32>,
    /// Take the log that makes it consistent along, instead of waiting until the server has archived it.
    #[arg(long)]
    pub(crate) include_log: bool,
    /// Let the server spread the checkpoint in front over time.
    #[arg(long)]
    pub(crate) spread_checkpoint: bool,
    /// Use the chunks again that the newest full backup has: less space, and one fault may hurt several
    /// backups.
    #[arg(long)]
    pub(crate) reuse: bool,
}

#[derive(Args)]
pub(crate) struct Info {
    /// The backup; without one, the repository.
    pub(crate) backup: Option<String>,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// Look at manifests, names and sizes only; without it every chunk is read and checked.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Read a random share of the objects only, as in 10%: another one each time.
    #[arg(long, value_name = "SHARE", value_parser = share, conflicts_with_all = ["quick", "new"])]
    pub(crate) sample: Option<VerifyScope>,
    /// Read only what came since the last verification that was no sample; everything, once damage was found.
    #[arg(long, conflicts_with = "quick")]
    pub(crate) new: bool,
    /// Fail also where the newest backup is older than this, as in 26h or 2d.
    #[arg(long, value_name = "AGE", value_parser = duration)]
    pub(crate) max_age: Option<std::time::Duration>,
    /// Fail also where nothing was archived for longer than this.
    #[arg(long, value_name = "AGE", value_parser = duration)]
    pub(crate) max_log_age: Option<std::time::Duration>,
    /// How many objects are read at once; each takes about 16 MiB.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Rehearse {
    /// The backup, or a dump; the newest that is no dump without one.
    pub(crate) backup: Option<String>,
    /// The newest dump: its rows are compared with those that were counted when it was taken.
    #[arg(long, conflicts_with = "backup")]
    pub(crate) logical: bool,
    /// Where the throw-away server is made.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) scratch: Option<PathBuf>,
    /// A query that must answer true in the restored database; can be given several times.
    #[arg(long, value_name = "SQL")]
    pub(crate) assert: Vec<String>,
    /// The database in which the assertions are asked; `postgres` without one, and of a dump its first.
    #[arg(long, value_name = "NAME")]
    pub(crate) database: Option<String>,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// The backup; without one the newest that leads to the target, and at a terminal you are asked.
    pub(crate) backup: Option<String>,
    /// The data directory.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, required_unless_present = "into")]
    pub(crate) to: Option<PathBuf>,
    /// Restore a dump into this new database of the server that DATABASE_DIRECT_URL or DATABASE_URL names.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["to", "target", "undo", "plan"])]
    pub(crate) into: Option<String>,
    /// The database of the dump, where it has several.
    #[arg(long, value_name = "NAME", requires = "into")]
    pub(crate) database: Option<String>,
    /// A table to restore, as pg_restore takes it; can be given several times.
    #[arg(long, value_name = "NAME", requires = "into")]
    pub(crate) table: Vec<String>,
    /// Up to the last commit at or before this time, with its zone: '2026-11-28 12:30:00+01'.
    #[arg(long, value_name = "TIME", group = "target")]
    pub(crate) time: Option<String>,
    /// Up to this position in the log.
    #[arg(long, value_name = "LSN", group = "target")]
    pub(crate) lsn: Option<String>,
    /// Up to the end of this transaction.
    #[arg(long, value_name = "ID", group = "target")]
    pub(crate) xid: Option<u32>,
    /// Up to the restore point of this name (pg_create_restore_point).
    #[arg(long, value_name = "NAME", group = "target")]
    pub(crate) name: Option<String>,
    /// To the backup's own moment, and no further.
    #[arg(long, group = "target")]
    pub(crate) consistent: bool,
    /// Leave out what lies exactly at the target.
    #[arg(long)]
    pub(crate) exclusive: bool,
    /// Follow this timeline in place of the newest.
    #[arg(long, value_name = "N")]
    pub(crate) timeline: Option<u32>,
    /// Put a tablespace elsewhere; can be given several times.
    #[arg(long, value_name = "OID=DIR", value_parser = tablespace)]
    pub(crate) tablespace: Vec<(u32, PathBuf)>,
    /// Where configuration goes that lay outside of the data directory.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) config_dir: Option<PathBuf>,
    /// This becomes the cluster itself again and goes on archiving; without it, a copy that never archives.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Move a directory that is not empty aside; --undo brings it back.
    #[arg(long, conflicts_with = "overwrite")]
    pub(crate) force: bool,
    /// Overwrite a directory that is not empty: only what differs is fetched, and nothing can be undone.
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// What the server does at the target.
    #[arg(long, value_enum, default_value_t = AtTarget::Promote)]
    pub(crate) then: AtTarget,
    /// What the server runs to get the log, with %f and %p; this program without one.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) restore_command: Option<String>,
    /// Then wait for so long until somebody has started the server and it has reached the target, say which
    /// point that is, and take the settings of the restore out, as `dbctl backup finish` does.
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with_all = ["into", "undo", "plan"])]
    pub(crate) wait: Option<std::time::Duration>,
    /// Print what would be fetched, replayed and replaced; touch nothing.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Bring back what was in the directory before the last restore.
    #[arg(long, conflicts_with_all = ["plan", "backup", "target"])]
    pub(crate) undo: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    /// How many chunks are fetched and written at a time.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
    /// The directory of PostgreSQL's programs, for incremental backups.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) pg_bin: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Finish {
    /// The data directory.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) to: PathBuf,
    /// How long the server may take to get there.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0s")]
    pub(crate) wait: std::time::Duration,
}

/// What the server does when it has reached the target.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AtTarget {
    /// It takes writes, on a new timeline.
    Promote,
    /// It answers reads and waits, so that somebody can look whether this is the point.
    Pause,
    /// It ends.
    Shutdown,
}

#[derive(Args)]
pub(crate) struct Expire {
    /// Print what would be removed; remove nothing.
    #[arg(long)]
    pub(crate) plan: bool,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The backup.
    pub(crate) backup: String,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Rekey {
    /// The old key is lost, and BACKUP_ENCRYPTION_KEY is the recovery key: both stay as they are.
    #[arg(long)]
    pub(crate) lost: bool,
    /// Write the key into this file, which nobody else may read, in place of printing it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) keys_to: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Copy {
    /// A file of settings, as for --settings, that says where the second repository is and what opens it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) into: PathBuf,
    /// Only this backup, with what it needs.
    pub(crate) backup: Option<String>,
    #[command(flatten)]
    pub(crate) of: Of,
}

#[derive(Args)]
pub(crate) struct Import {
    /// pgBackRest's configuration; without it PGBACKREST_CONFIG, or /etc/pgbackrest/pgbackrest.conf where
    /// there is one and no PGBACKREST_REPO1_PATH. Settings that are set win over it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "from")]
    pub(crate) config: Option<PathBuf>,
    /// Which of its repositories.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub(crate) repo: u32,
    /// The directory that repo1-path names; without it PGBACKREST_REPO1_PATH.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) from: Option<PathBuf>,
    /// The stanza; without it PGBACKREST_STANZA, or the only one.
    #[arg(long, value_name = "NAME")]
    pub(crate) stanza: Option<String>,
    /// A backup by its label; can be given several times.
    #[arg(long, value_name = "LABEL", conflicts_with = "all")]
    pub(crate) backup: Vec<String>,
    /// All backups that can be imported.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print what would be imported; write nothing.
    #[arg(long, alias = "dry-run")]
    pub(crate) plan: bool,
    /// How many threads compress and encrypt.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) workers: u8,
}

fn tablespace(text: &str) -> Result<(u32, PathBuf), String> {
    let wrong = || "write OID=DIRECTORY, as in 16400=/srv/fast".to_owned();
    let (oid, directory) = text.split_once('=').ok_or_else(wrong)?;
    let oid = oid.parse().map_err(|_| wrong())?;
    if directory.is_empty() { Err(wrong()) } else { Ok((oid, PathBuf::from(directory))) }
}

/// A share of the objects.
fn share(text: &str) -> Result<VerifyScope, String> {
    match text.parse() {
        Ok(share @ VerifyScope::Sample(_)) => Ok(share),
        _ => Err("write a share from 1% to 100%, as in 10%".to_owned()),
    }
}

/// A duration as in the settings.
pub(crate) fn duration(text: &str) -> Result<std::time::Duration, String> {
    use db_platform::core::settings::Value;
    std::time::Duration::parse(text).ok_or_else(|| format!("write {}", std::time::Duration::ALLOWED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tablespaces_and_ages_are_read() {
        assert_eq!(tablespace("16400=/srv/a=b").unwrap(), (16_400, PathBuf::from("/srv/a=b")));
        for wrong in ["16400", "x=/srv", "16400="] {
            assert!(tablespace(wrong).is_err(), "{wrong}");
        }
        assert_eq!(duration("26h").unwrap().as_secs(), 26 * 3600);
        assert!(duration("soon").unwrap_err().contains("30s"));
    }
}

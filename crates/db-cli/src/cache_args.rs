//! The command line of `dbctl cache`.

use clap::{Args, Subcommand};
use db_platform::cache::Tag;

#[derive(Subcommand)]
pub(crate) enum Cache {
    /// How the second tier is, and what the processes that use it report.
    ///
    /// How full it is, which processes read its feed and how far they are behind, their hits and misses by
    /// keyspace, and how many hot keys are saved. Processes report every ten seconds. Changes nothing. Exit
    /// status 3 where its entries are not trusted: nobody has used it yet, or the server was restarted or
    /// replaced and nothing was read since.
    Stats,
    /// Drop what was made from tables, rows or anything else that has a tag, in all processes.
    ///
    /// For what was written past the services: a restore, psql, another program. A dropped entry is read from
    /// the database again when somebody asks for it; nothing else is lost. The tags are those that the
    /// services' keyspaces name: an entry of `Tag::row("users", 7)` goes with users/7, and not with users.
    #[command(after_help = INVALIDATE)]
    Invalidate(Invalidate),
    /// Ask the processes to load the hot keys that are saved.
    ///
    /// Each does so for the keyspaces that it has declared with `DbCache::warms`, at a bounded rate, within
    /// ten seconds. `dbctl cache stats` shows their loads. Does not wait for them.
    Warm,
    /// What the samplers of all processes have found: whether hits were right, with the confidence that the
    /// figure has.
    ///
    /// A sampler reads one of so many hits again from the primary (CACHE_SAMPLE_ONE_IN). Exit status 3 where
    /// one of them was wrong: some write does not touch the tags of what it changes.
    Sample,
}

const INVALIDATE: &str = "Examples:
  dbctl cache invalidate users/7 users/8
  dbctl cache invalidate prices @frontpage
  dbctl cache invalidate --key user_names/7
  dbctl cache invalidate --all --yes";

#[derive(Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Invalidate {
    /// What the entries were made from: a table as users, one of its rows as users/7, anything else as @name.
    #[arg(value_name = "TAG")]
    pub(crate) tags: Vec<Tag>,
    /// Drop the entry of one key: the keyspace's name, a slash, and the key as it prints. For keys that are
    /// numbers, texts or UUIDs, without a scope.
    #[arg(long, value_name = "KEYSPACE/KEY", value_parser = key)]
    pub(crate) key: Vec<(String, String)>,
    /// Drop everything: the database gets every read until the caches are full again. Needs --yes.
    #[arg(long, requires = "yes", conflicts_with_all = ["tags", "key"])]
    pub(crate) all: bool,
    /// Say that the load on the database is meant.
    #[arg(long, requires = "all")]
    pub(crate) yes: bool,
}

fn key(text: &str) -> Result<(String, String), String> {
    let (keyspace, key) =
        text.split_once('/').ok_or("write the keyspace, a slash, and the key, as in user_names/7")?;
    Ok((keyspace.to_owned(), key.to_owned()))
}

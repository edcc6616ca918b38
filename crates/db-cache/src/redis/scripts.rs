//! The scripts that change the records, each atomic: what `protocol.rs` does in memory, they do on the
//! server.

use redis::{Cmd, Script as Hashed};

/// A script and the hash that the server knows it by.
#[derive(Debug)]
pub(super) struct Script {
    text: String,
    hash: String,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) open: Script,
    pub(super) mark: Script,
    pub(super) bump: Script,
    pub(super) abort: Script,
    pub(super) learn: Script,
    pub(super) epoch: Script,
    pub(super) start: Script,
    pub(super) relayed: Script,
    pub(super) member: Script,
    pub(super) lease: Script,
    pub(super) release: Script,
}

/// A server that is full must still invalidate: what the scripts write is bounded.
const HEAD: &str = "#!lua flags=allow-oom\n";

const RECORDS: &str = include_str!("scripts/records.lua");

impl Scripts {
    pub(super) fn new() -> Self {
        let on_records = |body: &str| Script::new(&[HEAD, RECORDS, body]);
        let alone = |body: &str| Script::new(&[HEAD, body]);
        Scripts {
            open: on_records(include_str!("scripts/open.lua")),
            mark: on_records(include_str!("scripts/mark.lua")),
            bump: on_records(include_str!("scripts/bump.lua")),
            abort: on_records(include_str!("scripts/abort.lua")),
            learn: on_records(include_str!("scripts/learn.lua")),
            epoch: on_records(include_str!("scripts/epoch.lua")),
            start: on_records(include_str!("scripts/start.lua")),
            relayed: on_records(include_str!("scripts/relayed.lua")),
            member: alone(include_str!("scripts/member.lua")),
            lease: alone(include_str!("scripts/lease.lua")),
            release: alone(include_str!("scripts/release.lua")),
        }
    }
}

impl Script {
    fn new(parts: &[&str]) -> Self {
        let text = parts.concat();
        let hash = Hashed::new(&text).get_hash().to_owned();
        Script { text, hash }
    }

    /// The call by its hash, or with its text where the server does not know it yet.
    pub(super) fn call(&self, with_text: bool, keys: &[&[u8]], arguments: &[Vec<u8>]) -> Cmd {
        let mut command = match with_text {
            true => redis::cmd("EVAL"),
            false => redis::cmd("EVALSHA"),
        };
        command.arg(if with_text { &self.text } else { &self.hash }).arg(keys.len());
        for key in keys {
            command.arg(*key);
        }
        for argument in arguments {
            command.arg(&argument[..]);
        }
        command
    }
}

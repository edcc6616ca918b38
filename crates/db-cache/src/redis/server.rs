//! What a server says of itself when a connection opens, from the text of INFO.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::record::Run;
use crate::second_tier::Usage;
use crate::tier_error::{TierError, TierFailure};

/// What INFO says.
#[derive(Debug)]
pub(super) struct Info(HashMap<String, String>);

/// The oldest major version whose scripts may say that they run on a full server.
const OLDEST: u64 = 7;

impl Info {
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
        Info(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Names the history of the server's data: it changes when another server takes over.
    pub(super) fn replication_id(&self) -> &str {
        self.get("master_replid").unwrap_or_default()
    }

    /// Which run this is: of the process, and of the history of its data.
    ///
    /// # Errors
    /// Where it is none that the cache can work with.
    pub(super) fn run(&self) -> Result<Run, TierError> {
        let refused = |what: String| TierError::new(TierFailure::Refused, what);
        if self.get("loading").is_some_and(|loading| loading != "0") {
            return Err(TierError::new(TierFailure::NotReady, "it is loading its data"));
        }
        let version = self.get("redis_version").unwrap_or_default();
        let major = version.split('.').next().and_then(|major| major.parse::<u64>().ok());
        if major.is_none_or(|major| major < OLDEST) {
            return Err(refused(format!(
                "it is of version {version:?}; use Redis {OLDEST} or later, or Valkey"
            )));
        }
        if !self.is_primary() {
            let what = "it is a replica; let REDIS_URL name the primary";
            return Err(TierError::new(TierFailure::ReadOnly, what));
        }
        let process = self.get("run_id").unwrap_or_default();
        if process.is_empty() || self.replication_id().is_empty() {
            return Err(refused(
                "INFO tells neither run_id nor master_replid; allow the command to this user".into(),
            ));
        }
        Ok(Run(xxh3_64(format!("{process} {}", self.replication_id()).as_bytes())))
    }

    pub(super) fn is_primary(&self) -> bool {
        self.get("role") == Some("master")
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.get("cluster_enabled") == Some("1")
    }

    pub(super) fn usage(&self) -> Usage {
        Usage {
            used_bytes: self.number("used_memory"),
            limit_bytes: self.number("maxmemory").filter(|limit| *limit > 0),
            evicted: self.number("evicted_keys"),
            policy: self.get("maxmemory_policy").map(str::to_owned),
        }
    }

    /// What can hurt about how it makes room, with the way out; none where nothing can.
    pub(super) fn danger(&self) -> Option<String> {
        let usage = self.usage();
        let policy = usage.policy.unwrap_or_default();
        match usage.limit_bytes {
            None => Some(
                "maxmemory is not set, so entries may fill the machine: set it, with volatile-ttl".into(),
            ),
            Some(_) if policy.starts_with("allkeys-") => Some(format!(
                "maxmemory-policy {policy} may evict the cache's records, and each time the whole cache is dropped: \
                 set volatile-ttl"
            )),
            Some(_) if policy == "noeviction" => {
                Some("maxmemory-policy noeviction refuses entries when it is full: set volatile-ttl".into())
            }
            Some(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "# Server\r\nredis_version:7.0.15\r\nrun_id:aa\r\n# Replication\r\nrole:master\r\nmaster_replid:bb\r\n\
                           loading:0\r\ncluster_enabled:0\r\nused_memory:10\r\nmaxmemory:100\r\nmaxmemory_policy:volatile-ttl\r\n";

    fn info(from: &str, to: &str) -> Info {
        assert!(PRIMARY.contains(from));
        Info::parse(&PRIMARY.replace(from, to))
    }

    #[test]
    fn a_run_is_a_process_and_a_history() {
        let run = Info::parse(PRIMARY).run();
        assert!(run.is_ok());
        assert_eq!(run, Info::parse(PRIMARY).run());
        assert_ne!(run, info("run_id:aa", "run_id:ab").run());
        assert_ne!(run, info("replid:bb", "replid:bc").run());
    }

    #[test]
    fn what_cannot_serve_says_why() {
        let check = |from, to, expected| {
            assert_eq!(info(from, to).run().map_err(|error| error.failure), Err(expected), "{to}");
        };
        check("role:master", "role:slave", TierFailure::ReadOnly);
        check("loading:0", "loading:1", TierFailure::NotReady);
        check("redis_version:7.0.15", "redis_version:6.2.14", TierFailure::Refused);
        check("run_id:aa", "run_id:", TierFailure::Refused);
    }

    #[test]
    fn a_policy_that_can_hurt_is_named() {
        let danger = |from, to| info(from, to).danger().unwrap_or_default();
        assert_eq!(danger("maxmemory:100", "maxmemory:100"), "");
        assert!(danger("maxmemory:100", "maxmemory:0").contains("maxmemory is not set"));
        assert!(danger("volatile-ttl", "allkeys-lru").contains("allkeys-lru"));
        assert!(danger("volatile-ttl", "noeviction").contains("noeviction"));
    }
}

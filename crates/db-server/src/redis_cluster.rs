//! Three Redis masters that share the slots between them.

use std::process::Command;
use std::time::Duration;

use crate::home::{Home, Medium};
use crate::{Error, Redis, RedisPrograms, Result, process, wait_until};

const FORM_LIMIT: Duration = Duration::from_secs(60);

/// A Redis Cluster of three masters. Dropping it ends them and removes their directory.
#[derive(Debug)]
pub struct RedisCluster {
    // Dropped in this order: first the servers end, then their directory goes.
    masters: Vec<Redis>,
    _home: Home,
}

impl RedisCluster {
    /// Starts three servers, joins them, and returns when each of them says that the cluster is complete.
    pub fn start(programs: &RedisPrograms) -> Result<RedisCluster> {
        let client = programs.client.clone().ok_or(Error::NoRedis)?;
        let home = Home::throw_away(None, Medium::Fast)?;
        let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let masters = (1..=3)
            .map(|number| {
                let redis = Redis::in_directory(programs, home.dir(), &format!("master{number}"), &more)?;
                redis.run().map(|()| redis)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut create = Command::new(&client);
        create.args(["--cluster", "create"]);
        create.args(masters.iter().map(|master| format!("127.0.0.1:{}", master.port())));
        process::run(create.args(["--cluster-replicas", "0", "--cluster-yes"]))?;
        let complete = |master: &Redis| {
            let mut info = Command::new(&client);
            info.args(["-p", &master.port().to_string(), "cluster", "info"]);
            process::run(&mut info)
                .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("cluster_state:ok"))
        };
        if wait_until(FORM_LIMIT, || masters.iter().all(complete)) {
            return Ok(RedisCluster { masters, _home: home });
        }
        Err(Error::TimedOut { what: "cluster_state:ok on every Redis master".to_owned(), waited: FORM_LIMIT })
    }

    /// The three servers.
    pub fn masters(&self) -> &[Redis] {
        &self.masters
    }

    /// Their URLs.
    pub fn urls(&self) -> Vec<String> {
        self.masters.iter().map(Redis::url).collect()
    }
}

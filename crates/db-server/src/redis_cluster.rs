//! Three Redis masters that share the slots between them.

use std::time::Duration;

use crate::home::{Home, Medium};
use crate::{Error, Password, Redis, RedisProgram, Result, wait_until};

const FORM_LIMIT: Duration = Duration::from_secs(60);
const MASTERS: usize = 3;
/// As many as every Redis Cluster has.
const SLOTS: usize = 16_384;

/// A Redis Cluster of three masters. Dropping it ends them and removes their directory.
#[derive(Debug)]
pub struct RedisCluster {
    // Dropped in this order: first the servers end, then their directory goes.
    masters: Vec<Redis>,
    _home: Home,
}

impl RedisCluster {
    /// Starts three servers, joins them, and returns when each of them says that the cluster is complete.
    ///
    /// All have the same password, as clients of a cluster expect.
    pub fn start(program: &RedisProgram) -> Result<RedisCluster> {
        let home = Home::throw_away(None, Medium::Fast)?;
        let password = Password::random()?;
        let more = [("cluster-enabled", "yes"), ("cluster-node-timeout", "2000")];
        let masters = (1..=MASTERS)
            .map(|number| {
                let name = format!("master{number}");
                let redis = Redis::in_directory(program, home.dir(), &name, password.clone(), &more)?;
                redis.run().map(|()| redis)
            })
            .collect::<Result<Vec<_>>>()?;
        join(&masters)?;
        let complete = |master: &Redis| {
            let said = master.ask(&["CLUSTER", "INFO"]);
            said.is_ok_and(|said| {
                let says = |what: &str| said.lines().any(|line| line == what);
                says("cluster_state:ok") && says(&format!("cluster_size:{MASTERS}"))
            })
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

    /// Their URLs, with their password: never log them.
    pub fn urls(&self) -> Vec<String> {
        self.masters.iter().map(Redis::url).collect()
    }
}

/// Gives each its share of the slots and an epoch of its own, and introduces them to the first.
fn join(masters: &[Redis]) -> Result<()> {
    for (index, master) in masters.iter().enumerate() {
        let share = index * SLOTS / masters.len()..(index + 1) * SLOTS / masters.len();
        let slots: Vec<String> = share.map(|slot| slot.to_string()).collect();
        let mut add = vec!["CLUSTER", "ADDSLOTS"];
        add.extend(slots.iter().map(String::as_str));
        master.ask(&add)?;
        master.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
    }
    let Some((first, others)) = masters.split_first() else { return Ok(()) };
    for other in others {
        first.ask(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string()])?;
    }
    Ok(())
}

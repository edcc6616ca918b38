//! What checks judge: a look at the server, an earlier one to compare with, and what was read besides.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::blocking::{BlockingRead, BlockingTree};
use crate::server::{Section, ServerIdentity, ServerRole, ServerSession, ServerSetting, Skipped, Snapshot};
use crate::{PoolLoad, SchemaLook};

/// Counters that were compared over less than this say nothing about a rate, in seconds.
const SHORTEST_WINDOW: f64 = 5.0;

/// What checks judge.
///
/// ```
/// use db_monitoring::checks::Evidence;
/// use db_monitoring::server::Snapshot;
///
/// let now = Snapshot::default();
/// let evidence = Evidence::of(&now);
/// assert!(evidence.before.is_none());
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Evidence<'a> {
    /// The server now.
    pub now: &'a Snapshot,
    /// The same server a while ago: what is counted is compared with it.
    pub before: Option<&'a Snapshot>,
    /// Who waits for whom.
    pub blocking: Option<&'a BlockingLook>,
    /// The pools of this process.
    pub pools: Option<&'a [PoolLoad]>,
    /// How long the server took to answer `SELECT 1`.
    pub round_trip: Option<Duration>,
    /// For each database its sizes: seconds since 1970 and bytes, oldest first.
    pub sizes: Option<&'a BTreeMap<String, Vec<(f64, f64)>>>,
    /// How many cores the server has; none if nobody said.
    pub cores: Option<u32>,
    /// How many bytes the databases may take together; none if nobody said.
    pub room: Option<f64>,
}

/// Who waits for whom, or why that is not known.
#[derive(Debug, Clone)]
pub struct BlockingLook(pub(crate) BlockingRead);

impl BlockingLook {
    /// Reads it from the server. `reads_all_stats` is
    /// [`Access::reads_all_stats`](crate::server::Access::reads_all_stats).
    ///
    /// # Cancel safety
    /// Dropping the future drops the answer; the session stays usable.
    pub async fn read(session: &ServerSession, reads_all_stats: bool) -> Self {
        let asker = crate::asker::Asker::new(session, reads_all_stats);
        BlockingLook(BlockingRead::read(&asker).await)
    }

    /// The tree.
    ///
    /// # Errors
    /// Why it is not known.
    pub fn tree(&self) -> Result<&BlockingTree, &str> {
        self.0.tree.as_ref().map_err(String::as_str)
    }
}

impl<'a> Evidence<'a> {
    /// One look, and nothing else.
    pub fn of(now: &'a Snapshot) -> Self {
        Evidence {
            now,
            before: None,
            blocking: None,
            pools: None,
            round_trip: None,
            sizes: None,
            cores: None,
            room: None,
        }
    }

    /// What results call the server.
    pub(crate) fn server_name(&self) -> String {
        self.now.server.get().map_or_else(|_| "unknown".to_owned(), |server| server.endpoint.to_string())
    }

    pub(crate) fn server(&self) -> Result<&'a ServerIdentity, String> {
        known(&self.now.server)
    }

    /// # Errors
    /// Where it is a standby, or not known.
    pub(crate) fn primary(&self) -> Result<&'a ServerIdentity, String> {
        match self.server()? {
            server if server.role == ServerRole::Primary => Ok(server),
            _ => Err("this is a standby: ask the primary".to_owned()),
        }
    }

    /// # Errors
    /// Where the role sees only its own sessions.
    pub(crate) fn sees_all(&self) -> Result<(), String> {
        if known(&self.now.access)?.reads_all_stats {
            return Ok(());
        }
        Err("the role sees only its own sessions: GRANT pg_monitor TO it".to_owned())
    }

    /// A setting's value in its base unit.
    pub(crate) fn setting(&self, name: &str) -> Result<f64, String> {
        let setting = self.setting_row(name)?;
        setting.base_value().map(|(value, _)| value).ok_or_else(|| format!("{name} is no number"))
    }

    pub(crate) fn setting_row(&self, name: &str) -> Result<&'a ServerSetting, String> {
        let settings = known(&self.now.settings)?;
        let found = settings.iter().find(|setting| setting.name == name);
        found.ok_or_else(|| format!("the server does not say what {name} is"))
    }

    /// The schema of each database that was looked into.
    ///
    /// # Errors
    /// Where there is none.
    pub(crate) fn schemas(&self) -> Result<Vec<&'a SchemaLook>, String> {
        let each = self.now.by_database.values().map(|database| database.schema.get());
        let (known, unknown): (Vec<_>, Vec<_>) = each.partition(Result::is_ok);
        match (known.is_empty(), unknown.into_iter().find_map(Result::err)) {
            (false, _) => Ok(known.into_iter().flatten().collect()),
            (true, Some(why)) => Err(format!("no schema was looked at: {}", why.detail)),
            (true, None) => Err("no database was looked into yet".to_owned()),
        }
    }

    /// The same section of both looks, with the seconds between them.
    ///
    /// # Errors
    /// Where there is no earlier look, the server started anew or is another one, or too little time has
    /// passed.
    pub(crate) fn window<T>(
        &self,
        section: impl for<'s> Fn(&'s Snapshot) -> &'s Section<T>,
    ) -> Result<(&'a T, &'a T, f64), String> {
        let now = section(self.now);
        let current = known(now)?;
        let too_short = "it compares two looks: let it run longer, or use --window";
        let before = self.before.ok_or(too_short)?;
        if !self.server()?.continues(known(&before.server)?) {
            return Err("the server was started anew or is another one: counters begin anew".to_owned());
        }
        let earlier = section(before);
        let past = known(earlier)?;
        let apart = match (now.at(), earlier.at()) {
            (Some(now), Some(then)) => now.duration_since(then).unwrap_or_default().as_secs_f64(),
            _ => 0.0,
        };
        if apart < SHORTEST_WINDOW { Err(too_short.to_owned()) } else { Ok((current, past, apart)) }
    }
}

/// What a section holds, or why it is not known, as a sentence.
pub(crate) fn known<T>(section: &Section<T>) -> Result<&T, String> {
    section.get().map_err(|Skipped { detail, .. }| detail.clone())
}

/// How much a counter grew; none where it was reset in between.
pub(crate) fn grown(now: i64, before: i64) -> Option<f64> {
    now.checked_sub(before).filter(|grown| *grown >= 0).map(|grown| grown as f64)
}

/// The same of counters that may be missing.
pub(crate) fn grown_maybe(now: Option<i64>, before: Option<i64>) -> Option<f64> {
    grown(now?, before?)
}

/// Whether both looks count since the same reset.
pub(crate) fn same_reset(now: Option<f64>, before: Option<f64>) -> Result<(), String> {
    let same = match (now, before) {
        (Some(now), Some(before)) => (now - before).abs() <= 0.001,
        (now, before) => now == before,
    };
    if same { Ok(()) } else { Err("the counters were reset between the two looks".to_owned()) }
}

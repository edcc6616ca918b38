//! Makes readings of what checks found and of what this process measures, and puts those of all replicas
//! together.

use std::collections::BTreeMap;
use std::time::Duration;

use db_core::CheckStatus;

use crate::alerts::{AlertConfig, Level, Reading};
use crate::{CheckResult, PoolLoad, SubjectKind};

/// So many statements must have run before a share of them or a mean says anything.
const ENOUGH: u64 = 20;
/// How far below the mark a figure must fall, as a share of it, before it is fine again.
const HYSTERESIS: f64 = 0.1;

/// What this process measures of itself, for the marks of [`AlertConfig`].
///
/// ```
/// use db_monitoring::PoolLoad;
/// use db_monitoring::alerts::{AlertConfig, Level, Readings};
///
/// let load = PoolLoad { name: "db:5432".to_owned(), in_use: 9, max: 10, waiting: 0 };
/// let readings = Readings { pools: vec![load], ..Readings::default() };
/// assert_eq!(readings.of(&AlertConfig::default())[0].level, Level::Warning);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// How busy each pool is.
    pub pools: Vec<PoolLoad>,
    /// Statements of the last minute, and how many of them failed.
    pub statements: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How long they took on average; none where none ran.
    pub mean: Option<Duration>,
    /// Reads that the cache was asked for in the last minute, and how many it answered; none without a cache.
    pub cache: Option<(u64, u64)>,
    /// Each standby, and how far it is behind; none where that is not known.
    pub lag: Vec<(String, Option<Duration>)>,
    /// Each server, and whether it answered last.
    pub servers: Vec<(String, bool)>,
    /// Whether any server takes writes.
    pub has_writer: bool,
}

impl Readings {
    /// What is how bad.
    pub fn of(&self, config: &AlertConfig) -> Vec<Reading> {
        let mut all = Vec::new();
        if let Some(mark) = config.pool_usage {
            all.extend(self.pools.iter().map(|pool| pool_usage(pool, mark)));
        }
        all.extend(config.error_rate.map(|mark| self.error_rate(mark)));
        all.extend(config.query_time.map(|mark| self.query_time(mark)));
        if let (Some(mark), Some((asked, answered))) = (config.cache_hit_rate, self.cache) {
            all.push(cache_hit_rate(asked, answered, mark));
        }
        if let Some(mark) = config.replication_lag {
            all.extend(self.lag.iter().map(|(server, lag)| replication_lag(server, *lag, mark)));
        }
        if !self.servers.is_empty() {
            let level = if self.has_writer { Level::Fine } else { Level::Critical };
            let reading = Reading::new("no-primary", level, "No server takes writes");
            all.push(
                reading.saying(
                    "Writes wait and then fail. `dbctl topology` tells why no server is the primary.",
                ),
            );
        }
        all.extend(self.servers.iter().map(|(server, is_up)| {
            let level = if *is_up { Level::Fine } else { Level::Warning };
            Reading::new(format!("{server}/down"), level, format!("{server} does not answer"))
                .saying("It gets neither reads nor writes until it answers again.")
                .fact("server", server.as_str())
        }));
        all
    }

    fn error_rate(&self, mark: f64) -> Reading {
        let percent = percent(self.failed, self.statements);
        let level = if self.statements < ENOUGH { Level::Between } else { above(percent, mark) };
        let level = if self.statements == 0 { Level::Fine } else { level };
        Reading::new("error-rate", level, "Many statements fail")
            .saying(format!(
                "{percent:.1} % of {} statements failed in the last minute (mark: {mark} %).",
                self.statements
            ))
            .fact("failed", self.failed.to_string())
    }

    fn query_time(&self, mark: Duration) -> Reading {
        let mean = self.mean.unwrap_or_default();
        let level = if self.statements < ENOUGH && self.statements > 0 {
            Level::Between
        } else {
            above(mean.as_secs_f64(), mark.as_secs_f64())
        };
        Reading::new("query-time", level, "Statements are slow").saying(format!(
            "{} statements took {mean:.1?} on average in the last minute (mark: {mark:?}). `Db::slow_queries` names the worst.",
            self.statements
        ))
    }
}

fn pool_usage(pool: &PoolLoad, mark: f64) -> Reading {
    let PoolLoad { name, in_use, max, waiting } = pool;
    let used = percent(*in_use as u64, *max as u64);
    let level = match above(used, mark) {
        Level::Warning if used >= 100.0 && *waiting > 0 => Level::Critical,
        level => level,
    };
    Reading::new(format!("{name}/pool-usage"), level, format!("The pool of {name} is nearly used up"))
        .saying(format!("{in_use} of {max} connections are in use, {waiting} callers wait (mark: {mark} %)."))
        .fact("server", name.as_str())
}

fn cache_hit_rate(asked: u64, answered: u64, mark: f64) -> Reading {
    let rate = percent(answered, asked);
    let level = match asked {
        0 => Level::Fine,
        asked if asked < ENOUGH => Level::Between,
        _ if rate < mark => Level::Warning,
        _ if rate < mark + (100.0 - mark) * HYSTERESIS => Level::Between,
        _ => Level::Fine,
    };
    Reading::new("cache-hit-rate", level, "The cache answers few reads")
        .saying(format!("It answered {rate:.1} % of {asked} reads in the last minute (mark: {mark} %)."))
}

fn replication_lag(server: &str, lag: Option<Duration>, mark: Duration) -> Reading {
    let level = lag.map_or(Level::Unknown, |lag| above(lag.as_secs_f64(), mark.as_secs_f64()));
    let reading = Reading::new(format!("{server}/replication-lag"), level, format!("{server} is behind"));
    reading
        .saying(format!("It is {:.1?} behind (mark: {mark:?}).", lag.unwrap_or_default()))
        .fact("server", server)
}

/// Bad from the mark on, fine below nine tenths of it.
fn above(value: f64, mark: f64) -> Level {
    match value {
        value if value >= mark => Level::Warning,
        value if value >= mark * (1.0 - HYSTERESIS) => Level::Between,
        _ => Level::Fine,
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

/// What checks found. Sessions, statements and prepared transactions come and go: of these all that one check
/// found on one server are one condition; everything else is one for each thing.
pub fn of_checks(results: &[CheckResult]) -> Vec<Reading> {
    let mut all: BTreeMap<String, Vec<&CheckResult>> = BTreeMap::new();
    for result in results {
        all.entry(key(result)).or_default().push(result);
    }
    all.into_iter().map(|(key, results)| of_one(key, &results)).collect()
}

fn key(result: &CheckResult) -> String {
    use SubjectKind::{PreparedTransaction, Session, Statement};
    match &result.subject {
        Some(subject) if !matches!(subject.kind, Session | Statement | PreparedTransaction) => {
            result.identity()
        }
        _ => format!("{}/{}", result.server, result.id),
    }
}

fn of_one(key: String, results: &[&CheckResult]) -> Reading {
    let level = results.iter().fold(Level::Unknown, |worst, result| worst.or_worse(level(&result.status)));
    let mut worst: Vec<&&CheckResult> =
        results.iter().filter(|result| self::level(&result.status) == level).collect();
    worst.truncate(10);
    let Some(first) = worst.first() else { return Reading::new(key, Level::Unknown, "") };
    let mut text: Vec<String> = worst.iter().map(|result| result.summary.clone()).collect();
    if results.len() > worst.len() {
        text.push(format!("{} results in all.", results.len()));
    }
    let title = match &first.subject {
        Some(subject) if key.ends_with(&subject.to_string()) => format!("{}: {subject}", first.title),
        _ => first.title.to_string(),
    };
    if let Some(fix) = &first.fix {
        text.push(format!("{}\n{}", fix.sql, fix.safely));
    }
    let reading =
        Reading::new(key, level, title).saying(text.join("\n")).fact("server", first.server.as_str());
    first.evidence.iter().take(8).fold(reading, |reading, figure| {
        reading.fact(figure.name.as_ref(), crate::amount(figure.value, &figure.unit))
    })
}

fn level(status: &CheckStatus) -> Level {
    match status {
        CheckStatus::Ok => Level::Fine,
        CheckStatus::Warn => Level::Warning,
        CheckStatus::Critical => Level::Critical,
        CheckStatus::Skipped(_) => Level::Unknown,
    }
}

/// Conditions of this replica and of others, each once and as bad as the worst of them.
///
/// Results that checks no longer have stand for what is over, if the check itself ran: see [`over`].
pub(crate) fn together(own: Vec<Reading>, others: impl IntoIterator<Item = Vec<Reading>>) -> Vec<Reading> {
    let mut all: BTreeMap<String, Reading> = own.into_iter().map(|one| (one.key.clone(), one)).collect();
    for one in others.into_iter().flatten() {
        match all.get_mut(&one.key) {
            Some(known) if known.level.or_worse(one.level) != known.level => *known = one,
            Some(_) => {}
            None => drop(all.insert(one.key.clone(), one)),
        }
    }
    all.into_values().collect()
}

/// For each open incident of a check that ran and no longer names its subject: that it is over.
///
/// A check answers once for each thing that it found, so what it found no more is fine.
pub(crate) fn over<'k>(
    keys: impl Iterator<Item = &'k str>,
    readings: &[Reading],
    results: &[CheckResult],
) -> Vec<Reading> {
    let is_known = |key: &str| readings.iter().any(|reading| reading.key == key);
    let ran = |key: &str| {
        let of_check = |result: &&CheckResult| key.starts_with(&format!("{}/{}/", result.server, result.id));
        let mut all = results.iter().filter(of_check).peekable();
        all.peek().is_some() && !all.any(|result| matches!(result.status, CheckStatus::Skipped(_)))
    };
    let fine = |key: &str| Reading::new(key, Level::Fine, "").saying("It is not there any more.");
    keys.filter(|key| !is_known(key) && ran(key)).map(fine).collect()
}

#[cfg(test)]
mod tests;

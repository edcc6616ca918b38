//! The load with the cache on against off, near its servers and some way from them, for a person and for a
//! program.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use db_platform::cache::CacheStats;
use db_platform::{Config, Error, Result};
use serde_json::{Value, json};

use crate::turns::{Answers, Compared, Side, Turns, compare};
use crate::{network, twin};

/// What a network within one region adds to a round trip.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// That Redis is slow for a moment is no outage.
const BUDGET: Duration = Duration::from_secs(1);

/// Writes say what they change: time only ends what nobody asks for any more.
const LIFE: Duration = Duration::from_secs(3_600);

/// What both comparisons came to.
pub(crate) struct Comparison {
    loopback: Compared,
    network: Compared,
}

impl Comparison {
    /// Compares on loopback, and then, with a new process's empty first tier, over a network; each for so
    /// long.
    pub(crate) async fn run(workers: u32, duration: Duration) -> Result<Self> {
        let config = settled(Config::from_env()?);
        if config.cache.as_ref().is_none_or(|cache| cache.second_tier.is_none()) {
            return Err(Error::Client("the cache is compared with both of its tiers: set REDIS_URL".into()));
        }
        twin::copy(&config).await?;
        let loopback = compare(config, workers, duration).await?;
        eprintln!(
            "        {} cached pages compared with the database, {} stale",
            loopback.checked, loopback.stale
        );
        let (_between, vars) =
            network::delayed(ROUND_TRIP).map_err(|error| Error::Client(Box::new(error)))?;
        let network = compare(settled(Config::from_vars(vars)?), workers, duration).await?;
        Ok(Comparison { loopback, network })
    }

    /// Whether no error reached a caller, and no cached page differed from the database's.
    pub(crate) fn is_clean(&self) -> bool {
        self.both().iter().all(|(_, compared)| compared.errors.is_empty() && compared.stale == 0)
    }

    pub(crate) fn to_json(&self) -> String {
        let [loopback, network] = self.both().map(|(_, compared)| of(compared));
        json!({ "loopback": loopback, "network": network, "round_trip_ms": ms(ROUND_TRIP.as_secs_f64()) })
            .to_string()
    }

    fn both(&self) -> [(&'static str, &Compared); 2] {
        [("on loopback", &self.loopback), ("with 1 ms more a round trip to the database", &self.network)]
    }
}

/// The load's cache, on a machine that it shares with its servers.
fn settled(mut config: Config) -> Config {
    if let Some(cache) = &mut config.cache {
        (cache.tier_budget, cache.commit_budget, cache.ttl) = (BUDGET, BUDGET, LIFE);
    }
    config
}

/// By how much a read was shorter with the cache, over all reads, from 0 to 1.
fn shorter(turns: &Turns) -> f64 {
    1.0 - turns.on.mean() / turns.off.mean()
}

/// The pairs' least, median and greatest.
fn spread(turns: &Turns) -> [f64; 3] {
    let mut pairs = turns.pairs.clone();
    pairs.sort_by(f64::total_cmp);
    let at = |place: usize| pairs.get(place).copied().unwrap_or(f64::NAN);
    [at(0), at(pairs.len() / 2), at(pairs.len().saturating_sub(1))]
}

fn of(compared: &Compared) -> Value {
    json!({
        "warm_up": answers(compared.warm_up),
        "paced": turns(&compared.paced),
        "full_speed": turns(&compared.full_speed),
        "checked": compared.checked,
        "stale": compared.stale,
        "cache": compared.stats.as_ref().map(counted),
        "errors": compared.errors,
    })
}

/// Where the misses were, and why, from the start on.
fn counted(stats: &CacheStats) -> Value {
    let queries: BTreeMap<&str, u64> = stats.keyspaces.iter().map(|one| (one.name, one.misses)).collect();
    let reasons: BTreeMap<&str, u64> =
        stats.misses.iter().map(|(why, times)| (why.as_str(), *times)).collect();
    json!({ "misses": queries, "reasons": reasons, "loads": stats.loads, "breaker_opened": stats.breaker_opened })
}

fn turns(turns: &Turns) -> Value {
    json!({
        "hit_rate": turns.answers.hit_rate(),
        "answers": answers(turns.answers),
        "shorter": shorter(turns),
        "pairs": turns.pairs.len(),
        "least_median_greatest": spread(turns),
        "on": side(&turns.on),
        "off": side(&turns.off),
    })
}

fn answers(answers: Answers) -> Value {
    let Answers { first_tier, second_tier, misses } = answers;
    json!({ "first_tier": first_tier, "second_tier": second_tier, "misses": misses })
}

fn side(side: &Side) -> Value {
    json!({
        "mean_read_ms": ms(side.mean()),
        "reads_per_second": per_second(side.reads, side),
        "transactions_per_second": per_second(side.transactions, side),
        "reads": side.reads,
    })
}

fn ms(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

fn per_second(count: u64, side: &Side) -> f64 {
    (count as f64 / side.elapsed.as_secs_f64() * 10.0).round() / 10.0
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, compared) in self.both() {
            let paced = &compared.paced;
            let (answers, [least, _, greatest]) = (paced.answers, spread(paced));
            writeln!(f, "\nthe cache on against off, {place}")?;
            writeln!(
                f,
                "  hit rate      {:>6.1} %   {} in process, {} in Redis, {} misses; {:.1} % from an empty process on",
                100.0 * answers.hit_rate(),
                answers.first_tier,
                answers.second_tier,
                answers.misses,
                100.0 * compared.warm_up.hit_rate(),
            )?;
            writeln!(
                f,
                "  mean read     {:>6.1} % shorter at {:.0} reads/s: {:.3} ms for {:.3} ms; {:.1} % to {:.1} % of {} pairs of turns",
                100.0 * shorter(paced),
                per_second(paced.off.reads, &paced.off),
                ms(paced.on.mean()),
                ms(paced.off.mean()),
                100.0 * least,
                100.0 * greatest,
                paced.pairs.len(),
            )?;
            for (name, side) in [("on", &compared.full_speed.on), ("off", &compared.full_speed.off)] {
                writeln!(
                    f,
                    "  at full speed, {name:<4}{:>9.1} reads/s {:>9.1} transactions/s {:>9.3} ms a read",
                    per_second(side.reads, side),
                    per_second(side.transactions, side),
                    ms(side.mean()),
                )?;
            }
            write!(
                f,
                "  {} cached pages compared with the database, {} stale",
                compared.checked, compared.stale
            )?;
            for (text, count) in &compared.errors {
                write!(f, "\n  {count} x {text}")?;
            }
        }
        Ok(())
    }
}

//! What each process tells of its cache in the second tier, so that an operator sees all of them, and what it
//! is asked for.
//!
//! A report is an entry that lives for a minute. A cache whose installation has no name reports nothing.

use std::sync::Weak;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::cache::Shared;
use crate::hot_keys::{checked, sealed, within};
use crate::key::EntryKey;
use crate::record::FeedId;
use crate::sampler::Samples;
use crate::second_tier::{Member, SecondTier, Store};
use crate::tier_error::TierError;

/// What one process has told of its cache.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ProcessReport {
    /// Its number as a reader of the feed.
    pub member: Member,
    /// Reads that its first tier answered.
    pub first_tier_hits: u64,
    /// Reads that the second tier answered.
    pub second_tier_hits: u64,
    /// Reads that neither answered.
    pub misses: u64,
    /// Loads that were begun.
    pub loads: u64,
    /// The bytes that the first tier's entries take.
    pub bytes: u64,
    /// What its sampler has found.
    pub samples: Samples,
    /// For each keyspace: its name, hits of the first tier, of the second, and misses.
    pub keyspaces: Vec<(String, u64, u64, u64)>,
}

/// Requests of operators to warm this process's cache: [`Operator::warm`](crate::Operator::warm).
#[derive(Debug)]
pub struct WarmRequests(pub(crate) watch::Receiver<Option<u64>>);

/// How often a process reports, and how long a report lives.
const EVERY: Duration = Duration::from_secs(10);
const KEEP: Duration = Duration::from_secs(60);

/// How long a process may take to see that it is asked to warm its cache.
const KEEP_REQUEST: Duration = Duration::from_secs(600);

/// Reports until the cache is gone.
pub(crate) async fn report_now_and_then(cache: Weak<Shared>) {
    loop {
        {
            let Some(cache) = cache.upgrade() else { return };
            if let Err(error) = cache.report().await {
                tracing::debug!(%error, "the cache cannot report to its second tier");
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// What the members have told.
pub(crate) async fn read_reports(
    tier: &dyn SecondTier,
    installation: &str,
    members: &[(Member, FeedId)],
) -> Result<Vec<ProcessReport>, TierError> {
    let keys: Vec<EntryKey> = members.iter().map(|(member, _)| report_key(installation, *member)).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let told = within(tier.read(&keys, &[])).await?.entries;
    Ok(told.iter().flatten().filter_map(|bytes| postcard::from_bytes(checked(bytes)?).ok()).collect())
}

/// Asks the processes to warm their caches. Each request has a number of its own.
pub(crate) async fn ask_to_warm(
    tier: &dyn SecondTier,
    installation: &str,
    number: u64,
) -> Result<(), TierError> {
    let bytes = sealed(&number.to_le_bytes());
    let key = warm_key(installation);
    within(tier.store(&Store { key, bytes, keep: KEEP_REQUEST, release: None, learned: None })).await
}

impl WarmRequests {
    /// Waits for the next request. Those that come between two calls are one. False where the cache is gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

impl Shared {
    async fn report(&self) -> Result<(), TierError> {
        let installation = &self.config.installation;
        let bytes = postcard::to_stdvec(&self.own_report()).map(|payload| sealed(&payload));
        let store = Store {
            key: report_key(installation, self.member),
            bytes: bytes.unwrap_or_default(),
            keep: KEEP,
            release: None,
            learned: None,
        };
        within(self.tier.tier().store(&store)).await?;
        let asked = within(self.tier.tier().read(&[warm_key(installation)], &[])).await?.entries;
        let number = asked.first().and_then(|bytes| {
            let number = checked(bytes.as_deref()?)?.first_chunk::<8>()?;
            Some(u64::from_le_bytes(*number))
        });
        self.warm_request.send_if_modified(|last| {
            // What was asked for before this process has looked for the first time was not meant for it.
            let is_news = last.is_some_and(|last| number.is_some_and(|number| number != last));
            *last = number.or(*last).or(Some(0));
            is_news
        });
        Ok(())
    }

    fn own_report(&self) -> ProcessReport {
        let stats = self.stats();
        let keyspaces = stats.keyspaces.iter();
        ProcessReport {
            member: self.member,
            first_tier_hits: stats.first_tier_hits,
            second_tier_hits: stats.second_tier_hits,
            misses: stats.misses.iter().map(|(_, times)| times).sum(),
            loads: stats.loads,
            bytes: stats.bytes,
            samples: stats.samples,
            keyspaces: keyspaces
                .map(|one| (one.name.to_owned(), one.first_tier_hits, one.second_tier_hits, one.misses))
                .collect(),
        }
    }
}

/// No entry's key begins so: each begins with the length of the installation's name.
fn report_key(installation: &str, member: Member) -> EntryKey {
    let number = member.0.to_le_bytes();
    EntryKey::from_bytes([b"report\xff\xff", &number[..], installation.as_bytes()].concat())
}

fn warm_key(installation: &str) -> EntryKey {
    EntryKey::from_bytes([b"warming\xff", installation.as_bytes()].concat())
}

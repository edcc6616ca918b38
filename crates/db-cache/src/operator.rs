//! The second tier as an operator sees it: a program that knows no keyspace, and takes no part in the feed.

use std::sync::Arc;
use std::time::Duration;

use crate::generation::Generation;
use crate::hot_keys::{saved_in, within};
use crate::key_id::id_candidates;
use crate::random::Random;
use crate::record::{EpochRecord, FeedId, Run, TierTime};
use crate::report::{ProcessReport, ask_to_warm, read_reports};
use crate::sampler::Samples;
use crate::second_tier::{Fresh, Member, NewEpoch, SecondTier, Usage};
use crate::tag::{Slot, Tag};
use crate::tier_error::TierError;

/// The second tier of one installation, for an operator's program such as `dbctl cache`.
///
/// ```no_run
/// use std::sync::Arc;
/// use db_cache::{Operator, SecondTier, Tag};
///
/// # async fn tell(tier: Arc<dyn SecondTier>) -> Result<(), Box<dyn std::error::Error>> {
/// let operator = Operator::new(tier, "production/app");
/// println!("{:?}", operator.status().await?.usage.used_bytes);
/// operator.invalidate(&["users/7".parse::<Tag>()?]).await?;
/// println!("{}", operator.samples().await?.consistency());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Operator {
    tier: Arc<dyn SecondTier>,
    installation: String,
    random: Arc<Random>,
}

/// How a second tier is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TierStatus {
    /// How full it is, what it has evicted, and what it does when it is full.
    pub usage: Usage,
    /// Which run of which server answered.
    pub run: Run,
    /// The epoch; none where nobody has used it yet. One of another run is renewed by the next read.
    pub epoch: Option<EpochRecord>,
    /// The tier's clock.
    pub now: TierTime,
    /// Where the feed ends.
    pub tail: FeedId,
    /// When the relay last said that it had caught up; none where there never was one.
    pub relayed: Option<TierTime>,
    /// The processes that read the feed.
    pub members: Vec<MemberStatus>,
    /// What the processes have reported of themselves in the last minute.
    pub processes: Vec<ProcessReport>,
    /// How many hot keys are saved, by keyspace.
    pub saved_keys: Vec<(String, usize)>,
}

/// A process that reads the feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberStatus {
    /// Its number.
    pub member: Member,
    /// Up to where it has applied the feed.
    pub applied: FeedId,
    /// How long the feed has gone on without it; zero where it has all of it.
    pub behind: Duration,
}

impl Operator {
    /// The second tier of this installation
    /// ([`CacheConfig::installation`](crate::CacheConfig::installation)).
    pub fn new(tier: Arc<dyn SecondTier>, installation: impl Into<String>) -> Self {
        Operator { tier, installation: installation.into(), random: Arc::new(Random::from_entropy()) }
    }

    /// How it is.
    ///
    /// # Errors
    /// Where it does not answer within a second.
    pub async fn status(&self) -> Result<TierStatus, TierError> {
        let usage = within(self.tier.usage()).await?;
        let snapshot = within(self.tier.read(&[], &[])).await?;
        let members = within(self.tier.members()).await?;
        let processes = read_reports(&*self.tier, &self.installation, &members).await?;
        let members = members.into_iter().map(|(member, applied)| {
            let gone_on = snapshot.tail.0.saturating_sub(applied.0);
            let behind = if applied >= snapshot.tail { 0 } else { gone_on };
            MemberStatus { member, applied, behind: Duration::from_millis(behind) }
        });
        Ok(TierStatus {
            usage,
            run: snapshot.run,
            epoch: snapshot.epoch,
            now: snapshot.now,
            tail: snapshot.tail,
            relayed: snapshot.relayed,
            members: members.collect(),
            processes,
            saved_keys: saved_in(&*self.tier, &self.installation).await?,
        })
    }

    /// Drops what was made from these tags, in all processes.
    ///
    /// # Errors
    /// Where it does not answer: nothing may have been dropped.
    pub async fn invalidate(&self, tags: &[Tag]) -> Result<(), TierError> {
        self.bump(tags.iter().map(Tag::slot).collect()).await
    }

    /// Drops the entry of one key, in all processes: the key as it prints, of a keyspace whose keys are
    /// numbers, texts or UUIDs, without a scope. Entries that share its place go as well.
    ///
    /// # Errors
    /// As [`Operator::invalidate`].
    pub async fn invalidate_key(&self, keyspace: &str, key: &str) -> Result<(), TierError> {
        self.bump(id_candidates(keyspace, key).iter().map(crate::key_id::KeyId::slot).collect()).await
    }

    /// Drops everything, in all processes.
    ///
    /// # Errors
    /// As [`Operator::invalidate`].
    pub async fn invalidate_all(&self) -> Result<(), TierError> {
        let fresh = Generation::fresh(&self.random);
        within(self.tier.epoch(fresh, NewEpoch::Always)).await.map(drop)
    }

    /// Asks every process that has declared how its keyspaces are warmed to do so, from the saved keys. They
    /// look for that every ten seconds; [`TierStatus::processes`] tells how far they are.
    ///
    /// # Errors
    /// As [`Operator::invalidate`].
    pub async fn warm(&self) -> Result<(), TierError> {
        ask_to_warm(&*self.tier, &self.installation, self.random.next_u64()).await
    }

    /// What the samplers of all processes have found since these have started.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn samples(&self) -> Result<Samples, TierError> {
        let members = within(self.tier.members()).await?;
        let processes = read_reports(&*self.tier, &self.installation, &members).await?;
        Ok(processes.iter().map(|process| process.samples).fold(Samples::default(), Samples::and))
    }

    async fn bump(&self, mut slots: Vec<Slot>) -> Result<(), TierError> {
        slots.sort_unstable();
        slots.dedup();
        let fresh = slots.into_iter().map(|slot| (slot, Generation::fresh(&self.random))).collect();
        within(self.tier.bump(None, &Fresh(fresh), None)).await.map(drop)
    }
}

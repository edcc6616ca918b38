//! A lock across hosts that lives in the repository: for what must run once although the database may be
//! gone.
//!
//! It is a log of small objects, each put only where there is none: who takes, renews or releases the lock
//! writes the next one. So no store needs to replace an object conditionally, which a local directory cannot.
//! Time is the store's: two hosts whose clocks disagree cannot both believe that they hold it. It saves work;
//! that nothing is damaged does not rest on it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::error::{BackupError, Result};
use crate::store::{Object, Put};

/// The longest time for which a lock can be taken without being renewed.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A lock that is held until it is released or runs out.
///
/// ```
/// use std::time::Duration;
/// use db_backup::{Cluster, Result};
///
/// async fn alone(cluster: &Cluster) -> Result<()> {
///     let mut lease = cluster.lock("backup", "host-1 pid 4711", Duration::from_secs(60)).await?;
///     // Renew well before the time is over, and give up where that fails.
///     lease.renew().await?;
///     lease.release().await
/// }
/// ```
#[derive(Debug)]
pub struct Lease {
    cluster: Cluster,
    name: String,
    holder: String,
    lasts: Duration,
    number: u64,
    token: u64,
}

/// One object of a lock's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    holder: String,
    token: u64,
    lasts_millis: u64,
    released: bool,
}

impl Cluster {
    /// Takes a lock for this long, at most an hour. `holder` is what others are told: the host and the
    /// process.
    ///
    /// # Errors
    /// [`BackupError::Locked`] while somebody else holds it; those of the store.
    pub async fn lock(&self, name: &str, holder: &str, lasts: Duration) -> Result<Lease> {
        self.may_read()?;
        let lasts = lasts.min(LONGEST);
        let last = self.last_entry(name).await?;
        if let Some((_, object)) = &last {
            self.free(name, object).await?;
        }
        let number = last.map_or(0, |(number, _)| number + 1);
        let lease = Lease {
            cluster: self.clone(),
            name: name.to_owned(),
            holder: holder.to_owned(),
            lasts,
            number,
            token: number,
        };
        if lease.append(number, false).await? == Put::Created {
            // Old objects are removed, so this number may have been free again although the log went on.
            match self.last_entry(name).await? {
                Some((newest, object)) if newest > number => {
                    self.store().discard(&self.lock_path(name, number)).await?;
                    self.free(name, &object).await?;
                    return Err(BackupError::LeaseLost(name.to_owned()));
                }
                _ => return Ok(lease),
            }
        }
        // Somebody was faster; who it was is in the log now.
        if let Some((_, object)) = self.last_entry(name).await? {
            self.free(name, &object).await?;
        }
        Err(BackupError::LeaseLost(name.to_owned()))
    }

    /// The newest object of a lock's log.
    async fn last_entry(&self, name: &str) -> Result<Option<(u64, Object)>> {
        let objects = self.store().list(&self.path(&format!("locks/{name}"))).await?;
        let numbered = objects.into_iter().filter_map(|object| {
            let number = object.path.rsplit('/').next()?.parse().ok()?;
            Some((number, object))
        });
        Ok(numbered.max_by_key(|(number, _)| *number))
    }

    /// Fails while the lock is held by the one who wrote this.
    async fn free(&self, name: &str, object: &Object) -> Result<()> {
        let entry: Option<Entry> = match self.get_sealed(&object.path).await {
            Ok(text) => text.and_then(|text| serde_json::from_slice(&text).ok()),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error),
        };
        let (holder, lasts) = match entry {
            Some(entry) if entry.released => return Ok(()),
            Some(entry) => (entry.holder, Duration::from_millis(entry.lasts_millis).min(LONGEST)),
            // Overwritten by somebody without a key: it counts as long as any lock could.
            None => ("something that cannot be read".to_owned(), LONGEST),
        };
        let until = after(object.written, lasts);
        if self.store_time().await? < until {
            return Err(BackupError::Locked { name: name.to_owned(), holder, until });
        }
        Ok(())
    }

    fn lock_path(&self, name: &str, number: u64) -> String {
        self.path(&format!("locks/{name}/{number:016}"))
    }
}

impl Lease {
    /// A number that grows with each holder: what is written under a smaller one is late.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// How long it lasts after it was taken or renewed.
    pub fn lasts(&self) -> Duration {
        self.lasts
    }

    /// Holds the lock for another such time, from now on.
    ///
    /// # Errors
    /// [`BackupError::LeaseLost`] where it ran out and somebody else took it: stop what was begun under it.
    pub async fn renew(&mut self) -> Result<()> {
        let next = self.number + 1;
        if self.append(next, false).await? == Put::Exists {
            return Err(BackupError::LeaseLost(self.name.clone()));
        }
        let old = std::mem::replace(&mut self.number, next);
        // The log keeps what is newest; that the old object stays where it may not be removed harms nothing.
        if let Err(error) = self.cluster.store().discard(&self.cluster.lock_path(&self.name, old)).await {
            tracing::debug!(%error, "an old object of a lock stays");
        }
        Ok(())
    }

    /// Renews in time until that fails; why it did. One failure of the store loses nothing.
    ///
    /// # Cancel safety
    /// Safe: dropped, it stops renewing, and the lock lasts until it runs out.
    pub async fn keep(&mut self) -> BackupError {
        loop {
            tokio::time::sleep(self.lasts / 3).await;
            if let Err(error) = self.renew_with_patience().await {
                return error;
            }
        }
    }

    async fn renew_with_patience(&mut self) -> Result<()> {
        let again = self.lasts / 6;
        for _ in 0..2 {
            match self.renew().await {
                Err(error) if error.is_temporary() => tracing::warn!(%error, "the lock is not renewed yet"),
                renewed => return renewed,
            }
            tokio::time::sleep(again).await;
        }
        self.renew().await
    }

    /// Lets the lock go.
    ///
    /// # Errors
    /// Those of the store: the lock then runs out by itself.
    pub async fn release(self) -> Result<()> {
        self.append(self.number + 1, true).await?;
        self.cluster.store().discard(&self.cluster.lock_path(&self.name, self.number)).await
    }

    async fn append(&self, number: u64, released: bool) -> Result<Put> {
        let lasts_millis = u64::try_from(self.lasts.as_millis()).unwrap_or(u64::MAX);
        let entry = Entry { holder: self.holder.clone(), token: self.token, lasts_millis, released };
        let text =
            serde_json::to_vec(&entry).map_err(|error| BackupError::io("writing a lock", error.into()))?;
        self.cluster.put_sealed(&self.cluster.lock_path(&self.name, number), &text).await
    }
}

fn after(time: DateTime<Utc>, lasts: Duration) -> DateTime<Utc> {
    // Stores tell times in whole seconds, so one is added: rather too long than two holders.
    let lasts = TimeDelta::from_std(lasts).unwrap_or(TimeDelta::MAX);
    time.checked_add_signed(lasts)
        .and_then(|time| time.checked_add_signed(TimeDelta::seconds(1)))
        .unwrap_or(time)
}

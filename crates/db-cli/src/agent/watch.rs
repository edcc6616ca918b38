//! Looks at the archive every few seconds: a gap, a late or a foreign segment is told at once, and its end too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use db_platform::backup::Cluster;
use db_platform::backup::rehearse::rehearsals;
use db_platform::backup::session::Session;
use db_platform::backup::wal::{ArchiveFinding, ArchiveStatus, status};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::jobs::Ground;
use super::tell::Tell;
use crate::connect;
use crate::error::CliError;

/// A segment may be on its way: only what a second look sees as well is told.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// So long may a finished segment be missing, as `dbctl wal status` has it.
const LATE_AFTER: Duration = Duration::from_secs(60);
/// A server that does not answer in this time is gone on without: the archive is looked at alone.
const SERVER_WITHIN: Duration = Duration::from_secs(3);
/// So long may a look take that asks the server as well.
const LOOK_WITHIN: Duration = Duration::from_secs(30);
/// What only changes with a backup is read this often: each backup is a request.
const BACKUPS_EVERY: Duration = Duration::from_secs(300);

/// Ends the looking when it is dropped.
pub(super) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn start(ground: Arc<Ground>, tell: Arc<Tell>, every: Duration) -> Watch {
    Watch(tokio::spawn(async move {
        let mut eye = Eye { ground, opened: None, session: None, listed: None };
        let (mut known, mut is_blind) = (Known::default(), false);
        loop {
            let pause = match eye.look().await {
                Ok(status) => {
                    is_blind = false;
                    eye.ground.figures.archived(&status);
                    let (changes, is_sure) = known.next(&status.findings);
                    changes.into_iter().for_each(|change| tell.archive(change));
                    if is_sure { every } else { SECOND_LOOK.min(every) }
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_blind, true) {
                        tracing::warn!("the archive cannot be looked at: {error}");
                    }
                    every
                }
            };
            sleep(pause).await;
        }
    }))
}

/// Something that has begun or is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Began { key: String, text: String },
    Over { key: String, text: String },
}

/// What was seen, and what of it was told.
#[derive(Default)]
struct Known {
    /// What the last look saw.
    seen: BTreeSet<String>,
    /// What was told and is not over, with its words.
    told: BTreeMap<String, String>,
}

impl Known {
    /// What is to be told after a look, and whether no second look is needed.
    fn next(&mut self, findings: &[ArchiveFinding]) -> (Vec<Change>, bool) {
        let now: BTreeMap<String, String> =
            findings.iter().map(|finding| (finding.key(), finding.to_string())).collect();
        let mut changes = Vec::new();
        self.told.retain(|key, text| {
            let lasts = now.contains_key(key);
            if !lasts {
                changes.push(Change::Over { key: key.clone(), text: text.clone() });
            }
            lasts
        });
        let seen_twice = now.iter().filter(|(key, _)| self.seen.contains(*key));
        let new: Vec<_> = seen_twice.filter(|(key, _)| !self.told.contains_key(*key)).collect();
        for (key, text) in new {
            self.told.insert(key.clone(), text.clone());
            changes.push(Change::Began { key: key.clone(), text: text.clone() });
        }
        let is_sure = now.keys().all(|key| self.told.contains_key(key));
        self.seen = now.into_keys().collect();
        (changes, is_sure)
    }
}

/// What a look needs; what fails is opened anew by the next one.
struct Eye {
    ground: Arc<Ground>,
    opened: Option<Opened>,
    session: Option<Session>,
    /// When the backups were last listed.
    listed: Option<Instant>,
}

struct Opened {
    cluster: Cluster,
    segment_bytes: u32,
}

impl Eye {
    async fn look(&mut self) -> Result<ArchiveStatus, CliError> {
        if self.opened.is_none() {
            self.opened = Some(self.open().await?);
        }
        let Some(Opened { cluster, segment_bytes }) = &self.opened else { return Err(CliError::NoBackups) };
        let (cluster, segment_bytes) = (cluster.clone(), *segment_bytes);
        let seen = self.with_server(&cluster, segment_bytes).await;
        let looked = async {
            let status = match seen {
                Some(status) => status,
                None => status(&cluster, None, segment_bytes, LATE_AFTER).await?,
            };
            if self.listed.is_none_or(|at| at.elapsed() >= BACKUPS_EVERY) {
                let (backups, rehearsals) = (cluster.backups().await?, rehearsals(&cluster).await?);
                self.ground.figures.listed(&backups, rehearsals.last());
                self.listed = Some(Instant::now());
            }
            Ok(status)
        };
        let looked = looked.await;
        if looked.is_err() {
            // Credentials that have expired, say.
            self.opened = None;
        }
        looked
    }

    async fn open(&self) -> Result<Opened, CliError> {
        let (_, cluster) = self.ground.cluster().await?;
        let newest = cluster.backups().await?.whole.pop();
        let segment_bytes = newest.map_or(16 << 20, |summary| summary.server.wal_segment_bytes);
        Ok(Opened { cluster, segment_bytes })
    }

    /// The archive as the server and the repository see it; none where the server does not answer.
    async fn with_server(&mut self, cluster: &Cluster, segment_bytes: u32) -> Option<ArchiveStatus> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => timeout(SERVER_WITHIN, connect::session(&self.ground.url)).await.ok()?.ok()?,
        };
        let looked = status(cluster, Some(&mut session), segment_bytes, LATE_AFTER);
        let status = timeout(LOOK_WITHIN, looked).await.ok()?.ok()?;
        self.session = Some(session);
        Some(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(number: u32) -> ArchiveFinding {
        ArchiveFinding::Gap { first: format!("00000001000000000000000{number}"), missing: 1 }
    }

    fn keys(changes: Vec<Change>) -> Vec<String> {
        let said = |change| match change {
            Change::Began { key, .. } => format!("+{key}"),
            Change::Over { key, .. } => format!("-{key}"),
        };
        changes.into_iter().map(said).collect()
    }

    #[test]
    fn a_finding_is_told_once_when_a_second_look_has_seen_it_and_again_when_it_is_over() {
        let mut known = Known::default();
        let mut check = |findings: &[ArchiveFinding], told: &[&str], is_sure: bool| {
            let (changes, sure) = known.next(findings);
            assert_eq!((keys(changes), sure), (told.iter().map(ToString::to_string).collect(), is_sure));
        };
        check(&[], &[], true);
        check(&[gap(3)], &[], false);
        check(&[], &[], true);
        check(&[gap(3)], &[], false);
        check(&[gap(3), gap(7)], &["+gap:000000010000000000000003"], false);
        check(&[gap(3), gap(7)], &["+gap:000000010000000000000007"], true);
        check(&[gap(3), gap(7)], &[], true);
        check(&[gap(7)], &["-gap:000000010000000000000003"], true);
    }
}
